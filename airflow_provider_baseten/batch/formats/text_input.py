"""Byte order mark of a text file."""

import codecs
import io

from airflow_provider_baseten.exceptions import BasetenInputError

_OTHER_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def skip_byte_order_mark(uri: str, stream: io.BufferedReader) -> None:
    """Skip the byte order mark of UTF-8, if there is one.

    :raises BasetenInputError: the file has the byte order mark of another encoding.
    """
    start = stream.peek(4)[:4]
    if start.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    elif start.startswith(_OTHER_BYTE_ORDER_MARKS):
        raise BasetenInputError(f"{uri} is UTF-16 or UTF-32, by its byte order mark: convert it to UTF-8.")
