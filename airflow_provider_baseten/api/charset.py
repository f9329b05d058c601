"""Charsets of response bodies, from the Content-Type or the byte order mark."""

import codecs
from email.message import Message

_UTF16_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# Python codecs that are not used, even if a server names them. Some are not charsets, and others take quadratic time.
_REFUSED_CODECS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"})


def encoding_of(head: bytes, content_type: str) -> str | None:
    """Return Python's name for the encoding of a text, ``None`` for UTF-8 without a byte order mark.

    A byte order mark takes precedence over the charset in the Content-Type. The byte order mark of UTF-16 counts only
    in ``text/`` types, because binary data may begin with the same two bytes. A missing or unknown charset counts as
    UTF-8.

    :param head: the first three bytes of the text, or more.
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith(_UTF16_BYTE_ORDER_MARKS) and content_type.startswith("text/"):
        return "utf-16"
    if "charset" not in content_type.lower():
        return None
    message = Message()
    message["content-type"] = content_type
    try:
        name = codecs.lookup(str(message.get_param("charset", "utf-8")).strip(" '\"")).name
        "".encode(name)  # Raises for codecs that do not encode text, such as base64.
    except (LookupError, ValueError, TypeError):
        return None
    return None if name in {"utf-8", "ascii"} or name in _REFUSED_CODECS else name


def decode_text(body: bytes, content_type: str) -> str | None:
    """Return the text of a body, ``None`` if the body is not text in the charset of its Content-Type."""
    try:
        return body.decode(encoding_of(body[:3], content_type) or "utf-8")
    except (UnicodeError, LookupError):
        return None
