"""A cluster whose parts share an S3 server, and an emulator in this process that counts what it is sent.

Connections are in three places: `baseten_default` in Airflow's database, `baseten_env` in the environment,
`baseten_staging` in a secrets backend.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.cluster.calls import Calls, Figures, Squares
from tests.cluster.celery_cluster import CeleryCluster
from tests.cluster.services import Server, missing_packages, postgresql, redis
from tests.faults.conftest import CONFIG
from tests.faults.models import API_KEY, WEBHOOK_SECRET
from tests.s3_server import S3Server
from tools.airflow_stack import free_port
from tools.demo import DAGS, ONLY_BY_HAND, STAGING_MODELS, example_emulator, language_server

CALLED = {f"calls{number}": Squares() for number in range(20)}
PRELOADED = (
    "airflow.providers.amazon.aws.fs.s3",
    "airflow.providers.common.io.xcom.backend",
    "airflow_provider_baseten.hooks.baseten",
    "airflow_provider_baseten.operators.async_predict",
    "s3fs",
)
SETTINGS = (
    CONFIG
    | ONLY_BY_HAND
    | {
        "AIRFLOW__BASETEN__RESULT_STORE": "s3://aws_default@results/baseten",
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": "s3://aws_default@xcoms/airflow",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "10",
        # While the database is away for 20 seconds, tasks and triggerers do not count as dead.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "20",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "2",
        # A triggerer does not beat while it looks up its first connection.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        # What the broker forgets is queued again after this time. So little is queued that the workers can't take yet.
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "25",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
        "AIRFLOW__CORE__PARALLELISM": "5",
    }
)

figures = Figures()


@pytest.fixture(scope="package")
def squares() -> Squares:
    """The model of the bulk jobs."""
    return Squares()


@pytest.fixture(scope="package")
def baseten(squares: Squares, folder: Path) -> Iterator[Emulator]:
    """The emulator, with the models of the example DAGs too."""
    server_url = f"http://127.0.0.1:{free_port()}"
    others = STAGING_MODELS | CALLED | {"square": squares}
    with language_server(server_url, folder / "server.log") as server:
        server.wait_for_http(f"{server_url}/health")
        with example_emulator(server_url, folder / "home", API_KEY, WEBHOOK_SECRET, others) as emulator:
            yield emulator


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the cluster; skips, or fails in CI, where a server is not installed."""
    if missing := missing_packages():
        reason = f"Debian packages are not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="package")
def broker(folder: Path) -> Iterator[Server]:
    with redis(folder / "redis.log") as server:
        yield server


@pytest.fixture(scope="package")
def database(folder: Path) -> Iterator[Server]:
    with postgresql(folder / "postgresql.log") as server:
        yield server


@pytest.fixture(scope="package")
def s3(folder: Path) -> Iterator[S3Server]:
    with S3Server(folder / "s3.log", "results", "xcoms") as server:
        yield server


@pytest.fixture(scope="package")
def cluster(folder: Path, broker: Server, database: Server, s3: S3Server, baseten: Emulator) -> Iterator[CeleryCluster]:
    """The Airflow; its workers are ready and its DAGs are read."""
    began = time.monotonic()
    dags = shutil.copytree(DAGS, folder / "dags")
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    cluster = CeleryCluster(folder / "home", dags, database=database.url, broker=broker.url, config=SETTINGS)
    # Each task is a fork of its worker, and takes a third less time with what all of them need.
    settings = folder / "home" / "config" / "airflow_local_settings.py"
    settings.parent.mkdir(parents=True)
    settings.write_text("".join(f"import {module}\n" for module in PRELOADED))
    vault = folder / "connections.json"
    vault.write_text(json.dumps({"baseten_staging": connection("baseten_staging", cluster, baseten)}))
    cluster.configure(
        {
            "AIRFLOW_CONN_BASETEN_ENV": json.dumps(connection("baseten_env", cluster, baseten)),
            "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(vault)}),
        }
    )
    with cluster:
        in_database = {"aws_default": s3.connection, "baseten_default": connection("baseten_default", cluster, baseten)}
        for conn_id, fields in in_database.items():
            cluster.api.add_connection(conn_id, **fields | {"extra": json.dumps(fields["extra"])})
        cluster.start_others()
        cluster.api.wait_for_dag("single")
        cluster.api.wait_for_dag("deferred_1")
        yield cluster
    figures.seconds = round(time.monotonic() - began)


def connection(conn_id: str, cluster: CeleryCluster, baseten: Emulator) -> dict[str, Any]:
    """A connection to the emulator, whose webhooks come to the cluster's API server."""
    extra = {"webhook_endpoint": f"{cluster.url}/baseten/webhooks/{conn_id}", "webhook_secrets": WEBHOOK_SECRET}
    return {"conn_type": "baseten", "host": baseten.url, "port": 0, "password": API_KEY, "extra": extra}


@pytest.fixture(scope="package")
def new_calls(cluster: CeleryCluster, baseten: Emulator, s3: S3Server) -> Callable[[], Calls]:
    """Makes a run with a model of its own. Several may run at once."""
    unused = iter(CALLED.items())

    def make() -> Calls:
        model_id, model = next(unused)
        return Calls(cluster, baseten, s3, model_id=model_id, model=model, figures=figures)

    return make


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the runs have done."""
    if figures.tasks:
        terminalreporter.write_line(f"Runs on the cluster: {figures}")
