"""Content encodings of answers: gzip and deflate, unpacked a bounded piece at a time.

A few kilobytes can unpack to gigabytes. What is packed is therefore never unpacked in one go: whoever reads a piece
decides whether there is to be another one.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

# What requests offer to servers.
ACCEPTED = "gzip, deflate"

PIECE_BYTES = 256 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_LAYERS = 3
# Named by servers although they are no way of packing, such as "utf-8": the body is then as it is.
_REFUSED = frozenset({"br", "zstd", "dcb", "dcz", "compress", "x-compress", "exi", "pack200-gzip"})


class Decoder(Protocol):
    """Unpacks a body as it arrives."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the data unpacks to, in pieces of at most ``PIECE_BYTES``.

        :raises ValueError: it is not packed as it says.
        """

    def end(self) -> None:
        """Check that the body is whole.

        :raises ValueError: its end is missing.
        """


def decoder_for(content_encoding: str) -> Decoder | None:
    """Return the decoder for a ``Content-Encoding`` header, ``None`` if the body is not packed.

    :raises ValueError: packed in a way that requests do not offer, or too many times.
    """
    names = [name for part in content_encoding.split(",") if (name := part.strip().lower())]
    if refused := _REFUSED.intersection(names):
        raise ValueError(f"it is packed as {min(refused)}, which was not asked for")
    layers = [name.removeprefix("x-") for name in names if name.removeprefix("x-") in ("gzip", "deflate")]
    if len(layers) > _MOST_LAYERS:
        raise ValueError(f"it is packed {len(layers)} times over")
    decoder: Decoder | None = None
    for name in reversed(layers):
        layer: Decoder = _Gzip() if name == "gzip" else _Deflate()
        decoder = layer if decoder is None else _Layers(decoder, layer)
    return decoder


class _Gzip:
    """One gzip member after the other; what follows them and is none is ignored, as browsers do."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP)
        self._begun = False
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        while not self._over:
            yield from _inflated(self._inflater, data)
            if not self._inflater.eof:
                return
            data = self._inflater.unused_data
            if not data:
                return
            self._over = not _GZIP_MAGIC.startswith(data[:2])
            self._inflater = zlib.decompressobj(_GZIP)

    def end(self) -> None:
        if self._begun and not self._over and not self._inflater.eof:
            raise ValueError("its end is missing")


class _Deflate:
    """The zlib format, as the standard says, or deflate alone, as some servers send it."""

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
            yield from _inflated(self._inflater, data)

    def end(self) -> None:
        if self._head and not (self._inflater and self._inflater.eof):
            raise ValueError("its end is missing")


class _Layers:
    """What was packed twice."""

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def end(self) -> None:
        self._outer.end()
        self._inner.end()


def _inflated(inflater: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while True:
        try:
            piece = inflater.decompress(data, PIECE_BYTES)
        except zlib.error:
            raise ValueError("it is broken") from None
        if piece:
            yield piece
        data = inflater.unconsumed_tail
        # A full piece may have left a rest inside of zlib.
        if inflater.eof or (not data and len(piece) < PIECE_BYTES):
            return
