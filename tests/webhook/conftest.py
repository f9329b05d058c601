"""A receiver in this process, and an object store that can be broken."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten.webhook import drain
from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.connections import Connections
from tests.webhook.deliveries import Sender


class Bucket(MemoryFileSystem):
    """An object store that is read-only, or hangs, for as long as the test wants."""

    uri: str
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.read_only = False
        self.asked = threading.Event()
        self.hangs = threading.Event()
        self.go_on = threading.Event()
        self.calls = 0
        self.lock = threading.Lock()

    def info(self, path: str, **kwargs: Any) -> Any:
        with self.lock:
            self.calls += 1
        self.asked.set()
        if self.hangs.is_set():
            assert self.go_on.wait(30)
        return super().info(path, **kwargs)

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if self.read_only and mode != "rb":
            raise PermissionError(13, f"read-only: {path}")
        return super()._open(path, mode, *args, **kwargs)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    bucket.store.clear()
    # Airflow attaches one file system to a connection id, for as long as the process runs.
    conn_id = f"bucket{id(bucket)}"
    attach("memory", conn_id=conn_id, fs=bucket)
    bucket.uri = f"memory://{conn_id}@bucket/results"
    yield bucket
    bucket.go_on.set()


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the spool be looked through each half second for what waits aside, instead of each quarter of a minute."""
    monkeypatch.setattr(drain, "_LOOK_SECONDS", 0.5)


@pytest.fixture
def database_connection(airflow_db: None, tmp_path: Path) -> Callable[[str], None]:
    """Write the connection's secret to Airflow's database."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    def define(secret: str) -> None:
        extra = {"webhook_secrets": [secret], "result_store": f"file://{tmp_path}/results"}
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="in_database").delete()
            session.add(Connection("in_database", conn_type="baseten", password="k", extra=extra))

    return define


@pytest.fixture
def receive() -> Iterator[Callable[..., Sender]]:
    """Make a receiver, and return who delivers to it."""
    senders = []

    def make(connections: Any, **options: Any) -> Sender:
        lookup = connections if callable(connections) else connections.get
        senders.append(Sender(create_app(Connections(lookup, seconds=0), **options)))
        return senders[-1]

    yield make
    for sender in senders:
        sender.close()
