"""Operator that promotes deployments in a real Airflow, against the emulator, in both modes."""

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenPromoteDeploymentOperator
from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.hooks.baseten import BasetenHook
from tests.management.conftest import MODES, NOW, options


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
    assert "is FAILED; the environment keeps the deployment that it had before" in text
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


def test_a_kill_cancels_it_if_that_is_wanted(baseten):
    operator = promote(cancel_on_kill=True, wait_for_completion=False)
    from airflow_provider_baseten.waiting.management.promotion import PromotionWatch

    with BasetenHook().client() as client:
        client.management.promote("abc", "abcd2", "production")
        operator.watch = PromotionWatch(
            began=0, model_id="abc", environment="production", deployment_id="abcd2", cancel_on_kill=True
        )
        operator.on_kill()
        assert client.management.get_environment("abc", "production").in_progress_promotion is None
    assert current("production") == "abcd1"
