"""A real Airflow with a database of its own, for everything that runs DAGs in this process."""

import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Airflow reads these when it is first imported.
_home = tempfile.TemporaryDirectory(prefix="baseten-tests-", ignore_cleanup_errors=True)
os.environ.update(
    AIRFLOW_HOME=_home.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=f"{_home.name}/dags",
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=f"{_home.name}/logs",
)
for _name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "BASETEN_API_KEY"):
    os.environ.pop(_name, None)

if TYPE_CHECKING:
    from airflow.sdk import DAG

LINK_KEY, PROGRESS_KEY = "_link_BasetenLink", "_link_BasetenProgressLink"
RECORD_KEYS = {"baseten_bulk_job", "baseten_async_request", "baseten_usage", "baseten_failure"}

# Classes of the tasks that have succeeded in a DAG since the session began.
_succeeded: set[str] = set()


@dataclass
class FinishedRun:
    """What a DAG run left behind."""

    state: str
    states: dict[str, str]
    xcoms: dict[tuple[str, int, str], Any]
    # What Baseten's pages in Airflow's UI show.
    records: dict[tuple[str, int, str], Any]
    rendered: dict[str, dict[str, Any]]
    links: dict[tuple[str, int], Any]
    progress_links: dict[tuple[str, int], Any]
    tries: dict[tuple[str, int], int]
    # What the UI shows instead of the numbers of mapped tasks.
    map_indexes: dict[tuple[str, int], str | None]

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self.xcoms[task_id, map_index, key]

    def keys(self, task_id: str) -> set[str]:
        return {key for task, _, key in self.xcoms if task == task_id}


@pytest.fixture(scope="session", autouse=True)
def _object_storage() -> None:
    """Let Airflow know ``memory://`` before anything uses it: it keeps the first file system of each scheme."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> None:
    """Leave what earlier modules have made out of collections.

    With the objects of three thousand tests a full one takes more than half a second, which looks like an event loop
    that something blocks.
    """
    gc.freeze()


@pytest.fixture(scope="session")
def airflow_db() -> None:
    from airflow.utils.db import initdb

    (Path(_home.name) / "dags").mkdir()
    initdb()


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., FinishedRun]:
    """Run a DAG with ``dag.test()``, which gets further arguments, and tell what came of it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag, sync_bag_to_db
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    folder = f"{_home.name}/dags"

    def run(dag: "DAG", **arguments: Any) -> FinishedRun:
        DagBundlesManager().sync_bundles_to_db()
        bag = DagBag(dag_folder=folder, bundle_path=Path(folder))
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "dags-folder", None)
        dag_run = dag.test(**arguments)
        with create_session() as session:
            xcoms = session.query(XComModel).filter_by(dag_id=dag.dag_id, run_id=dag_run.run_id).all()
            fields = session.query(RenderedTaskInstanceFields).filter_by(dag_id=dag.dag_id, run_id=dag_run.run_id)
            tasks = dag_run.get_task_instances(session=session)
            _succeeded.update(dag.get_task(ti.task_id).task_type for ti in tasks if ti.state == "success")
            values = {(x.task_id, x.map_index, x.key): XComModel.deserialize_value(x) for x in xcoms}
            return FinishedRun(
                state=str(dag_run.state),
                states={ti.task_id: str(ti.state) for ti in tasks},
                # Airflow keeps links among the XComs, and this package the records for its pages.
                xcoms={p: v for p, v in values.items() if p[2] not in {LINK_KEY, PROGRESS_KEY, *RECORD_KEYS}},
                records={p: value for p, value in values.items() if p[2] in RECORD_KEYS},
                links={place[:2]: value for place, value in values.items() if place[2] == LINK_KEY},
                progress_links={place[:2]: value for place, value in values.items() if place[2] == PROGRESS_KEY},
                tries={(ti.task_id, ti.map_index): ti.try_number for ti in tasks},
                map_indexes={(ti.task_id, ti.map_index): ti.rendered_map_index for ti in tasks},
                rendered={f"{row.task_id}[{row.map_index}]": row.rendered_fields for row in fields},
            )

    return run


@pytest.fixture
def succeeded_classes(request: pytest.FixtureRequest) -> set[str]:
    """Names of the classes of all tasks that have succeeded in the DAGs of a whole session."""
    config = request.config
    if config.args_source is not config.ArgsSource.TESTPATHS or config.option.keyword:
        pytest.skip("looks back on a whole session: run pytest without arguments")
    return _succeeded


# Markers of all tests in a folder, and of those that use a fixture.
_FOLDERS = {
    "chains": ("processes", "truth"),
    "cli": ("processes",),
    "cluster": ("airflow", "cluster", "processes"),
    "demo": ("airflow", "processes"),
    "faults": ("airflow", "processes"),
    "fuzz": ("processes",),
    "random": ("slow",),
    "relay": ("processes",),
    "truth": ("processes", "truth"),
}
_FIXTURES = {
    "airflow_db": ("airflow",),
    "llm_url": ("llm", "processes"),
    "succeeded_classes": ("airflow",),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need something, and run last those that look back on the session."""
    for item in items:
        folders = item.nodeid.partition("::")[0].split("/")
        marks = [_FOLDERS.get(name, ()) for name in folders]
        marks += [_FIXTURES.get(name, ()) for name in getattr(item, "fixturenames", ())]
        for mark in chain.from_iterable(marks):
            item.add_marker(mark)
    items.sort(key=lambda item: "succeeded_classes" in getattr(item, "fixturenames", ()))


# Events that only a test with the marker may cause; `make check` leaves such tests out.
_MARKERS = {
    "os.fork": "processes",
    "os.posix_spawn": "processes",
    "subprocess.Popen": "processes",
    "sqlite3.connect": "airflow",
}
_current: pytest.Item | None = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _current  # noqa: PLW0603
    _current = item
    try:
        return (yield)
    finally:
        _current = None


def _hold_to_markers(event: str, arguments: tuple[Any, ...]) -> None:
    marker = _MARKERS.get(event)
    if not marker or not _current or _current.get_closest_marker(marker):
        return
    what = str(next(iter(arguments), ""))
    if what not in {"file", "lscpu", "uname"}:  # Libraries ask these what this machine is.
        pytest.fail(f"{event} {what} in a test that is not marked with pytest.mark.{marker}")


sys.addaudithook(_hold_to_markers)


@pytest.fixture(autouse=True)
def _reads_no_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test without the marker `airflow` find connections as a worker does, without the database.

    Once any test has imported Airflow's API server, this process counts as one.
    """
    if not request.node.get_closest_marker("airflow"):
        monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT", raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Define an Airflow connection of type baseten for one test."""

    def define(conn_id: str = "baseten_default", **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "baseten"} | fields))

    return define
