"""HTTP/1.1 for the blocking transport: what Python's own client takes wrongly in the heads of answers."""

import http.client
import logging
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

_MOST_INTERIM_ANSWERS = 20
_MOST_LINES = 1000
_HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*:")
_PLAIN = re.compile(r"[\t\x20-\x7e]*")

# Whether the request that is being sent is one of this package.
SENDING: ContextVar[bool] = ContextVar("sending", default=False)


class _HeaderLines:
    """Lines of a head without those that are none: Python's parser would take the first such line for its end."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self._begun = False
        self._kept = True
        self._count = 0

    def readline(self, limit: int) -> bytes:
        while True:
            line: bytes = self.file.readline(limit)
            self._count += 1
            if self._count > _MOST_LINES:
                raise http.client.HTTPException("a head without end")
            if not self._begun or not line.strip():
                self._begun = bool(line.strip())  # After an empty line there is a status line again.
                return line
            # A line that begins with a space continues the one before.
            self._kept = self._kept if line[:1] in b" \t" else _HEADER_LINE.match(line) is not None
            if self._kept:
                return line

    def close(self) -> None:
        self.file.close()


class _Answer(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the head of the answer, and pass over the interim ones before it: 102 and 103, not only 100."""
        for _ in range(_MOST_INTERIM_ANSWERS):
            self._read_head()
            if self.status >= 200 or self.status == http.client.SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None  # type: ignore[assignment]
        raise http.client.HTTPException("interim answers without end")

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
            raise http.client.HTTPException("an answer without a clear end")
        if len(lengths) == 1 and not self.chunked and self.length is None and self.status >= 200:
            raise http.client.HTTPException("an answer without a clear end")


class HttpConnection(HTTPConnection):
    response_class = _Answer


class HttpsConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = HttpConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = HttpsConnection


class Adapter(requests.adapters.HTTPAdapter):
    """The adapter of a session: reads interim answers and odd heads as the async transport does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


def plain_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by lower-case name: the first of each name, without values that are not plain ASCII.

    The async transport can't read others, and no header that means something to this package has such a value.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers.setdefault(name.lower(), re.sub(r"\r?\n[ \t]*", " ", value))
    return {name: value for name, value in headers.items() if _PLAIN.fullmatch(value)}


class _WithoutQuery(logging.Filter):
    """Takes the query out of what urllib3 logs about requests of this package: it may hold a model's input."""

    def filter(self, record: logging.LogRecord) -> bool:
        if SENDING.get() and isinstance(record.args, tuple):
            record.args = tuple(
                arg.partition("?")[0] + "?..." if isinstance(arg, str) and "?" in arg else arg for arg in record.args
            )
        return True


for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_WithoutQuery())
