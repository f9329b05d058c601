"""Behaviour of Airflow that it does not document and that this package relies on.

These tests exercise Airflow itself. What one of them asserts is used by the function or class of `compat/` that its
message names; if the test fails with a new Airflow, the message says what would go wrong there.
"""

import asyncio
import socket
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import airflow.sdk
import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_baseten import compat

IS_3_3 = hasattr(airflow.sdk, "NEVER_EXPIRE")
LINK = "https://app.baseten.co/models/abcd1234/overview"
LINK_KEY = "_link_TestLink"


class Recorder(BaseOperator):
    """Operator that keeps what Airflow calls and passes."""

    template_fields = ("value",)

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        self.value = value
        super().__init__(**kwargs)

    def _do_render_template_fields(self, parent, template_fields, context, jinja_env, seen_oids):
        seen.setdefault("rendered", []).append((self.task_id, tuple(template_fields), parent is self))
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def execute(self, context):
        seen.setdefault("values", []).append(self.value)


class Retried(BaseOperator):
    """Operator whose first attempt fails."""

    def execute(self, context):
        ti, store = context["ti"], context.get("task_state_store")
        seen.setdefault("attempts", []).append((ti.try_number, ti.max_tries, store and store.get("request_id")))
        if ti.try_number == 1:
            if store:
                store.set("request_id", "r1")
            raise ValueError("the first attempt")


class Linked(BaseOperator):
    """Operator that sets a link while it runs, and reads the states of other tasks."""

    def execute(self, context):
        from airflow.sdk.bases.xcom import BaseXCom
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti = context["ti"]
        key = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        BaseXCom._set_xcom_in_db(key=LINK_KEY, value=LINK, **key)
        seen["link"] = shown_link(**key)
        seen["channel"] = type(task_runner.SUPERVISOR_COMMS).__name__
        for name, task_id, map_index in (("plain", "plain", -1), ("mapped", "mapped", 1), ("unknown", "none", -1)):
            states = RuntimeTaskInstance.get_task_states(
                dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id], map_index=map_index
            )
            seen[name] = {run == ti.run_id: found for run, found in states.items()}


class Now(BaseTrigger):
    """Trigger that ends at once, or waits until it is cancelled."""

    def __init__(self, wait: bool = False) -> None:
        super().__init__()
        self.wait = wait

    def serialize(self):
        return f"{__name__}.Now", {"wait": self.wait}

    async def run(self):
        if self.wait:
            ti = self.task_instance
            seen["waiting"] = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
            seen["started"].set()
            await asyncio.Event().wait()
        yield TriggerEvent({"request_id": "r1"})

    async def on_kill(self):
        seen["killed"] = True


class Deferred(BaseOperator):
    """Operator that continues after a trigger."""

    def execute(self, context):
        self.defer(trigger=Now(), method_name="execute_complete")

    def resume_execution(self, next_method, next_kwargs, context):
        seen["resumed"] = next_method
        return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context, event=None):
        seen["event"] = event


seen: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _seen():
    seen.clear()


def shown_link(**key):
    """Return the link that the UI's API responds with."""
    try:
        from airflow.serialization.definitions.operatorlink import XComOperatorLink
    except ImportError:  # Airflow 3.1
        from airflow.serialization.serialized_objects import XComOperatorLink

    return XComOperatorLink(name="Test", xcom_key=LINK_KEY).get_link(None, ti_key=SimpleNamespace(**key))


def task_instances(dag_id, session):
    from airflow.models.taskinstance import TaskInstance

    return session.query(TaskInstance).filter_by(dag_id=dag_id).all()


def test_airflow_renders_each_operator_with_the_method_that_hides_inputs(run_dag):
    with DAG("private_rendering") as dag:
        Recorder(task_id="plain", value="{{ 1 + 1 }}")
        Recorder.partial(task_id="mapped").expand(value=["{{ 1 + 2 }}"])
    run_dag(dag)
    assert sorted(seen["values"]) == ["2", "3"]
    assert set(seen["rendered"]) == {("plain", ("value",), True), ("mapped", ("value",), True)}, (
        "compat.RenderingOverride does not run: inputs of models would be stored and shown in the UI"
    )


def test_a_clear_raises_max_tries_and_a_retry_leaves_it(run_dag):
    from airflow.models.taskinstance import clear_task_instances
    from airflow.utils.session import create_session

    with DAG("private_tries") as dag:
        Retried(task_id="retried", retries=1, retry_delay=timedelta(0))
    run_dag(dag)
    assert [attempt[:2] for attempt in seen["attempts"]] == [(1, 1), (2, 1)], (
        "compat.clear_count: each retry would send again, and pay again"
    )
    with create_session() as session:
        clear_task_instances(task_instances("private_tries", session), session)
        session.flush()
        (cleared,) = task_instances("private_tries", session)
        assert cleared.max_tries > 1, "compat.clear_count: a cleared task would return its old result"


def test_the_task_state_store_keeps_values_from_an_attempt_to_the_next(run_dag):
    with DAG("private_store") as dag:
        Retried(task_id="retried", retries=1, retry_delay=timedelta(0))
    run_dag(dag)
    assert [attempt[2] for attempt in seen["attempts"]] == [None, "r1" if IS_3_3 else None], (
        "compat.task_state_store: a retry would not find the request of the attempt before, and pay again"
    )


def test_a_task_continues_through_resume_execution(run_dag):
    with DAG("private_resuming") as dag:
        Deferred(task_id="deferred")
    run_dag(dag)
    assert seen["event"] == {"request_id": "r1"}
    assert seen.get("resumed") == "execute_complete", (
        "compat.ResumingOverride does not run: failures of resumed tasks are logged with their whole traceback, and "
        "below Airflow 3.3 the retry policy does not apply to them"
    )


@pytest.fixture
def in_a_task(run_dag):
    with DAG("private_running") as dag:
        before = [Recorder(task_id="plain"), Recorder.partial(task_id="mapped").expand(value=["a", "b"])]
        before >> Linked(task_id="linked")
    assert run_dag(dag).state == "success"
    return seen


def test_the_ui_shows_a_link_that_a_running_task_has_set(in_a_task):
    assert in_a_task["link"] == LINK, "compat.push_early: links would appear only when their tasks end"


def test_states_of_task_instances(in_a_task):
    message = "compat.state_of_waiting_task: requests of deferred tasks would not be cancelled, or wrongly be"
    assert in_a_task["plain"] == {True: {"plain": "success"}}, message
    assert in_a_task["mapped"] == {True: {"mapped_1": "success"}}, message
    assert not any(in_a_task["unknown"].values()), message


XCOM_MESSAGE = "compat.xcoms_are_msgpack: a task with a long integer in its output would fail after it was paid for"


def test_the_channel_to_the_supervisor_in_a_dag_test(in_a_task):
    assert in_a_task["channel"] == "InProcessSupervisorComms", XCOM_MESSAGE


@pytest.mark.processes
def test_the_channel_to_the_supervisor_is_declared_when_the_runner_is_loaded_and_set_when_a_task_starts():
    code = (
        "from airflow.sdk.execution_time import task_runner\n"
        "print('SUPERVISOR_COMMS' in task_runner.__annotations__, hasattr(task_runner, 'SUPERVISOR_COMMS'))\n"
        "try:\n    task_runner.main()\nexcept BaseException:\n    pass\n"
        "print(type(task_runner.SUPERVISOR_COMMS).__name__)"
    )
    # The task starts, finds that its supervisor is gone, and ends.
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        done = subprocess.run([sys.executable, "-c", code], stdin=theirs, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("True False", "CommsDecoder"), XCOM_MESSAGE


def test_a_process_of_the_server_finds_connections_in_the_database(monkeypatch, airflow_db):
    def names():
        return [type(backend).__name__ for backend in compat.secrets_backends()()]

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # The end of the test removes it again.
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
    assert "MetastoreBackend" not in names()
    compat.allow_database_connections()
    assert "MetastoreBackend" in names(), (
        "compat.allow_database_connections: commands would find connections in the environment only"
    )


def test_the_secrets_backends_of_a_process_can_be_called_one_by_one(monkeypatch, connect):
    connect(password="k")
    found = [backend.get_connection("baseten_default") for backend in compat.secrets_backends()()]
    assert any(connection and connection.conn_type == "baseten" for connection in found), (
        "compat.secrets_backends: while a backend is down, deliveries for its connections would be refused"
    )


class _Dictionary(dict):
    set = dict.__setitem__


@pytest.mark.skipif(not IS_3_3, reason="Airflow 3.3 and newer has ResumableJobMixin")
def test_metric_names_of_resumable_jobs(monkeypatch):
    from airflow.sdk import ResumableJobMixin
    from airflow.sdk.bases import resumablejobmixin

    class Job(ResumableJobMixin, BaseOperator):
        external_id_key = "job"

        def submit_job(self, context):
            return "j1"

        def get_job_status(self, external_id, context):
            return context["status"]

        def is_job_active(self, status):
            return status == "active"

        def is_job_succeeded(self, status):
            return False

        def poll_until_complete(self, external_id, context):
            pass

        def get_job_result(self, external_id, context):
            pass

    counted, ours = [], []
    monkeypatch.setattr(resumablejobmixin.stats, "incr", lambda name, tags: counted.append((name, tags)))
    job, store = Job(task_id="job"), _Dictionary()
    for status in ("new", "active", "failed"):
        job.execute_resumable({"task_state_store": store, "status": status})
    monkeypatch.setattr(compat.Stats, "incr", lambda name, tags: ours.append((name, tags)))
    for event in ("fresh_submit", "reconnect_success", "terminal_resubmit"):
        compat.count_resumable_job(event, job)
    assert [metric for metric in counted if not metric[0].endswith("reconnect_attempt")] == ours, (
        "compat.count_resumable_job: dashboards of resumable jobs would not count tasks of this package"
    )


def test_middleware_of_a_plugin_is_created_before_the_first_request(monkeypatch):
    from airflow.api_fastapi.app import init_plugins
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from airflow_provider_baseten.plugins.baseten import BasetenPlugin

    started = []
    (middleware,) = BasetenPlugin.fastapi_root_middlewares
    monkeypatch.setitem(middleware, "middleware", lambda app: started.append(app) or app)
    app = FastAPI()
    init_plugins(app)
    assert not started
    with TestClient(app):
        assert len(started) == 1, "plugins.baseten.start_receiver: spooled deliveries would wait for a first request"


def test_a_trigger_knows_its_task_instance_and_is_told_of_a_user_s_act(run_dag):
    from airflow.executors import workloads
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with DAG("private_trigger") as dag:
        Recorder.partial(task_id="mapped").expand(value=["a"])
    run_dag(dag)
    with create_session() as session:
        (ti,) = task_instances("private_trigger", session)
        identity = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
        arguments = {"ti": workloads.TaskInstance.model_validate(ti, from_attributes=True)}

    async def run_and_cancel():
        seen["started"] = asyncio.Event()
        runner = TriggerRunner()
        workload = workloads.RunTrigger(
            id=1, classpath=f"{__name__}.Now", encrypted_kwargs=Trigger.encrypt_kwargs({"wait": True}), **arguments
        )
        runner.to_create.append(workload)
        await runner.create_triggers()
        await asyncio.wait_for(seen["started"].wait(), 60)
        runner.to_cancel.append(1)
        await runner.cancel_triggers()
        await asyncio.wait([runner.triggers[1]["task"]])

    asyncio.run(run_and_cancel())
    assert seen["waiting"] == identity, (
        "compat.state_of_waiting_task: requests of deferred tasks would not be cancelled"
    )
    assert seen.get("killed", False) == IS_3_3, "triggers.async_request: requests of deferred tasks are not cancelled"
