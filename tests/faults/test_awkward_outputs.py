"""Answers that Airflow can't hold, and result stores that fail after the answer: paid once, and readable."""

import json
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.storage.xcom import xcom_safe
from tests.awkward_values import AWKWARD, PLAIN, random_value
from tests.faults.cluster import PATIENCE, Cluster
from tests.faults.models import API_KEY
from tests.scripted_server import ScriptedServer, answer
from tools.airflow_api import DagRun, wait_until

SEED = 20_261_127
HELD_ANSWER = b'{"score": NaN}'

Connect = Callable[..., ScriptedServer]


def _plain_values() -> list[Any]:
    chance = random.Random(SEED)
    drawn = (random_value(chance) for _ in range(2000))
    return [*PLAIN, *(value for value in drawn if xcom_safe(value, long_integers=False))]


# The first is one XCom of many values, which the gate lets through.
BODIES = [
    exact_json.encode(_plain_values()),
    *AWKWARD,
    b'{"n": 18446744073709551616}',
    b"-9223372036854775809",
]


@pytest.fixture(scope="module")
def connect(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    """Adds a connection that leads to a server of its own and has a result store of its own."""
    with ExitStack() as stack:

        def add(name: str, behaviour: Callable[[ScriptedServer, socket.socket], None], store: Path) -> ScriptedServer:
            server = ScriptedServer(lambda connection: behaviour(server, connection))
            stack.enter_context(server)
            extra = json.dumps({"result_store": f"file://{store}"})
            cluster.api.add_connection(name, "baseten", host=server.url, port=0, password=API_KEY, extra=extra)
            return server

        yield add


def start(cluster: Cluster, dag_id: str, connection: str) -> DagRun:
    cluster.api.wait_for_dag(dag_id)
    return cluster.api.run(dag_id, {"connection": connection, "answers": len(BODIES)})


def failures(run: DagRun) -> str:
    """What the tasks that failed have logged."""
    return "\n".join(f"--- {task.label}\n{run.log(task)}" for task in run.task_instances() if task.state == "failed")


class Breaking:
    """A result store that is away from the first answer on until somebody repairs it."""

    def __init__(self, folder: Path, size: int = 0) -> None:
        self.folder = folder
        self.body = HELD_ANSWER
        self.broken = threading.Event()

    def answer(self, server: ScriptedServer, connection: socket.socket) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.write_text("in the way")
        self.broken.set()
        answer(200, self.body, ["X-Baseten-Request-Id: r1"])(connection)

    def repair(self) -> None:
        self.folder.unlink()


def test_awkward_answers_are_paid_once_and_readable(cluster: Cluster, connect: Connect, tmp_path: Path) -> None:
    def numbered(server: ScriptedServer, connection: socket.socket) -> None:
        number = int(server.requests[-1].partition(b"\r\n\r\n")[2])
        answer(200, BODIES[number], [f"X-Baseten-Request-Id: r{number}"])(connection)

    server = connect("awkward", numbered, tmp_path / "store")
    run = start(cluster, "awkward_outputs", "awkward")
    assert run.wait(4 * PATIENCE) == "success", failures(run)
    assert len(server.requests) == len(BODIES)
    assert run.xcom("read") == [repr(exact_json.decode(body)) for body in BODIES]
    stored = {path.name for path in (tmp_path / "store" / "outputs").iterdir()}
    assert stored == {f"r{number}.json" for number in range(1, len(BODIES))}


def tries(run: DagRun) -> int:
    """How often the predict was tried."""
    return next(task.try_number for task in run.task_instances() if task.task_id == "predict")


@pytest.fixture(scope="module")
def broken_stores(
    cluster: Cluster, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[DagRun, ScriptedServer]]:
    """Runs whose store fails after the answer and comes back: within the minute, or for the next attempt."""
    folder = tmp_path_factory.mktemp("stores")
    stores = {name: Breaking(folder / name) for name in ("briefly", "for_long")}
    started = {}
    for name, store in stores.items():
        server = connect(name, store.answer, store.folder)
        started[name] = start(cluster, "failing_store", name), server
    for store in stores.values():
        assert store.broken.wait(PATIENCE)
    stores["briefly"].repair()
    run, _ = started["for_long"]
    wait_until(lambda: tries(run) > 1, 2 * PATIENCE, "another try")
    stores["for_long"].repair()
    return started


@pytest.mark.parametrize("name", ["briefly", "for_long"])
def test_an_answer_outlives_a_store_that_fails(
    broken_stores: dict[str, tuple[DagRun, ScriptedServer]], name: str
) -> None:
    run, server = broken_stores[name]
    assert run.wait(2 * PATIENCE) == "success", failures(run)
    assert len(server.requests) == 1
    assert run.xcom("read") == ["{'score': nan}"]
    assert run.xcom("predict", "request_id") == "r1"
    assert (tries(run) > 1) == (name == "for_long")
