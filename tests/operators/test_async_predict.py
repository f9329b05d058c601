"""BasetenAsyncPredictOperator in a real Airflow, against the emulator and the real receiver, in both modes."""

import datetime
import json
import threading
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.api import async_predict
from airflow_provider_baseten.compat import TaskDeferred
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenTimeoutError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.policies import BasetenRetryPolicy, Decision
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor
from airflow_provider_baseten.storage.outputs import read_output
from airflow_provider_baseten.waiting import state
from airflow_provider_baseten.waiting.results import AsyncResults
from tests.receiver import receiver

KEY = "abcd1234.s3cr3t"
SECRET = "whsec_test"
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])


class RetryAnyway(BasetenRetryPolicy):
    """Retries also what is refused."""

    def decide(self, error):
        return Decision("default")


NOW = {"retries": 1, "retry_delay": datetime.timedelta(0)}


def broken(model_input):
    raise ValueError("boom")


@pytest.fixture
def baseten(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "GRACE", 1.0)
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.2")
    store = f"file://{tmp_path}/store"
    known = BasetenConnection(
        conn_id="baseten_default", api_key=KEY, management_api_key=KEY, webhook_secrets=(SECRET,), result_store=store
    )

    def keep_own(model_input):
        (tmp_path / "own.json").write_text(json.dumps({"own": model_input}))

    models = {
        "echo": lambda model_input: model_input,
        "broken": broken,
        "large": lambda model_input: "x" * 300_000,
        "own": keep_own,
    }
    chains = {"chain": lambda inputs: inputs["a"] + inputs["b"]}
    with (
        receiver({"baseten_default": known}.get) as receiver_url,
        Emulator(models=models, chains=chains, api_key=KEY, webhook_secrets=[SECRET]) as emulator,
    ):
        endpoint = f"{receiver_url}/webhooks/baseten_default"
        extra = {"result_store": store, "webhook_endpoint": endpoint, "webhook_secrets": [SECRET]}
        connect(host=emulator.url, password=KEY, extra=extra)
        connect("without_webhook", host=emulator.url, password=KEY, extra={"result_store": store})
        yield emulator
        emulator.release()


def submitted(baseten):
    return [r for r in baseten.requests if r.action in {"async_predict", "async_run_remote"}]


def predict(task_id="t", model_id="echo", model_input="private-input", **arguments):
    options = {"poll_interval": 0.5, "timeout": 60} | arguments
    return BasetenAsyncPredictOperator(task_id=task_id, model_id=model_id, model_input=model_input, **options)


@MODES
class TestSuccess:
    def test_output_arrives_by_webhook(self, baseten, run_dag, deferrable):
        values = {"object": {"a": [1, None]}, "text": "grüße", "number": 7}
        with DAG(f"webhook_{deferrable}") as dag:
            for name, value in values.items():
                predict(name, model_input=value, deferrable=deferrable)
            BasetenAsyncPredictOperator(
                task_id="chain", chain_id="chain", model_input={"a": 1, "b": 2}, deferrable=deferrable, timeout=60
            )
        run = run_dag(dag)
        assert run.state == "success"
        assert {name: run.xcom(name) for name in [*values, "chain"]} == values | {"chain": 3}
        assert {run.xcom(name, "request_id") for name in run.states} == set(baseten.async_requests)
        assert {run.xcom(name, "status") for name in run.states} == {"SUCCEEDED"}
        assert len(submitted(baseten)) == 4

    def test_large_output_and_output_path(self, baseten, run_dag, tmp_path, deferrable):
        with DAG(f"landed_{deferrable}") as dag:
            predict("large", "large", deferrable=deferrable)
            predict("path", model_input={"a": 1}, output_path=f"file://{tmp_path}/out.json", deferrable=deferrable)
        run = run_dag(dag)
        assert run.xcom("large")["format"] == "text"
        assert read_output(run.xcom("large")) == "x" * 300_000
        assert run.xcom("path")["uri"] == f"file://{tmp_path}/out.json"
        assert read_output(run.xcom("path")) == {"a": 1}

    def test_model_that_keeps_its_own_output(self, baseten, run_dag, tmp_path, deferrable):
        with DAG(f"own_{deferrable}") as dag:
            predict("kept", "own", model_input=5, result_path=f"file://{tmp_path}/own.json", deferrable=deferrable)
            predict("lost", result_path=f"file://{tmp_path}/{{request_id}}.json", deferrable=deferrable)
            predict("nobody", baseten_conn_id="without_webhook", deferrable=deferrable)
        run = run_dag(dag)
        assert run.states == {"kept": "success", "lost": "failed", "nobody": "success"}
        assert run.xcom("kept") == {"own": 5}
        assert run.xcom("nobody") == {"request_id": run.xcom("nobody", "request_id"), "status": "SUCCEEDED"}
        assert {r.webhook_status for r in baseten.async_requests.values()} == {"NO_WEBHOOK_PROVIDED"}

    def test_not_waiting_returns_the_id(self, baseten, run_dag, deferrable):
        baseten.hold()
        with DAG(f"id_{deferrable}") as dag:
            predict(wait_for_completion=False, deferrable=deferrable)
        run = run_dag(dag)
        assert [run.xcom("t")] == list(baseten.async_requests)

    def test_webhook_before_the_answer_to_the_submission(self, baseten, run_dag, deferrable):
        baseten.inject(Fault(action="async_predict", after_webhook=True))
        with DAG(f"early_{deferrable}") as dag:
            predict(model_input=1, deferrable=deferrable)
        assert run_dag(dag).xcom("t") == 1

    def test_second_delivery_and_trouble_with_the_status(self, baseten, run_dag, deferrable):
        baseten.inject(
            Fault(action="webhook", after_model=True, status=503),
            Fault(action="async_request", times=3, status=500),
            Fault(action="async_request", times=2, status=429, headers={"Retry-After": "0"}),
        )
        with DAG(f"trouble_{deferrable}") as dag:
            predict(model_input=1, deferrable=deferrable)
        run = run_dag(dag)
        assert run.xcom("t") == 1
        assert len(submitted(baseten)) == 1

    def test_nothing_private_in_log_event_or_templates(self, baseten, run_dag, capfd, deferrable):
        with DAG(f"private_{deferrable}") as dag:
            predict(deferrable=deferrable)
            predict("broken", "broken", deferrable=deferrable)
        run = run_dag(dag)
        seen = "".join(capfd.readouterr()) + str(run.rendered)
        assert "Sent async predict of model echo" in seen
        for secret in ("private-input", KEY, SECRET):
            assert secret not in seen


@MODES
class TestFailure:
    @pytest.fixture(autouse=True)
    def faults(self, baseten):
        """Make each kind of end happen to the request of one test."""

        def failed():
            return {"model_id": "broken", "inference_retry_config": {"max_attempts": 1}}

        def cancelled():
            baseten.hold()
            threading.Thread(target=self.cancel_when_there, args=(baseten,)).start()
            return {}

        def undelivered():
            baseten.inject(Fault(action="webhook", times=None, status=400))
            return {}

        def delivered_elsewhere():
            baseten.inject(Fault(action="webhook", times=None, status=200))
            return {}

        def vanished():
            baseten.hold()
            baseten.inject(Fault(action="async_request", times=None, status=404))
            return {}

        self.ends = locals()

    @staticmethod
    def cancel_when_there(baseten):
        import requests

        done = threading.Event()
        while not baseten.async_requests and not done.wait(0.02):
            pass
        (request_id,) = baseten.async_requests
        url = f"{baseten.url}/model-echo/async_request/{request_id}"
        requests.delete(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10).raise_for_status()

    @pytest.mark.parametrize(
        ("end", "error", "words"),
        [
            ("failed", "BasetenAsyncRequestError", "ended as FAILED"),
            ("cancelled", "BasetenAsyncRequestError", "ended as CANCELED"),
            ("undelivered", "BasetenResultLostError", "could not be delivered"),
            ("delivered_elsewhere", "BasetenResultLostError", "do not share a result store"),
            ("vanished", "BasetenResultLostError", "does not know it, or no longer"),
        ],
    )
    def test_every_end_without_a_result(self, baseten, run_dag, capfd, deferrable, end, error, words):
        arguments = self.ends[end]()
        with DAG(f"{end}_{deferrable}") as dag:
            predict(deferrable=deferrable, **arguments)
        assert run_dag(dag).state == "failed"
        told = capfd.readouterr().out
        assert f"exceptions.{error}" in told
        assert words in told
        assert len(submitted(baseten)) == 1

    def test_expired(self, baseten, run_dag, capfd, monkeypatch, deferrable):
        monkeypatch.setitem(async_predict._BOUNDS, "max_time_in_queue_seconds", (0, 259_200))
        baseten.inject(Fault(action="async_request", times=None, status=200, body={"status": "EXPIRED"}))
        baseten.hold()
        with DAG(f"expired_{deferrable}") as dag:
            predict(deferrable=deferrable)
        assert run_dag(dag).state == "failed"
        assert "ended as EXPIRED" in capfd.readouterr().out

    @pytest.mark.parametrize("cancel_on_timeout", [True, False])
    def test_timeout(self, baseten, run_dag, capfd, deferrable, cancel_on_timeout):
        baseten.hold()
        with DAG(f"late_{deferrable}_{cancel_on_timeout}") as dag:
            predict(deferrable=deferrable, timeout=1.5, cancel_on_timeout=cancel_on_timeout)
        assert run_dag(dag).state == "failed"
        logged = capfd.readouterr().out
        assert "exceptions.BasetenTimeoutError" in logged
        assert "last known status is QUEUED" in " ".join(logged.split())
        (request,) = baseten.async_requests.values()
        assert request.status == ("CANCELED" if cancel_on_timeout else "QUEUED")

    def test_execution_timeout(self, baseten, run_dag, capfd, deferrable):
        baseten.hold()
        with DAG(f"execution_timeout_{deferrable}") as dag:
            predict(deferrable=deferrable, execution_timeout=datetime.timedelta(seconds=2))
        assert run_dag(dag).state == "failed"
        assert "AirflowTaskTimeout" in capfd.readouterr().out
        (request,) = baseten.async_requests.values()
        assert request.status == "CANCELED"

    def test_bad_input_is_never_sent(self, baseten, run_dag, deferrable):
        with DAG(f"bad_{deferrable}") as dag:
            predict("large", model_input="x" * 262_144, deferrable=deferrable)
            predict("nan", model_input=float("nan"), deferrable=deferrable)
        assert set(run_dag(dag).states.values()) == {"failed"}
        assert baseten.requests == []


@MODES
class TestPayOnce:
    def test_retry_attaches_to_what_was_sent(self, baseten, run_dag, monkeypatch, deferrable):
        crashes = iter([True, False, False])
        finish = AsyncResults.output

        def crash_once(self, *arguments, **options):
            if next(crashes):
                raise RuntimeError("the worker dies after the result was there")
            return finish(self, *arguments, **options)

        monkeypatch.setattr(AsyncResults, "output", crash_once)
        with DAG(f"attach_{deferrable}") as dag:
            predict(model_input=3, deferrable=deferrable, **NOW)
        run = run_dag(dag)
        assert (run.state, run.xcom("t")) == ("success", 3)
        assert len(submitted(baseten)) == 1

    def test_failed_request_is_sent_again_by_a_retry(self, baseten, run_dag, deferrable):
        with DAG(f"again_{deferrable}") as dag:
            predict("t", "broken", inference_retry_config={"max_attempts": 1}, deferrable=deferrable, **NOW)
        assert run_dag(dag).state == "failed"
        assert len(submitted(baseten)) == 2

    def test_lost_answer_to_the_submission(self, baseten, run_dag, capfd, deferrable):
        baseten.inject(Fault(action="async_predict", after_model=True, reset=True))
        with DAG(f"orphan_{deferrable}") as dag:
            predict(model_input=4, deferrable=deferrable, **NOW)
        run = run_dag(dag)
        assert run.xcom("t") == 4
        assert len(submitted(baseten)) == 2
        assert "which may run too; sending it again" in capfd.readouterr().out

    def test_lost_answer_where_it_must_not_be_sent_again(self, baseten, run_dag, capfd, deferrable):
        baseten.inject(Fault(action="async_predict", after_model=True, reset=True))
        with DAG(f"orphan_fail_{deferrable}") as dag:
            predict(on_orphaned_request="fail", deferrable=deferrable, **NOW)
        assert run_dag(dag).state == "failed"
        assert "BasetenOrphanedRequestError" in capfd.readouterr().out
        assert len(submitted(baseten)) == 1

    def test_refused_submission_leaves_no_orphan(self, baseten, run_dag, capfd, deferrable):
        baseten.inject(Fault(action="async_predict", status=400))
        with DAG(f"refused_{deferrable}") as dag:
            options = {"on_orphaned_request": "fail", "retry_policy": RetryAnyway()} | NOW
            predict(model_input=5, deferrable=deferrable, **options)
        assert run_dag(dag).xcom("t") == 5
        assert len(submitted(baseten)) == 2

    @pytest.mark.parametrize("option", ["status_calls_per_second", "store_check_interval"])
    def test_wrong_option_is_found_before_the_request_is_sent(self, baseten, run_dag, monkeypatch, deferrable, option):
        monkeypatch.setenv(f"AIRFLOW__BASETEN__{option.upper()}", "0")
        with DAG(f"wrong_option_{option}_{deferrable}") as dag:
            predict(deferrable=deferrable, **NOW)
        assert run_dag(dag).state == "failed"
        assert submitted(baseten) == []

    def test_cancelled_request_never_ran_and_is_sent_again(self, baseten, run_dag, deferrable):
        baseten.hold()
        with DAG(f"timeout_retry_{deferrable}") as dag:
            predict(deferrable=deferrable, timeout=1.5, **NOW)
        run_dag(dag)
        assert [r.status for r in baseten.async_requests.values()] == ["CANCELED", "CANCELED"]


@MODES
class TestSensor:
    def test_outputs_by_id(self, baseten, run_dag, deferrable):
        with DAG(f"sensor_{deferrable}") as dag:
            sent = BasetenAsyncPredictOperator.partial(
                task_id="send", model_id="echo", wait_for_completion=False
            ).expand(model_input=[1, 2, 3])

            @task
            def ids(values):
                return list(values)

            BasetenAsyncRequestSensor(
                task_id="wait",
                model_id="echo",
                request_ids=ids(sent.output),
                deferrable=deferrable,
                poke_interval=0.5,
                timeout=60,
            )
        run = run_dag(dag)
        assert run.xcom("wait") == {run.xcom("send", map_index=i): i + 1 for i in range(3)}

    def test_reschedule_mode(self, baseten, run_dag, deferrable):
        baseten.hold()
        with DAG(f"reschedule_{deferrable}") as dag:
            sent = predict("send", model_input=1, wait_for_completion=False)
            BasetenAsyncRequestSensor(
                task_id="wait",
                model_id="echo",
                request_ids=sent.output,
                mode="reschedule",
                deferrable=deferrable,
                poke_interval=0.5,
                timeout=60,
            )
        timer = threading.Timer(2, baseten.release)
        timer.start()
        run = run_dag(dag)
        timer.join()
        assert run.xcom("wait") == {run.xcom("send"): 1}

    @pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
    @pytest.mark.parametrize("trouble", ["failed", "late"])
    def test_soft_fail(self, baseten, run_dag, deferrable, soft_fail, state, trouble):
        if trouble == "late":
            baseten.hold()
        with DAG(f"soft_{deferrable}_{soft_fail}_{trouble}") as dag:
            model_id = "broken" if trouble == "failed" else "echo"
            config = {"max_attempts": 1}
            sent = predict("send", model_id, wait_for_completion=False, inference_retry_config=config)
            BasetenAsyncRequestSensor(
                task_id="wait",
                model_id=model_id,
                request_ids=sent.output,
                deferrable=deferrable,
                soft_fail=soft_fail,
                poke_interval=0.5,
                timeout=1.5 if trouble == "late" else 60,
            )
        assert run_dag(dag).states["wait"] == state


def test_event_of_a_former_trigger_ends_no_wait(baseten):
    former = {"outcomes": {"former": "failed"}}
    sensor = BasetenAsyncRequestSensor(task_id="s", model_id="echo", request_ids=["mine"], deferrable=True)
    for waiting, again in ((predict(), {"request_id": "mine", "deadline": 5.0}), (sensor, {"deadline": 5.0})):
        with pytest.raises(TaskDeferred) as deferred:
            waiting.execute_complete({}, former, **again)
        assert deferred.value.kwargs == again
        assert (deferred.value.trigger.request_ids, deferred.value.trigger.deadline) == (["mine"], 5.0)
    assert not baseten.requests


def test_a_task_that_is_killed_after_its_deferral_cancels_a_queued_request(baseten, monkeypatch):
    baseten.hold()
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=0, try_number=1, xcom_push=lambda key, value: None
    )
    request_id = predict(wait_for_completion=False).execute({"ti": ti})
    resumed = predict(deferrable=True, cancel_on_timeout=False)
    check_again = AsyncResults.check_again

    def killed(results, outcomes):
        resumed.on_kill()
        return check_again(results, outcomes)

    monkeypatch.setattr(AsyncResults, "check_again", killed)
    with pytest.raises(BasetenTimeoutError, match="had no result"):
        resumed.execute_complete({"ti": ti}, {"outcomes": {request_id: "timeout"}})
    assert baseten.async_requests[request_id].status == "CANCELED"


def test_endpoint_of_the_connection_is_read_in_each_attempt(baseten, connect, tmp_path):
    baseten.hold()
    send, sent_to = predict(wait_for_completion=False), []
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2}
    for try_number, endpoint in enumerate(("http://127.0.0.1:9/first", "http://127.0.0.1:9/second"), start=1):
        extra = {"result_store": f"file://{tmp_path}/store", "webhook_endpoint": endpoint}
        connect(host=baseten.url, password=KEY, extra=extra)
        ti = SimpleNamespace(**identity, try_number=try_number, xcom_push=lambda key, value: None)
        request_id = send.execute({"ti": ti})
        sent_to.append(baseten.async_requests[request_id].webhook_endpoint)
    assert sent_to == ["http://127.0.0.1:9/first", "http://127.0.0.1:9/second"]


def test_a_task_that_waits_refuses_an_endpoint_whose_deliveries_start_dags():
    def build(wait_for_completion, endpoint):
        operator = BasetenAsyncPredictOperator(
            task_id="t", model_id="abc", model_input={"x": 1}, wait_for_completion=wait_for_completion
        )
        return operator.build_request(endpoint)

    events = "https://airflow.example.com/baseten/webhooks/baseten_default/events"
    for endpoint in (events, f"{events}/", f"{events}?a=b"):
        with pytest.raises(BasetenInputError, match="start DAGs"):
            build(True, endpoint)
        assert build(False, endpoint).body
    assert build(True, events.removesuffix("/events")).body
