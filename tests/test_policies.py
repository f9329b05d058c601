"""Which failures are retried, and when: the decision, and what a real Airflow makes of it."""

from datetime import timedelta

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten import exceptions as errors
from airflow_provider_baseten.compat import KNOWS_RETRY_POLICY
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.policies import MAX_DELAY, BasetenRetryPolicy, decide
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

KEY = "abcd1234.s3cr3t"
RETRIES = 3

needs_retry_policy = pytest.mark.skipif(not KNOWS_RETRY_POLICY, reason="Airflow knows retry policies since 3.3")


class TestDecision:
    @pytest.mark.parametrize(
        "error",
        [
            errors.BasetenAuthError("no", status=401),
            errors.BasetenInputError("no", status=422),
            errors.BasetenInputError("found before it was sent"),
            errors.BasetenNotFoundError("no", status=404),
            errors.BasetenPayloadTooLargeError("no", status=413, retry_after=5.0),
            errors.BasetenOrphanedRequestError("no"),
            errors.BasetenUnavailableError("its certificate is not trusted", retryable=False),
            errors.BasetenDeploymentError("it does not exist", status=404, retryable=False),
            errors.BasetenAsyncRequestError("FAILED", retryable=True, error_code="MODEL_INVALID_INPUT"),
            errors.BasetenAsyncRequestError("FAILED", retryable=True, error_code="MODEL_DOES_NOT_EXIST"),
        ],
        ids=repr,
    )
    def test_what_a_retry_can_not_mend_fails(self, error):
        assert decide(error, retry_model_errors=True).action == "fail"

    @pytest.mark.parametrize("kind", [errors.BasetenRateLimitError, errors.BasetenUnavailableError])
    def test_the_servers_own_delay_is_kept(self, kind):
        decision = decide(kind("busy", retry_after=7.5), retry_model_errors=True)
        assert (decision.action, decision.delay) == ("retry", 7.5)
        assert decide(kind("busy", retry_after=0.0), retry_model_errors=True).delay == 0.0

    def test_no_server_delays_a_task_for_years(self):
        decision = decide(errors.BasetenRateLimitError("busy", retry_after=1e300), retry_model_errors=True)
        assert decision.delay == MAX_DELAY
        assert timedelta(seconds=decision.delay) == timedelta(days=1)

    @pytest.mark.parametrize(
        "error",
        [
            errors.BasetenRateLimitError("busy"),
            errors.BasetenInputError("its file is not there", retryable=True),
            errors.BasetenTimeoutError("late", may_have_run=True),
            errors.BasetenAsyncRequestError("EXPIRED", retryable=True),
            errors.BasetenAsyncRequestError("CANCELED, maybe by a worker that was told to end", retryable=False),
            errors.BasetenAsyncRequestError("FAILED", retryable=True, error_code="MODEL_UNAVAILABLE"),
            errors.BasetenResultLostError("lost, but a retry looks again"),
            errors.BasetenResponseError("HTML"),
            errors.BasetenResultStoreError("down"),
            errors.BasetenDeploymentError("FAILED, but the next attempt activates it again", retryable=False),
            ValueError("the DAG author's own"),
            KeyboardInterrupt(),
        ],
        ids=repr,
    )
    def test_everything_else_is_left_to_retries_and_retry_delay(self, error):
        assert decide(error, retry_model_errors=False).action == "default"

    @pytest.mark.parametrize(
        "error",
        [
            errors.BasetenModelError("it raised", status=500, retryable=True),
            errors.BasetenAsyncRequestError("FAILED", retryable=True, error_code="MODEL_PREDICT_ERROR"),
        ],
        ids=repr,
    )
    def test_errors_of_the_model_by_choice(self, error):
        assert decide(error, retry_model_errors=True).action == "default"
        assert decide(error, retry_model_errors=False).action == "fail"

    def test_the_reason_carries_nothing_of_the_servers_answer(self):
        for error in (errors.BasetenAuthError("private"), errors.BasetenRateLimitError("private", retry_after=1)):
            assert "private" not in decide(error, retry_model_errors=True).reason

    @needs_retry_policy
    @pytest.mark.parametrize(
        ("error", "action", "delay"),
        [
            (errors.BasetenAuthError("no"), "fail", None),
            (errors.BasetenRateLimitError("busy", retry_after=2), "retry", timedelta(seconds=2)),
            (ValueError(), "default", None),
        ],
        ids=repr,
    )
    def test_airflow_is_told(self, error, action, delay):
        decision = BasetenRetryPolicy().evaluate(error, 1, 3)
        assert (decision.action.value, decision.retry_delay) == (action, delay)


@pytest.fixture
def baseten(connect):
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        connect("refused", host=emulator.url, password="wrong.key")
        yield emulator


def predict(task_id, **arguments):
    options = {"retries": RETRIES, "retry_delay": timedelta(0)} | arguments
    return BasetenPredictOperator(task_id=task_id, model_id="echo", model_input=1, **options)


def test_what_is_not_a_retry_policy_is_told_which_class_is_needed():
    for wrong in (BasetenRetryPolicy, "retry"):
        with pytest.raises(errors.BasetenInputError, match=r"is not a retry policy: give an object such as Baseten"):
            predict("wrong", retry_policy=wrong)


class TestInAirflow:
    def test_a_refused_key_fails_the_first_try_whatever_runs(self, baseten, run_dag):
        @task.baseten_predict(model_id="echo", baseten_conn_id="refused")
        def decorated(value):
            return value

        with DAG("refused", default_args={"retries": RETRIES, "retry_delay": timedelta(0)}) as dag:
            decorated(1)
            decorated.override(task_id="decorated_mapped").expand(value=[1, 2])
            predict("plain", baseten_conn_id="refused")
            predict("deferred", baseten_conn_id="refused", deferrable=True)
            BasetenAsyncPredictOperator(task_id="async", model_id="echo", model_input=1, baseten_conn_id="refused")
            BasetenPredictOperator.partial(task_id="mapped", model_id="echo", baseten_conn_id="refused").expand(
                model_input=[1, 2]
            )
            BasetenAsyncRequestSensor(task_id="sensor", request_ids="r1", model_id="echo", baseten_conn_id="missing")
        run = run_dag(dag)
        assert set(run.states.values()) == {"failed"}
        assert set(run.tries.values()) == {1}
        assert len(baseten.requests) == 8

    def test_input_that_the_model_refuses_fails_the_first_try(self, baseten, run_dag):
        baseten.inject(Fault(target="echo", status=422))
        with DAG("wrong_input") as dag:
            predict("wrong")
        assert run_dag(dag).tries == {("wrong", -1): 1}

    def test_errors_of_the_model_are_retried_unless_the_author_chose_otherwise(self, baseten, run_dag):
        raised = {"x-baseten-error-source": "04", "x-baseten-error-code": "600"}
        baseten.inject(*[Fault(target="echo", status=500, headers=raised)] * 2)
        with DAG("model_errors") as dag:
            predict("retried")
        run = run_dag(dag)
        assert (run.states, run.tries) == ({"retried": "success"}, {("retried", -1): 3})
        baseten.inject(*[Fault(target="echo", status=500, headers=raised)] * 2)
        with DAG("model_errors_fail") as dag:
            predict("not_retried", retry_policy=BasetenRetryPolicy(retry_model_errors=False))
        assert run_dag(dag).tries == {("not_retried", -1): 1}

    def test_a_policy_in_default_args_takes_the_place_of_ours(self, baseten, run_dag):
        policy = BasetenRetryPolicy(retry_model_errors=False)
        with DAG("defaults", default_args={"retry_policy": policy}):
            assert predict("plain").retry_policy is policy
            mapped = BasetenPredictOperator.partial(task_id="mapped", model_id="echo").expand(model_input=[1])
            assert mapped.unmap({"model_input": 1}).retry_policy is policy

    @needs_retry_policy
    @pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
    def test_a_busy_server_is_asked_again_after_its_own_delay(self, baseten, run_dag, deferrable):
        # The hook tries eight times itself; what the last answer asks for is the task's delay.
        baseten.inject(*[Fault(target="echo", status=429, headers={"Retry-After": "0"})] * 7)
        baseten.inject(Fault(target="echo", status=429, headers={"Retry-After": "3"}))
        with DAG(f"busy_{deferrable}") as dag:
            predict("busy", retry_delay=timedelta(hours=1), deferrable=deferrable)
        run = run_dag(dag)
        assert run.states == {"busy": "success"}
        assert run.tries == {("busy", -1): 2}
        before, after = baseten.requests[-2:]
        assert 3 <= after.received_at - before.received_at < 60
