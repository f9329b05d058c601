"""Waits whose connection can't be read in the triggerer."""

import asyncio

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenAsyncPredictOperator, BasetenAsyncRequestSensor
from airflow_provider_baseten.api.error_record import error_from
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError, BasetenUnavailableError
from airflow_provider_baseten.hooks import shared_clients
from airflow_provider_baseten.policies import decide
from airflow_provider_baseten.waiting import poller, session
from tests.log_records import errors_of_tasks
from tests.triggers.support import outcomes, trigger, until

KEY = "abcd1234.s3cr3t"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(session, "_CONNECTION_GRACE", 0.5)
    monkeypatch.setattr(session, "_RECONNECT", 0.05)


@pytest.fixture
def unreadable(monkeypatch):
    """Let reading the connection in a trigger raise an error for as long as there is one in the list."""
    errors, real = [], shared_clients.afind_connection

    async def aconnection(conn_id):
        if errors:
            raise errors[0]
        return await real(conn_id)

    monkeypatch.setattr(shared_clients, "afind_connection", aconnection)
    return errors


async def event_of(waiting_trigger):
    async with asyncio.timeout(20):
        return [event.payload async for event in waiting_trigger.run()]


def test_one_that_does_not_exist_ends_the_wait(waiting, server):
    waiter = trigger("r1", "r2", deadline=None, poll_interval=30)
    waiter.baseten_conn_id = "unknown_to_all"
    (event,) = waiting(lambda: event_of(waiter))
    error = error_from(event["error"])
    assert type(error) is BasetenAuthError
    assert "Connection 'unknown_to_all' could not be read by the triggerer" in str(error)
    assert "Connection 'unknown_to_all' does not exist: add one" in str(error)
    assert "2 async requests" in str(error)
    assert "continue at Baseten" in str(error)
    assert "Make the connection known to the triggerer" in str(error)
    assert server.calls == []


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (RuntimeError("private words of a backend"), BasetenUnavailableError),
        (BasetenInputError("Host 'x y' of connection 'c' is not a URL."), BasetenInputError),
    ],
)
def test_the_error_says_what_is_wrong_and_a_retry_waits_again(waiting, server, unreadable, raised, kind):
    unreadable.append(raised)
    (event,) = waiting(lambda: event_of(trigger("r1")))
    error = error_from(event["error"])
    assert type(error) is kind
    assert ("RuntimeError" in str(error)) == (kind is BasetenUnavailableError)
    assert "private words" not in str(error)
    assert "async request r1" in str(error)
    assert decide(error, retry_model_errors=True).action == "default"


def test_a_short_outage_does_no_harm(waiting, server, unreadable):
    unreadable.append(RuntimeError("the API server is away"))
    server.answer = lambda name: (200, {"status": "SUCCEEDED"})

    async def scenario():
        wait = asyncio.create_task(outcomes(trigger("r1")))
        await asyncio.sleep(0.2)
        unreadable.clear()
        return await wait

    assert waiting(scenario) == {"r1": "ended"}


def test_one_that_was_readable_keeps_its_waits_and_a_later_wait_ends(waiting, server, unreadable, monkeypatch, caplog):
    monkeypatch.setattr(poller, "_REPEAT_AFTER", 0.0)

    async def scenario():
        early = asyncio.create_task(event_of(trigger("early", poll_interval=0.1)))
        await until(lambda: server.times("GET", "early"))
        server.keys = {"a key of tomorrow"}  # So that the connection is read again.
        unreadable.append(BasetenAuthError("Connection 'baseten_default' does not exist."))
        await until(lambda: "can't be read" in caplog.text)
        (late,) = await event_of(trigger("late", poll_interval=0.1))
        assert not early.done()
        unreadable.clear()
        server.keys = {"secret-key-1"}
        server.answer = lambda name: (200, {"status": "SUCCEEDED"})
        (event,) = await early
        return late, event

    late, early = waiting(scenario)
    assert late["outcomes"] == {"late": "lost"}
    assert "does not exist" in late["error"]["message"]
    assert early["outcomes"] == {"early": "ended"}
    assert "error" not in early


class TestTask:
    @pytest.fixture
    def baseten(self, connect, tmp_path):
        with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
            connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
            yield emulator

    @pytest.mark.parametrize("soft_fail", [False, True])
    def test_of_a_sensor_ends_with_the_error(self, baseten, run_dag, unreadable, capfd, soft_fail):
        unreadable.append(BasetenAuthError("Connection 'baseten_default' does not exist."))
        with DAG(f"sensor_without_connection_{soft_fail}") as dag:
            BasetenAsyncRequestSensor(
                task_id="wait", model_id="echo", request_ids=["r1"], deferrable=True, soft_fail=soft_fail
            )
        assert run_dag(dag).states == {"wait": "skipped" if soft_fail else "failed"}
        printed = "".join(capfd.readouterr())  # Airflow logs why a task is skipped, but not in dag.test().
        assert soft_fail or "could not be read by the triggerer" in errors_of_tasks(printed)[0]

    def test_of_an_operator_ends_with_the_error(self, baseten, run_dag, unreadable, capfd):
        unreadable.append(BasetenAuthError("Connection 'baseten_default' does not exist."))
        with DAG("operator_without_connection") as dag:
            BasetenAsyncPredictOperator(task_id="ask", model_id="echo", model_input=1, deferrable=True)
        assert run_dag(dag).state == "failed"
        errors = errors_of_tasks("".join(capfd.readouterr()))
        assert len(errors) == 1
        assert "continues at Baseten" in errors[0]
        assert "BasetenAsyncPredictOperator" in errors[0]
