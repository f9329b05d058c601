"""A whole demo run, and each operator beside it: where secrets, inputs and outputs are, and where they are not."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from airflow_provider_baseten.emulator import Emulator
from tests.chat_server import ChatServer
from tests.demo.canaries import Canaries, Database, Metrics, canary_tickets, found_in_files
from tests.telemetry.collector import collector
from tools.airflow_api import DagRun, wait_until
from tools.airflow_stack import AirflowStack, free_port
from tools.demo import (
    DAGS,
    EXAMPLES,
    ONLY_BY_HAND,
    STAGING_MODELS,
    add_baseten_connection,
    example_emulator,
    language_server,
    report,
)

pytestmark = pytest.mark.timeout(900)

HERE = Path(__file__).parent
KEY, STAGING_KEY, WRONG_KEY = "canarykey.5f1e0c", "canarykey.77aa02", "canarykey.0badc0"
SECRET = "whsec_canarysecret90cb"
INPUT, TICKET, OUTPUT = "canaryinput7d3e", "canaryticket41f8", "canaryoutput2b6c"
CANARIES = Canaries(
    {
        "API key": KEY,
        "API key of staging": STAGING_KEY,
        "refused API key": WRONG_KEY,
        "webhook secret": SECRET,
        "input": INPUT,
        "input of an example": TICKET,
        "output": OUTPUT,
    }
)
PAYLOADS = {"input", "input of an example", "output"}
# Folders in which the examples keep what they read and write.
STORES = ("nightly_scoring", "reports", "score_on_demand", "sharded_scoring", "ticket_languages")
WAITING = {"predict", "queued", "sensor"}
CANARY_DAGS = ("canaries_succeed", "canaries_fail")
# Operators of this package, as the column `operator` of Airflow's table names them.
OURS = ("Baseten", "@task.baseten")


def echo(model_input: Any) -> dict[str, Any]:
    return {"answer": OUTPUT, "input": model_input}


def large(model_input: Any) -> dict[str, Any]:
    return {"answer": OUTPUT * 20_000, "input": model_input}


def broken(model_input: Any) -> NoReturn:
    raise RuntimeError(f"can't read {model_input}")


async def refuse(request: Request) -> Response:
    return PlainTextResponse(f"refused: {(await request.body()).decode()}", status_code=400)


async def unreadable(request: Request) -> Response:
    return Response(b'{"answer": "' + OUTPUT.encode(), media_type="application/json")


async def answer(request: Request) -> Response:
    return Response(json.dumps(echo(await request.json())), media_type="application/json")


def server(predict: Any = answer) -> Starlette:
    routes = [("/v1/models/model:predict", predict), ("/v1/echo", answer), ("/v1/refuse", refuse)]
    return Starlette(routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in routes])


@dataclass
class Observed:
    """All that the runs have left behind."""

    airflow: AirflowStack
    database: Database
    metrics: bytes
    spans: bytes
    # Folder of OpenLineage's events.
    lineage: Path
    runs: Mapping[str, DagRun]
    # What the database held while tasks were deferred.
    while_deferred: list[tuple[str, str, Mapping[str, Any]]]
    triggers: list[dict[str, Any]]

    def own_tasks(self) -> set[tuple[str, str]]:
        """Ids of DAG and task, for each task with an operator of this package that a branch has not skipped."""
        rows = [row for row in self.database.rows("task_instance") if row["state"] != "skipped"]
        return {(row["dag_id"], row["task_id"]) for row in rows if str(row["operator"]).startswith(OURS)}


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("canaries")
    home, files = folder / "home", folder / "files"
    files.mkdir()
    (files / "inputs.json").write_text(json.dumps({"text": INPUT}))
    (files / "rows.jsonl").write_text(f"{json.dumps({'text': INPUT})}\n" * 20)
    dags = shutil.copytree(DAGS, folder / "dags")
    tickets = dags / "data" / "tickets.json"
    tickets.write_text(canary_tickets(tickets, TICKET))
    shutil.copytree(HERE / "canary_dags", dags, dirs_exist_ok=True)
    fernet_key = Fernet.generate_key().decode()
    server_url = f"http://127.0.0.1:{free_port()}"
    models = {
        "echo": echo,
        "large": large,
        "broken": broken,
        "server": server(),
        "refuses": server(refuse),
        "unreadable": server(unreadable),
        "chat": ChatServer(lambda body: f"{OUTPUT} {body['messages'][-1]['content']}"),
        "brokenchat": ChatServer(lambda body: 400),
    }
    with (
        language_server(server_url, folder / "server.log") as language,
        example_emulator(server_url, home, KEY, SECRET, models) as baseten,
        Emulator(STAGING_MODELS, api_key=STAGING_KEY, webhook_secrets=[SECRET]) as staging,
        Metrics() as metrics,
        collector(folder) as spans,
    ):
        language.wait_for_http(f"{server_url}/health")
        lineage = folder / "lineage"
        lineage.mkdir()
        config = ONLY_BY_HAND | metrics.config | spans.config
        config |= {
            "AIRFLOW__CORE__FERNET_KEY": fernet_key,
            "CANARY_FOLDER": str(files),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": f"{lineage}/event"}),
            # OpenLineage reads the database more often than SQLite's five seconds allow on a busy machine.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=30",
        }
        with AirflowStack(home, dags, config=config) as airflow:
            add_baseten_connection(airflow, "baseten_default", baseten.url, KEY, SECRET)
            add_baseten_connection(airflow, "baseten_staging", staging.url, STAGING_KEY, SECRET)
            add_baseten_connection(airflow, "refused", baseten.url, WRONG_KEY, SECRET)
            database = Database(home / "airflow.db", fernet_key)
            baseten.hold("echo")
            try:
                waiting = _start(airflow, "canaries_wait")
                wait_until(lambda: _deferred(waiting) == WAITING, 180, "the tasks to be deferred")
                while_deferred, triggers = database.found(CANARIES), database.rows("trigger")
            finally:
                baseten.release("echo")
            dag_ids = (*CANARY_DAGS, *EXAMPLES)
            runs = {"canaries_wait": waiting} | {dag_id: _start(airflow, dag_id) for dag_id in dag_ids}
            for run in runs.values():
                run.wait(300)
            ended = {f"dag_run.{dag_id}" for dag_id in runs}
            wait_until(lambda: ended <= {span.name for span in spans.spans()}, 60, "the spans of all runs")
            exported = b"".join(spans.bodies)
            yield Observed(airflow, database, metrics.received, exported, lineage, runs, while_deferred, triggers)


def _start(airflow: AirflowStack, dag_id: str) -> DagRun:
    airflow.api.wait_for_dag(dag_id)
    return airflow.api.run(dag_id)


def _deferred(run: DagRun) -> set[str]:
    return {label for label, state in run.states().items() if state == "deferred"}


def test_the_runs_are_those_that_the_canaries_are_for(observed: Observed) -> None:
    states = {dag_id: run.state() for dag_id, run in observed.runs.items()}
    assert states.pop("canaries_fail") == "failed"
    failures = [report(run) for dag_id, run in observed.runs.items() if states.get(dag_id, "success") != "success"]
    assert set(states.values()) == {"success"}, "\n".join(failures)
    failing = {label: state for label, state in observed.runs["canaries_fail"].states().items() if label != "read"}
    assert set(failing.values()) == {"failed"}, failing
    # The canaries are where they belong, so that a search can find them.
    found = observed.database.found(CANARIES)
    assert {name for name, place, _ in found if place == "xcom.value"} == PAYLOADS


def test_the_database_has_them_in_outputs_and_inputs_of_tasks_only(observed: Observed) -> None:
    own = observed.own_tasks()

    def belongs(place: str, row: Mapping[str, Any]) -> bool:
        of_own_task = (row.get("dag_id"), row.get("task_id")) in own
        match place.partition(".")[0]:
            case "xcom":
                return not of_own_task or row["key"] == "return_value"
            case "rendered_task_instance_fields":  # Airflow shows the arguments of Python tasks.
                return not of_own_task
        return False

    for found in (observed.while_deferred, observed.database.found(CANARIES)):
        assert [(name, place, row) for name, place, row in found if not belongs(place, row)] == []


def test_triggers_that_waited_were_read(observed: Observed) -> None:
    assert len(observed.triggers) == len(WAITING)
    assert all("airflow_provider_baseten" in row["classpath"] for row in observed.triggers)


def test_logs_of_this_package_have_none(observed: Observed) -> None:
    own = observed.own_tasks()
    found = found_in_files(observed.airflow.home / "logs", CANARIES)

    def task_of(path: Path) -> tuple[str, str] | None:
        names = dict(part.split("=", 1) for part in path.parts if "=" in part)
        return (names["dag_id"], names["task_id"]) if "task_id" in names else None

    assert {task_of(path) for _, path in found} & {("route_tickets", "read_tickets")}, "Airflow logs returned values"
    assert [(name, str(path)) for name, path in found if task_of(path) is None or task_of(path) in own] == []


def test_output_of_airflow_s_processes_has_none(observed: Observed) -> None:
    lines = observed.airflow.log.read_bytes().splitlines()
    # Airflow logs what a Python task returns, such as the tickets that the examples read.
    assert [line for line in lines if CANARIES.in_bytes(line) and b"Returned value was: " not in line] == []


def test_of_other_files_only_stores_have_inputs_and_outputs(observed: Observed) -> None:
    found = found_in_files(observed.airflow.home, CANARIES)
    elsewhere = {"logs", "standalone.log", "airflow.db", "airflow.db-wal"}
    assert {path.parts[0] for _, path in found} - elsewhere <= {"baseten", *STORES}
    assert {path.parts[:2] for _, path in found if path.parts[0] == "baseten"} == {("baseten", "results")}
    assert {name for name, _ in found} <= PAYLOADS


def test_metrics_have_none(observed: Observed) -> None:
    for name in (b"ti.finish.canaries_succeed.predict.success", b"baseten.requests.model", b"baseten.rows.success"):
        assert name in observed.metrics
    assert CANARIES.in_bytes(observed.metrics) == set()


def test_spans_have_none(observed: Observed) -> None:
    for name in (b"predict echo", b"chat", b"bulk predict", b"wait echo", b"BasetenModelError"):
        assert name in observed.spans
    assert CANARIES.in_bytes(observed.spans) == set()


def test_lineage_events_have_none(observed: Observed) -> None:
    events = [json.loads(file.read_text()) for file in observed.lineage.iterdir()]
    ended = {event["job"]["name"] for event in events if "baseten" in event["run"]["facets"]}
    assert {f"{dag_id}.{task_id}" for dag_id, task_id in observed.own_tasks()} <= ended
    assert found_in_files(observed.lineage, CANARIES) == []


def test_pages_have_none(observed: Observed) -> None:
    pages = {"menu": observed.airflow.api.page("baseten/ui/")}
    for run in observed.runs.values():
        for task in run.task_instances():
            if (run.dag_id, task.task_id) in observed.own_tasks():
                key = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task.task_id, "map_index": task.map_index}
                pages[f"{run.dag_id}.{task.label}"] = observed.airflow.api.page("baseten/ui/task", key)
    assert len(pages) > 20
    # The pages show what the tasks have done and why some have failed.
    assert "canaries_fail" in pages["menu"]
    assert "BasetenModelError" in pages["menu"]
    assert [name for name, page in pages.items() if CANARIES.in_bytes(page.encode())] == []
