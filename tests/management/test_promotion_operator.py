"""Operator that promotes deployments in a real Airflow, against the emulator, in both modes."""

import time
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenPromoteDeploymentOperator
from airflow_provider_baseten.emulator import Emulator, Fault, Model
from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenUnavailableError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from tests.management.conftest import KEY, MODES, NOW, OneEntry, options


def promotions(baseten):
    return [r.path for r in baseten.requests if r.method == "POST" and r.path.endswith("/promote")]


def current(environment):
    with BasetenHook().client() as client:
        return client.management.get_environment("abc", environment).current_deployment.id


def promote(task_id="promote", **others):
    arguments = {"model_id": "abc", "deployment_id": "abcd2", "environment": "production"} | others
    return BasetenPromoteDeploymentOperator(task_id=task_id, **arguments)


@MODES
def test_it_is_followed_to_its_end(run_dag, baseten, deferrable, logged):
    with DAG(f"promote_{deferrable}") as dag:
        promote(**options(deferrable)) >> promote("again", **options(deferrable))
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("promote") == {
        "deployment_id": "abcd2",
        "environment": "production",
        "status": "ACTIVE",
        "active_replica_count": 1,
        "changed": True,
    }
    assert run.xcom("again")["changed"] is False
    assert promotions(baseten) == ["/v1/models/abc/deployments/abcd2/promote"]
    assert current("production") == "abcd2"
    text = logged()
    assert "RAMPING_UP, " in text
    assert "% of the traffic" in text


@MODES
def test_another_deployment_may_come_of_it(run_dag, baseten, deferrable):
    with DAG(f"redeploy_{deferrable}") as dag:
        override = {"redeploy_on_promotion": True}
        promote(
            deployment_id="abcd1", environment="staging", promotion_settings_override=override, **options(deferrable)
        )
    run = run_dag(dag)
    promoted = run.xcom("promote")["deployment_id"]
    assert promoted not in {"abcd1", "abcd2"}
    assert current("staging") == promoted


@MODES
@pytest.mark.parametrize("redeploy", [False, True], ids=["same", "redeployed"])
@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 502}], ids=["reset", "502"])
def test_a_lost_answer_promotes_once(run_dag, baseten, deferrable, redeploy, fault):
    path = "models/abc/environments/staging/promote"
    baseten.inject(Fault(action=path, after_model=True, **fault))
    with DAG(f"lost_{deferrable}_{redeploy}_{len(fault)}_{next(iter(fault))}") as dag:
        promote(
            deployment_id="abcd1",
            environment="staging",
            promotion_settings_override={"redeploy_on_promotion": redeploy},
            **options(deferrable),
            **NOW,
        )
    run = run_dag(dag)
    assert (run.state, run.tries["promote", -1]) == ("success", 1)
    assert len(promotions(baseten)) == 1
    assert current("staging") == run.xcom("promote")["deployment_id"]


@MODES
def test_a_promotion_in_progress_is_named(run_dag, baseten, deferrable, logged):
    with BasetenHook().client() as client:
        other = client.management.promote(
            "abc", "abcd1", "staging", promotion_settings_override={"redeploy_on_promotion": True}
        )
        client.management.pause_promotion("abc", "staging")
    with DAG(f"busy_promotion_{deferrable}") as dag:
        promote(deployment_id="abcd1", environment="staging", **options(deferrable))
    assert run_dag(dag).state == "failed"
    assert len(promotions(baseten)) == 1
    text = logged()
    assert f"because deployment {other.id} is being promoted there" in text


@MODES
def test_a_promotion_that_fails_is_sent_again_by_a_retry(run_dag, baseten, deferrable, logged):
    with DAG(f"failed_promotion_{deferrable}") as dag:
        promote(**options(deferrable), **NOW)
    baseten.fail_promotion("abc", "the new deployment answers too slowly")
    run = run_dag(dag)
    assert (run.state, run.tries["promote", -1]) == ("success", 2)
    assert len(promotions(baseten)) == 2
    assert current("production") == "abcd2"
    text = logged()
    assert "is FAILED; the environment has deployment abcd1" in text
    assert "the new deployment answers too slowly" in text


def test_a_request_that_never_arrived_is_no_promotion(run_dag, baseten):
    baseten.inject(Fault(action="models/abc/environments/staging/promote", reset=True))
    with DAG("never_arrived") as dag:
        promote(
            deployment_id="abcd1",
            environment="staging",
            promotion_settings_override={"redeploy_on_promotion": True},
            **options(),
            **NOW,
        )
    run = run_dag(dag)
    assert (run.state, run.tries["promote", -1]) == ("success", 2)
    assert current("staging") == run.xcom("promote")["deployment_id"] != "abcd2"


@MODES
def test_a_feature_that_is_off(run_dag, connect, logged, tmp_path, deferrable):
    models = {"abc": Model(lambda model_input: model_input, environments=("production", "staging"))}
    with Emulator(models=models, api_key=KEY, disabled_features=["autoscaling_schedules"]) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        with DAG(f"feature_off_{deferrable}") as dag:
            settings = {"autoscaling_schedule_settings": {"timezone": "UTC", "schedules": []}}
            promote(environment_settings_update=settings, **options(deferrable), **NOW)
        run = run_dag(dag)
        assert (run.state, run.tries["promote", -1]) == ("failed", 1)
        assert len(promotions(emulator)) == 1
    text = logged()
    assert (
        "promoting deployment abcd2 of model abc to production returned 400: autoscaling_schedules is not enabled"
        in text
    )


class TestAttempts:
    """What an attempt finds of the attempts before it."""

    @pytest.fixture
    def attempt(self, baseten):
        """A function that starts a promotion, as a task does before it waits, and returns its operator."""
        ledger = OneEntry()

        def start(client, max_tries=1, **arguments):
            operator = promote(**arguments)
            operator.open_ledger = lambda context, kind: ledger
            ti = SimpleNamespace(dag_id="d", run_id="r", task_id="promote", map_index=-1, max_tries=max_tries)
            operator.watch, _ = operator.start(client, {"ti": ti}, time.time())
            return operator

        return start

    def test_a_kill_cancels_the_promotion_if_that_is_wanted(self, attempt):
        with BasetenHook().client() as client:
            attempt(client, cancel_on_kill=True)
            client.management.pause_promotion("abc", "production")
            again = attempt(client, cancel_on_kill=True)
            again.on_kill()
            assert client.management.get_environment("abc", "production").in_progress_promotion is None
        assert current("production") == "abcd1"

    def test_a_kill_leaves_a_promotion_that_the_task_did_not_begin(self, attempt):
        with BasetenHook().client() as client:
            client.management.promote("abc", "abcd2", "production")
            client.management.pause_promotion("abc", "production")
            attempt(client, cancel_on_kill=True).on_kill()
            assert client.management.get_environment("abc", "production").in_progress_promotion is not None
            client.management.cancel_promotion("abc", "production")

    def test_a_deployment_that_is_being_replaced_is_not_in_the_environment_already(self, attempt, baseten):
        with BasetenHook().client() as client:
            client.management.promote("abc", "abcd2", "production")
            client.management.pause_promotion("abc", "production")
            with pytest.raises(BasetenDeploymentError, match="because deployment abcd2 is being promoted there"):
                attempt(client, deployment_id="abcd1")
            client.management.cancel_promotion("abc", "production")
        assert len(promotions(baseten)) == 1

    def test_a_cleared_task_follows_its_own_promotion(self, attempt, baseten):
        arguments = {"deployment_id": "abcd1", "promotion_settings_override": {"redeploy_on_promotion": True}}
        with BasetenHook().client() as client:
            first = attempt(client, environment="staging", **arguments)
            client.management.pause_promotion("abc", "staging")
            cleared = attempt(client, max_tries=3, environment="staging", **arguments)
            assert cleared.watch.deployment_id == first.watch.deployment_id != "abcd1"
            client.management.cancel_promotion("abc", "staging")
        assert len(promotions(baseten)) == 1

    def test_a_request_that_arrives_after_its_sender_died(self, attempt, baseten, monkeypatch):
        arguments = {
            "deployment_id": "abcd1",
            "environment": "staging",
            "promotion_settings_override": {"redeploy_on_promotion": True},
        }
        pauses, arrived = [], []
        monkeypatch.setattr(time, "sleep", pauses.append)
        baseten.inject(Fault(action="models/abc/environments/staging/promote", reset=True))
        with BasetenHook().client() as client:
            with pytest.raises(BasetenUnavailableError):
                attempt(client, **arguments)

            def arrive(_):
                monkeypatch.setattr(time, "sleep", pauses.append)
                arrived.append(client.management.promote("abc", **arguments).id)

            monkeypatch.setattr(time, "sleep", arrive)
            assert [attempt(client, **arguments).watch.deployment_id] == arrived
        assert [request.status for request in baseten.requests if request.path.endswith("/promote")] == [None, 200]
