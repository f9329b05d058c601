"""An Airflow with OpenLineage, whose events go to files, and an emulator in this process."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.chat_server import ChatServer
from tests.faults.cluster import Cluster
from tests.faults.conftest import CONFIG
from tests.faults.models import API_KEY, WEBHOOK_SECRET

ROWS = {"a.jsonl": 4, "b.jsonl": 2, "c.jsonl": 3}
OUTPUT = "private-output"


def score(model_input: Any) -> Any:
    if model_input["number"] == 1:
        raise RuntimeError("no score for private-input")
    return {"score": model_input["number"], "text": OUTPUT}


def broken(model_input: Any) -> NoReturn:
    raise RuntimeError("broken by private-input")


@dataclass
class Airflow:
    """The Airflow, what it calls, and where it writes."""

    cluster: Cluster
    baseten: Emulator
    chat: ChatServer
    folder: Path
    store: Path

    def events(self) -> list[dict[str, Any]]:
        """Return OpenLineage's events in the order of their times."""
        found = [json.loads(file.read_text()) for file in (self.folder / "events").iterdir()]
        return sorted(found, key=lambda event: event["eventTime"])

    def last_event(self, task: str, kind: str) -> dict[str, Any]:
        """Return the last event of a kind, such as ``COMPLETE``, of a task, such as ``lineage.bulk``."""
        return [event for event in self.events() if event["job"]["name"] == task and event["eventType"] == kind][-1]


@pytest.fixture(scope="package")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("lineage")
    (folder / "events").mkdir()
    (folder / "rows").mkdir()
    for name, number in ROWS.items():
        rows = [{"number": index, "text": "private-input"} for index in range(number)]
        (folder / "rows" / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    echo = {"echo": lambda model_input: {"answer": OUTPUT, "input": model_input}}
    chat = ChatServer(lambda body: OUTPUT)
    models = echo | {"score": score, "broken": broken, "chat": chat}
    chains = {"chained": lambda text: {"answer": OUTPUT}}
    transport = {"type": "file", "log_file_path": f"{folder}/events/event"}
    with Emulator(models=models, chains=chains, api_key=API_KEY, webhook_secrets=[WEBHOOK_SECRET]) as baseten:
        config = CONFIG | {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
            "AIRFLOW__OPENLINEAGE__INCLUDE_FULL_TASK_INFO": "True",
            "LINEAGE_FOLDER": str(folder),
            # OpenLineage reads the database more often than SQLite's five seconds allow on a busy machine.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/home/airflow.db?timeout=30",
        }
        with Cluster(folder / "home", Path(__file__).parent / "dags", config) as cluster:
            extra = {
                "webhook_endpoint": f"{cluster.url}/baseten/webhooks/baseten_default",
                "webhook_secrets": WEBHOOK_SECRET,
                "result_store": f"file://{folder}/results",
            }
            fields = {"host": baseten.url, "port": 0, "password": API_KEY, "extra": json.dumps(extra)}
            cluster.api.add_connection("baseten_default", "baseten", **fields)
            cluster.api.wait_for_dag("on_more_results")
            yield Airflow(cluster, baseten, chat, folder, folder / "results")
