"""Charsets of texts: what the Content-Type of an answer, or the mark at its beginning, says about its bytes."""

import codecs
from email.message import Message

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# Python has codecs of these names, but they are no charsets of texts, or take a time that grows with the square.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"})


def encoding_of(head: bytes, content_type: str) -> str | None:
    """Return Python's name of the encoding of a text, ``None`` for UTF-8 without a byte order mark.

    A byte order mark counts more than the Content-Type. A charset that nobody knows counts as UTF-8.

    :param head: the first bytes, three at least if there are as many.
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith(_UTF16_MARKS) and content_type.startswith("text/"):
        return "utf-16"
    if "charset" not in content_type.lower():
        return None
    message = Message()
    message["content-type"] = content_type
    try:
        name = codecs.lookup(str(message.get_param("charset", "utf-8")).strip(" '\"")).name
        "".encode(name)  # Raises for codecs that make no text.
    except (LookupError, ValueError, TypeError):
        return None
    return None if name in {"utf-8", "ascii"} or name in _NO_CHARSETS else name


def decoded(body: bytes, content_type: str) -> str | None:
    """Return the text that a body holds, ``None`` if it is none in the charset that it names."""
    try:
        return body.decode(encoding_of(body[:3], content_type) or "utf-8")
    except (UnicodeError, LookupError):
        return None
