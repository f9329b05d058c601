"""Runs the example DAGs in a real Airflow against the emulator: `python -m tools.demo [--once]`.

Starts the custom server, the emulator with the example models, and Airflow, all on free ports of 127.0.0.1; adds the
connections, runs every DAG of `example_dags/` and prints what each task returned.
"""

import argparse
import fcntl
import json
import logging
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import requests
import yaml

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model, Scaling, Upstream
from tools.airflow_api import DagRun, TaskInstance
from tools.airflow_stack import AirflowStack, Service, free_port

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "example_dags"
MODELS = DAGS / "models"
# The models of the second workspace.
STAGING_MODELS = {"langid02": MODELS / "language_identifier"}
# The model that is inactive until a DAG activates it.
ON_DEMAND_ID = "langid03"
# The model that a DAG retrains, and its deployments for the new weights, with the names of their folders.
RETRAINED_ID = "langid04"
TRIED_OUT = {"langid04blue": "blue", "langid04green": "green"}
EXAMPLES = sorted(file.stem for file in DAGS.glob("*.py"))
# The DAGs have schedules and an asset; the demo shows one run of each.
ONLY_BY_HAND = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "false"}
RESULT_WIDTH = 70
LOG_LINES = 40


@dataclass(frozen=True)
class Demo:
    """What runs while the demo is up."""

    airflow: AirflowStack
    emulator_url: str
    api_key: str


@contextmanager
def running_demo(home: Path, progress: Callable[[str], object]) -> Iterator[Demo]:
    """Run the server, the emulator and Airflow with its connection to the emulator, until the block ends.

    :param home: folder for Airflow's home and the logs
    :param progress: called with one line of text for each step
    """
    server_url = f"http://127.0.0.1:{free_port()}"
    api_key, staging_key = (f"demo.{secrets.token_hex(16)}" for _ in range(2))
    webhook_secret = f"whsec_{secrets.token_hex(16)}"
    logging.basicConfig(filename=home / "emulator.log", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = language_server(server_url, home / "language_server.log")
    airflow = AirflowStack(home / "airflow", DAGS, config=ONLY_BY_HAND, progress=progress)

    progress("starting the language server and the emulator")
    with (
        server,
        example_emulator(server_url, airflow.home, api_key, webhook_secret) as emulator,
        Emulator(STAGING_MODELS, api_key=staging_key) as staging,
    ):
        server.wait_for_http(f"{server_url}/health")
        progress(f"the emulator answers at {emulator.url}")
        with airflow:
            add_baseten_connection(airflow, "baseten_default", emulator.url, api_key, webhook_secret)
            add_baseten_connection(airflow, "baseten_staging", staging.url, staging_key, webhook_secret)
            progress("added the connections baseten_default and baseten_staging")
            yield Demo(airflow, emulator.url, api_key)


def example_emulator(
    server_url: str,
    airflow_home: Path,
    api_key: str,
    webhook_secret: str,
    others: Mapping[str, Any] | None = None,
) -> Emulator:
    """An emulator with the models of the examples, not started yet.

    :param server_url: where the custom server serves
    :param airflow_home: AIRFLOW_HOME of the Airflow that calls the models; Trusses are written to a folder beside it
    :param others: additional models by id
    """
    identifier = MODELS / "language_identifier"
    tried_out = {
        id_: _with_weights(airflow_home / "ticket_languages" / name, truss=airflow_home.parent / "trusses" / name)
        for id_, name in TRIED_OUT.items()
    }
    models = {
        "langid01": identifier,
        ON_DEMAND_ID: Model(identifier, scaling=Scaling(min_replica=0, cold_start=2)),
        RETRAINED_ID: Model(identifier, scaling=Scaling(min_replica=0), candidates=tried_out),
        "langrep01": MODELS / "language_report",
        "langsrv1": Upstream(server_url),
        "vectors1": MODELS / "text_vectors",
        **(others or {}),
    }
    emulator = Emulator(models, api_key=api_key, webhook_secrets=[webhook_secret])
    emulator.deactivate(ON_DEMAND_ID)
    for deployment_id in TRIED_OUT:
        emulator.deactivate(RETRAINED_ID, deployment_id)
    return emulator


def _with_weights(folder: Path, *, truss: Path) -> Path:
    """A copy of a Truss that reads its weights from a folder; a user edits the file before `truss push`."""
    shutil.copytree(MODELS / "ticket_languages", truss)
    config = yaml.safe_load((truss / "config.yaml").read_text())
    config["environment_variables"]["WEIGHTS"] = (folder / "weights.json").as_uri()
    (truss / "config.yaml").write_text(yaml.safe_dump(config))
    return truss


def language_server(url: str, log: Path) -> Service:
    """The custom server of the examples, which serves at `url`."""
    folder = MODELS / "language_server" / "model"
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "server:app", "--port", port]
    return Service("language server", command, log)


def add_baseten_connection(
    airflow: AirflowStack, connection_id: str, url: str, api_key: str, webhook_secret: str
) -> None:
    """Add a connection to Airflow whose host is an emulator, and whose webhooks come to Airflow's API server."""
    extra = {
        "webhook_endpoint": f"{airflow.ui_url}/baseten/webhooks/{connection_id}",
        "webhook_secrets": webhook_secret,
    }
    # The UI of Airflow 3.3.2 tests a connection with port 0 where it has none, and its API refuses that as another
    # port (apache/airflow pull request 73298).
    fields = {"host": url, "port": 0, "password": api_key, "extra": json.dumps(extra)}
    airflow.api.add_connection(connection_id, "baseten", **fields)


def run_examples(airflow: AirflowStack, progress: Callable[[str], object]) -> list[DagRun]:
    """Run all example DAGs at once and wait for their end."""
    for dag_id in EXAMPLES:
        airflow.api.wait_for_dag(dag_id)
    runs = [airflow.api.run(dag_id) for dag_id in EXAMPLES]
    for run in runs:
        progress(f"{run.dag_id}: {run.wait()}")
    return runs


def report(run: DagRun) -> str:
    """A table of the run's tasks, and the end of the log of each that failed."""
    tasks = run.task_instances()
    rows = [("task", "state", "seconds", "result"), *(_row(run, task) for task in tasks)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    failures = [
        f"\n{run.dag_id}.{task.label} failed; its log ends with:\n{_tail(run.log(task))}"
        for task in tasks
        if task.state == "failed"
    ]
    return "\n".join([f"{run.dag_id}: {run.state()}", *lines, *failures])


def _row(run: DagRun, task: TaskInstance) -> tuple[str, str, str, str]:
    duration = "" if task.duration is None else f"{task.duration:.1f}"
    result = run.xcom(task.task_id, map_index=task.map_index)
    return task.label, task.state or "none", duration, _shorten(result)


def _shorten(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and "rows_per_second" in value:  # The manifest of a bulk job.
        return f"{value['rows']:,} rows, {value['failed']:,} failed, {value['rows_per_second']:,.0f} rows/s"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= RESULT_WIDTH else f"{text[: RESULT_WIDTH - 3]}..."


def _tail(log: str) -> str:
    return "\n".join(f"    {line}" for line in log.splitlines()[-LOG_LINES:])


@contextmanager
def _own_folder(home: Path) -> Iterator[None]:
    """Empty the folder and keep other demos out of it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another demo runs in {home}; end it first") from None
        for entry in home.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
        yield


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Leave all `with` blocks; a second signal must not cut that short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; the exit status is 0 if every run succeeded."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="end after the runs instead of staying up")
    parser.add_argument("--home", type=Path, default=ROOT / ".demo", help="working folder, emptied at the start")
    options = parser.parse_args()
    home: Path = options.home.resolve()
    started = time.monotonic()
    succeeded = False

    def progress(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _own_folder(home), running_demo(home, progress) as demo:
            runs = run_examples(demo.airflow, progress)
            print("", *(f"{report(run)}\n" for run in runs), sep="\n")
            succeeded = all(run.state() == "success" for run in runs)
            print(f"Airflow: {demo.airflow.ui_url}  login: {demo.airflow.username} / {demo.airflow.password}")
            print(f"Logs: {home}", flush=True)
            if options.once:
                print("All of it ends now; `make demo` without ONCE=1 stays up.", flush=True)
            else:
                print("Nothing runs on its schedule here: trigger a DAG to run it again.")
                print("Ctrl-C ends the demo.", flush=True)
                threading.Event().wait()
    except KeyboardInterrupt:
        print("\nThe demo has ended.")
        return 0 if succeeded else 130
    except (EmulatorError, RuntimeError, TimeoutError, requests.RequestException) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
