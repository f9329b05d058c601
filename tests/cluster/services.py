"""PostgreSQL and Redis of Debian's packages, on free ports of 127.0.0.1, each for as long as a `with` block lasts."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from tools.airflow_api import wait_until
from tools.airflow_stack import Service, free_port

START_SECONDS = 60
# The server refuses to run as root.
POSTGRES_USER = "postgres"


class Server(Service):
    """A server that can end, and start again on the same port.

    :param name: for messages
    :param command: program and arguments
    :param log: file for its output
    :param url: for clients
    :param responds: whether it responds
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, *, url: str, responds: Callable[[], bool]) -> None:
        super().__init__(name, command, log)
        self.url = url
        self._responds = responds

    def __enter__(self) -> Self:
        super().__enter__()
        self.wait_until(self._responds, START_SECONDS, f"{self.name} to respond")
        return self

    def end(self, signum: signal.Signals) -> None:
        """Send a signal that ends the server, and wait until nothing of it runs."""
        self.send(signum)
        wait_until(lambda: self.ended, START_SECONDS, f"{self.name} to end")
        self.__exit__()

    def start(self) -> None:
        """Start the server again, and wait until it responds."""
        self.__enter__()


def missing_packages() -> list[str]:
    """Names of the Debian packages that are not installed."""
    found = {"redis-server": shutil.which("redis-server"), "postgresql": _postgresql_programs()}
    return [package for package, program in found.items() if not program]


@contextmanager
def redis(log: Path) -> Iterator[Server]:
    """Run an empty Redis that writes nothing to disk; its URL is without the number of a database."""
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    command += ["--dir", str(log.parent)]
    with Server("Redis", command, log, url=f"redis://127.0.0.1:{port}", responds=lambda: _ping(port)) as server:
        yield server


@contextmanager
def postgresql(log: Path) -> Iterator[Server]:
    """Run a PostgreSQL with an empty database that lets everybody of this machine in; its URL is SQLAlchemy's."""
    programs = _postgresql_programs()
    assert programs
    port = free_port()
    # Not in a folder of pytest, where another user may not go, and with a short name, which a Unix socket needs.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, POSTGRES_USER)
        data = f"{folder}/data"
        initdb = [programs / "initdb", "--pgdata", data, "--username", POSTGRES_USER, "--auth", "trust", "--no-sync"]
        subprocess.run(_unprivileged(initdb), cwd=folder, check=True, capture_output=True)
        settings = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "max_connections": "200",
            "fsync": "off",
        }
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        ready = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)]
        with Server(
            "PostgreSQL",
            _unprivileged([programs / "postgres", "-D", data, *options]),
            log,
            url=f"postgresql+psycopg2://{POSTGRES_USER}@127.0.0.1:{port}/postgres",
            responds=lambda: subprocess.run(ready, check=False).returncode == 0,
        ) as server:
            yield server


def _postgresql_programs() -> Path | None:
    """The newest version's folder, which Debian does not put on the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


def _unprivileged(command: list[str | Path]) -> list[str]:
    arguments = [str(argument) for argument in command]
    if os.geteuid() != 0:
        return arguments
    return ["setpriv", f"--reuid={POSTGRES_USER}", f"--regid={POSTGRES_USER}", "--init-groups", *arguments]


def _ping(port: int) -> bool:
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
    except OSError:
        return False
