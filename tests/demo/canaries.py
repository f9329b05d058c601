"""Canaries: secrets and texts that exist nowhere else, and the places of a running Airflow in which they turn up."""

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.fernet import Fernet, InvalidToken


@dataclass(frozen=True)
class Canaries:
    """Texts to look for, by the name under which a test reports them."""

    texts: Mapping[str, str]

    def in_bytes(self, data: bytes) -> set[str]:
        """Return the names of the canaries that data holds."""
        return {name for name, text in self.texts.items() if text.encode() in data}


@dataclass
class Metrics:
    """Everything that is sent to a StatsD server, which listens on a free UDP port while the `with` block lasts."""

    received: bytes = b""
    _socket: socket.socket = field(default_factory=lambda: socket.socket(type=socket.SOCK_DGRAM))

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with closing(socket.socket(type=socket.SOCK_DGRAM)) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    @property
    def config(self) -> dict[str, str]:
        """Settings of an Airflow that sends its metrics here."""
        host, port = self._socket.getsockname()
        return {
            "AIRFLOW__METRICS__STATSD_ON": "true",
            "AIRFLOW__METRICS__STATSD_HOST": host,
            "AIRFLOW__METRICS__STATSD_PORT": str(port),
        }

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            self.received += data + b"\n"


class Database:
    """The database of an Airflow, in a SQLite file, read as somebody with Airflow's Fernet key reads it."""

    def __init__(self, file: Path, fernet_key: str) -> None:
        self._file = file
        self._fernet = Fernet(fernet_key)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table."""
        with self._open() as connection:
            return [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]

    def found(self, canaries: Canaries) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Return the name of each canary, its `table.column`, and the row, wherever a value holds one."""
        return [
            (name, f"{table}.{column}", row)
            for table in self._tables()
            for row in self.rows(table)
            for column, value in row.items()
            for name in canaries.in_bytes(self._bytes(table, value))
        ]

    def _tables(self) -> list[str]:
        with self._open() as connection:
            return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]

    def _bytes(self, table: str, value: Any) -> bytes:
        data = value if isinstance(value, bytes) else str(value).encode()
        # The arguments of triggers are encrypted, and read by the triggerer. A connection is encrypted for its secrets.
        if table == "connection":
            return data
        try:
            return self._fernet.decrypt(data)
        except InvalidToken:
            return data

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection


def found_in_files(folder: Path, canaries: Canaries) -> list[tuple[str, Path]]:
    """Return the name of each canary and the path below the folder, for each file that holds one."""
    return [
        (name, file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for name in canaries.in_bytes(file.read_bytes())
    ]


def canary_tickets(tickets: Path, canary: str) -> str:
    """Return the tickets of the examples as JSON, each with a canary in its text."""
    return json.dumps([{**ticket, "text": f"{ticket['text']} {canary}"} for ticket in json.loads(tickets.read_text())])
