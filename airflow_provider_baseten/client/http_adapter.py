"""HTTP/1.1 for the blocking transport. It corrects mistakes that Python's HTTP client makes with responses."""

import http.client
import logging
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

# Limits for a response. The limit for interim responses is high, because a server may send one (status 102) every few
# seconds while a model runs.
_MAX_INTERIM_RESPONSES = 10_000
_MAX_LINES = 1000
_MAX_LINE_BYTES = 65536
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:")
# Control characters that make a header line invalid: NUL, and a carriage return without a line feed. At a lone carriage
# return, Python's parser would end the line and read the rest of the value as another header.
_AMBIGUOUS = re.compile(rb"\0|\r(?!\n)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_EMPTY_LINES = (b"\r\n", b"\n")
_PLAIN = re.compile(r"[\t\x20-\x7e]*")

# Whether this package is sending a request in the current context. `_WithoutQuery` removes the queries of URLs from log
# lines only while this is true, so that the log lines of other code stay unchanged.
SENDING: ContextVar[bool] = ContextVar("sending", default=False)


class _HeaderLines:
    """File object that returns the header lines of a response, corrected so that Python's parser reads all of them.

    Without a correction, Python's parser ends the head at the first line that is not a header, or that has a space
    before its colon. The parser also does not notice that a connection has ended within the head.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._begun = False
        self._kept = True
        self._count = 0

    def readline(self, limit: int) -> bytes:
        while True:
            line: bytes = self.file.readline(limit)
            self._count += 1
            if self._count > _MAX_LINES:
                raise http.client.HTTPException("a head without end")
            if not self._begun or line in _EMPTY_LINES:
                # The status line before the headers and the empty line after them are returned as they are. `_begun` is
                # true between these two lines. After an interim response (100), another status line can follow.
                self._begun = bool(line.strip())
                return line
            if len(line) == limit:
                return line  # The line is too long, so the caller rejects it.
            if not line.endswith(b"\n"):
                raise http.client.HTTPException("a head that is cut off")
            if _AMBIGUOUS.search(line):
                raise http.client.HTTPException("a head with control characters")
            if line[:1] not in b" \t":
                name = _HEADER_LINE.match(line)
                self._kept = name is not None
                line = name[1] + b":" + line[name.end() :] if name else line
            elif not line.strip():
                continue
            if self._kept:  # A continuation line is kept if the line that it continues is kept.
                return line.rstrip() + b"\r\n"

    def close(self) -> None:
        self.file.close()


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the head of the final response, and skip interim ones (1xx). The base class skips only status 100."""
        for _ in range(_MAX_INTERIM_RESPONSES):
            self._read_head()
            if self.status >= 200 or self.status == http.client.SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None  # type: ignore[assignment]
        raise http.client.HTTPException("interim responses without end")

    def _read_head(self) -> None:
        file: Any = self.fp
        self.fp = _HeaderLines(file)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            self.fp = file if self.fp else None  # type: ignore[assignment]
        lengths = {part.strip() for value in self.headers.get_all("content-length", []) for part in value.split(",")}
        coding = self.headers.get("transfer-encoding", "chunked").strip().lower()
        if coding != "chunked" or (len(lengths) > 1 and not self.chunked) or not all(map(str.isdecimal, lengths)):
            raise http.client.HTTPException("a response without a clear end")
        if len(lengths) == 1 and not self.chunked and self.length is None and self.status >= 200:
            raise http.client.HTTPException("a response without a clear end")

    def _get_chunk_left(self) -> int | None:
        """Return the number of bytes left in this chunk, or the size of the next one; ``None`` after the last chunk.

        This method is stricter than that of the base class. The base class accepts ``-5`` and ``1_0`` as sizes, any two
        bytes as the end of a chunk, and a closed connection as the end of the trailers.
        """
        if self.chunk_left:
            return self.chunk_left
        if self.chunk_left == 0 and self._line() not in _EMPTY_LINES:
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_LINE.fullmatch(self._line())
        if size is None:
            raise http.client.IncompleteRead(b"")
        self.chunk_left = int(size[1], 16) or None
        if self.chunk_left is None:
            self._skip_trailers()
            self._close_conn()  # type: ignore[attr-defined]
        return self.chunk_left

    def _skip_trailers(self) -> None:
        for _ in range(_MAX_LINES):
            if self._line() in _EMPTY_LINES:
                return
        raise http.client.HTTPException("trailers without end")

    def _line(self) -> bytes:
        line: bytes = self.fp.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(b"")
        return line


class HttpConnection(HTTPConnection):
    response_class = _Response


class HttpsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = HttpConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = HttpsConnection


class Adapter(requests.adapters.HTTPAdapter):
    """Adapter for a ``requests.Session``. It reads interim responses and malformed headers as pyreqwest does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


def plain_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by lower-case name. If a name occurs several times, its first header counts.

    A header is left out if its value is not printable ASCII, because the async transport can't read such a value, and
    both transports must return the same headers. This package needs only headers in ASCII.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers.setdefault(name.lower(), re.sub(r"\r?\n[ \t]*", " ", value))
    return {name: value for name, value in headers.items() if _PLAIN.fullmatch(value)}


class _WithoutQuery(logging.Filter):
    """Removes queries from urllib3's log lines about this package's requests. A query may hold a model's input."""

    def filter(self, record: logging.LogRecord) -> bool:
        if SENDING.get() and isinstance(record.args, tuple):
            record.args = tuple(
                arg.partition("?")[0] + "?..." if isinstance(arg, str) and "?" in arg else arg for arg in record.args
            )
        return True


for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_WithoutQuery())
