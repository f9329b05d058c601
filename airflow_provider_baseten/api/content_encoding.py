"""Content encodings of responses: gzip and deflate, decompressed in pieces of bounded size.

A few kilobytes can decompress to gigabytes. A body is therefore never decompressed in one go: the caller takes one
piece after the other and stops when there are too many bytes.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

# Value of Accept-Encoding.
ACCEPTED = "gzip, deflate"

PIECE_BYTES = 256 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_LAYERS = 3
# Compressions that can't be decoded here. A response that names one of them is refused. Unknown names are ignored,
# because some servers send a name such as "utf-8" with a body that is not compressed.
_REFUSED = frozenset({"br", "zstd", "dcb", "dcz", "compress", "x-compress", "exi", "pack200-gzip"})


class Decoder(Protocol):
    """Incremental decompressor of a body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed data, in pieces of at most ``PIECE_BYTES``.

        :raises ValueError: the data is not in this encoding.
        """

    def end(self) -> None:
        """Check that the compressed data is complete.

        :raises ValueError: the end of the data is missing.
        """


def decoder_for(content_encoding: str) -> Decoder | None:
    """Return the decoder for a ``Content-Encoding`` header.

    Return ``None`` if the header names no compression at all, for example if it is empty, ``identity`` or ``utf-8``.

    :raises ValueError: the header names a compression that can't be decoded here, for example ``br``, or names too many
        compressions.
    """
    names = [name for part in content_encoding.split(",") if (name := part.strip().lower())]
    if refused := _REFUSED.intersection(names):
        raise ValueError(f"it is encoded as {min(refused)}, which was not asked for")
    layers = [name.removeprefix("x-") for name in names if name.removeprefix("x-") in ("gzip", "deflate")]
    if len(layers) > _MAX_LAYERS:
        raise ValueError(f"it is compressed {len(layers)} times over")
    decoder: Decoder | None = None
    for name in reversed(layers):
        layer: Decoder = _Gzip() if name == "gzip" else _Deflate()
        decoder = layer if decoder is None else _Layers(decoder, layer)
    return decoder


class _Gzip:
    """Decoder of one or more gzip members. Bytes after the last member are ignored, as they are in browsers."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP)
        self._has_begun = False
        self._is_over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._has_begun = self._has_begun or bool(data)
        while not self._is_over:
            yield from _inflate(self._inflater, data)
            if not self._inflater.eof:
                return
            data = self._inflater.unused_data
            if not data:
                return
            self._is_over = not _GZIP_MAGIC.startswith(data[:2])
            self._inflater = zlib.decompressobj(_GZIP)

    def end(self) -> None:
        if self._has_begun and not self._is_over and not self._inflater.eof:
            raise ValueError("its end is missing")


class _Deflate:
    """Decoder of ``deflate``: the zlib format, as in the standard, or raw deflate, which some servers send instead."""

    def __init__(self) -> None:
        self._head = b""
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            has_frame = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if has_frame else -zlib.MAX_WBITS)
        if not self._inflater.eof:
            yield from _inflate(self._inflater, data)

    def end(self) -> None:
        if self._head and not (self._inflater and self._inflater.eof):
            raise ValueError("its end is missing")


class _Layers:
    """Decoder of a body that was compressed more than once."""

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def end(self) -> None:
        self._outer.end()
        self._inner.end()


def _inflate(inflater: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while True:
        try:
            piece = inflater.decompress(data, PIECE_BYTES)
        except zlib.error:
            raise ValueError("it is damaged") from None
        if piece:
            yield piece
        data = inflater.unconsumed_tail
        # If the piece is full, zlib may hold more output, even if it has consumed all input. Only a smaller piece shows
        # that zlib needs more input.
        if inflater.eof or (not data and len(piece) < PIECE_BYTES):
            return
