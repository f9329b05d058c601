"""Answers of hostile models: forged references, bombs, and errors that quote the input."""

import json
import re
import secrets
import socket
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.storage.references import new_key, signed
from tests.faults.cluster import PATIENCE, Cluster
from tests.faults.conftest import CONFIG
from tests.faults.models import API_KEY, WEBHOOK_SECRET
from tests.scripted_server import ScriptedServer, answer
from tools.airflow_api import DagRun

MB = 1024 * 1024
# Airflow's processes take some megabytes more for each module that they import.
MAX_GROWTH = 200 * MB

MARKER = secrets.token_hex(16)
# A server quotes it as it is, escaped, and cut.
TEXT = f"Anna's number is {MARKER}, her café's too\n"
SECRET = secrets.token_hex(32)


@dataclass
class Runs:
    """A run of each DAG, all at once."""

    forged: DagRun
    bombs: DagRun
    quotes: Mapping[str, DagRun]
    peaks_before: dict[int, int]
    bomb_server: ScriptedServer


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no model may read."""
    file = tmp_path_factory.mktemp("outside") / "secret.json"
    file.write_text(json.dumps(SECRET))
    return file


@pytest.fixture(scope="module")
def stranger() -> Iterator[ScriptedServer]:
    """A server that must not be called."""
    with ScriptedServer(answer(200, json.dumps(SECRET).encode())) as server:
        yield server


@pytest.fixture(scope="module")
def forged(secret: Path, stranger: ScriptedServer) -> list[dict[str, Any]]:
    """What the model answers: references in the package's own form, with other keys, and one without signature."""
    size = secret.stat().st_size

    def signed_by_stranger(uri: str) -> dict[str, Any]:
        return dict(
            signed(
                {"uri": uri, "bytes": size, "request_id": "x", "format": "json", "baseten_conn_id": "hostile"},
                new_key(),
            )
        )

    unsigned = {"uri": f"file://{secret}", "bytes": size, "request_id": "x", "kind": "json"}
    return [signed_by_stranger(f"file://{secret}"), signed_by_stranger(f"{stranger.url}/secret.json"), unsigned]


@pytest.fixture(scope="module")
def bomb() -> Iterator[ScriptedServer]:
    """A server that answers one input with a megabyte that unpacks to more than a gigabyte."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    head, block = (packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH) for data in (b'"', b"x" * MB))
    body = head + block * 1100

    def behave(connection: socket.socket) -> None:
        if server.requests[-1].endswith(b'"bomb"'):
            answer(200, body, ["Content-Encoding: gzip"])(connection)
        else:
            answer(200, b'"unharmed"')(connection)

    with ScriptedServer(behave) as server:
        yield server


@pytest.fixture(scope="module")
def runs(
    cluster: Cluster, forged: list[dict[str, Any]], bomb: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    def forger(model_input: dict[str, Any]) -> dict[str, Any]:
        return forged[model_input["number"]]

    def quoter(model_input: dict[str, Any]) -> Any:
        text = model_input["text"]
        raise HTTPException(422, f"no good: {text} {model_input} {json.dumps(model_input)} {text[5:40]}...")

    models = {"forger": forger, "quoter": quoter}
    with Emulator(models=models, api_key=API_KEY, webhook_secrets=[WEBHOOK_SECRET]) as hostile:
        hosts = {"hostile": hostile.url, "taciturn": hostile.url, "bomb": bomb.url}
        for name, host in hosts.items():
            extra = {
                "webhook_endpoint": f"{cluster.url}/baseten/webhooks/{name}",
                "webhook_secrets": WEBHOOK_SECRET,
                "result_store": f"file://{tmp_path_factory.mktemp('stores')}",
                "log_error_details": name != "taciturn",
            }
            cluster.api.add_connection(name, "baseten", host=host, port=0, password=API_KEY, extra=json.dumps(extra))
        for dag_id in ("forged_references", "bombs", "quotes_of_input"):
            cluster.api.wait_for_dag(dag_id)
        cluster.wait_until_healthy()
        peaks = cluster.peaks_of_memory("triggerer")
        run = cluster.api.run
        yield Runs(
            bombs=run("bombs", {"connection": "bomb"}),
            forged=run("forged_references", {"connection": "hostile"}),
            quotes={
                name: run("quotes_of_input", {"connection": name, "text": TEXT}) for name in ("hostile", "taciturn")
            },
            peaks_before=peaks,
            bomb_server=bomb,
        )


def logs(run: DagRun) -> dict[str, str]:
    """What each task of a run that has ended has logged."""
    return {task.label: run.log(task) for task in run.task_instances()}


def files_with(folder: Path, text: str, pattern: str = "*") -> list[Path]:
    """Files that hold a text, for example a log or the database."""
    return [file for file in folder.rglob(pattern) if file.is_file() and text.encode() in file.read_bytes()]


def test_a_bomb_fails_a_task_and_nothing_else(cluster: Cluster, runs: Runs) -> None:
    run = runs.bombs
    assert run.wait(PATIENCE) == "success", logs(run)
    assert run.states() == {"blocking": "failed", "deferred": "failed", "after": "success"}
    for way in ("blocking", "deferred"):
        assert "BasetenResponseError" in logs(run)[way]
        assert f"more than {int(CONFIG['AIRFLOW__BASETEN__MAX_RESPONSE_BYTES']):,} bytes" in logs(run)[way]
        before, *_, peak = re.findall(r"Peak of memory: (\d+) bytes", logs(run)[way])
        assert int(peak) - int(before) < MAX_GROWTH
    assert run.xcom("after") == "unharmed"
    assert len(runs.bomb_server.requests) == 3
    peaks = cluster.peaks_of_memory("triggerer")
    assert peaks.keys() == runs.peaks_before.keys()
    assert max(peaks[pid] - runs.peaks_before[pid] for pid in peaks) < MAX_GROWTH


def test_a_forged_reference_opens_nothing(
    cluster: Cluster, runs: Runs, forged: list[dict[str, Any]], stranger: ScriptedServer
) -> None:
    run = runs.forged
    state = run.wait(PATIENCE)
    assert stranger.requests == []
    assert files_with(cluster.home, SECRET) == []
    assert state == "failed"
    assert [task for task, state in run.states().items() if state != "success"] == ["read_of_hook"], logs(run)
    assert run.xcom("read") == [repr(value) for value in forged * 3]
    # A function of the user may return anything, also what looks like a reference.
    assert run.xcom("answer_of_hook") == forged[0]
    assert run.xcom("read_of_hook") is None
    assert "BasetenResultStoreError" in logs(run)["read_of_hook"]


def test_an_error_does_not_bring_the_input_to_a_log(cluster: Cluster, runs: Runs) -> None:
    for name, run in runs.quotes.items():
        run.wait(PATIENCE)
        assert run.states() == {"blocking": "failed", "deferred": "failed", "async": "failed"}, logs(run)
        for way, log in logs(run).items():
            assert re.search(r"Baseten\w+Error", log), (name, way, log)
            assert ("no good" in log, "[input]" in log) == (name == "hostile", name == "hostile"), (name, way, log)
            assert MARKER not in log
    assert files_with(cluster.home, MARKER[:16], "*.log") == []
