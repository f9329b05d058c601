"""Operators and the sensor for deployments in a real Airflow, against the emulator, in both modes."""

import datetime
from itertools import pairwise

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import (
    BasetenActivateDeploymentOperator,
    BasetenDeactivateDeploymentOperator,
    BasetenDeploymentSensor,
    BasetenPredictOperator,
    BasetenPromoteDeploymentOperator,
    BasetenUpdateAutoscalingOperator,
    BasetenWakeOperator,
)
from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from tests.management.conftest import INVOKE, MODES, NOW, options


def sent(baseten, method):
    """Calls of the management API that are not reads."""
    return [r.path.removeprefix("/v1/models/") for r in baseten.requests if r.method == method and "/v1/" in r.path]


@MODES
def test_deactivate_and_activate(run_dag, baseten, deferrable, logged):
    with DAG(f"deployment_{deferrable}") as dag:
        off = BasetenDeactivateDeploymentOperator(task_id="off", model_id="abc", **options(deferrable))
        again = BasetenDeactivateDeploymentOperator(task_id="again", model_id="abc", **options(deferrable))
        on = BasetenActivateDeploymentOperator(task_id="on", model_id="abc", **options(deferrable))
        off >> again >> on
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("off") == {
        "deployment_id": "abcd1",
        "status": "INACTIVE",
        "active_replica_count": 0,
        "no_op": False,
    }
    assert run.xcom("again")["no_op"] is True
    assert run.xcom("on") == {"deployment_id": "abcd1", "status": "ACTIVE", "active_replica_count": 1, "no_op": False}
    assert sent(baseten, "POST") == [
        f"abc/environments/production/{action}" for action in ("deactivate", "deactivate", "activate")
    ]
    text = logged()
    assert "Model abc (environment production) after" in text
    assert "DEACTIVATING" in text
    assert run.links["on", -1] == f"{baseten.url}/v1/models/abc"


@pytest.mark.parametrize("operator", [BasetenActivateDeploymentOperator, BasetenDeactivateDeploymentOperator])
def test_a_change_that_baseten_did_not_make(run_dag, baseten, operator, logged):
    baseten.inject(Fault(method="POST", status=200, body={"success": False}))
    with DAG(f"no_success_{operator.__name__}") as dag:
        operator(task_id="change", model_id="abc", **options())
    assert run_dag(dag).state == "failed"
    assert "activated: Baseten reports no success" in logged()


@MODES
def test_wake(run_dag, baseten, deferrable):
    with DAG(f"wake_{deferrable}") as dag:
        BasetenWakeOperator(task_id="wake", model_id="cold", **options(deferrable))
    run = run_dag(dag)
    assert run.xcom("wake")["status"] == "ACTIVE"
    assert [r.action for r in baseten.requests if r.method == "POST"] == ["wake"]


def test_wake_of_an_inactive_deployment_says_what_to_do(run_dag, baseten, logged):
    baseten.deactivate("cold")
    with DAG("wake_inactive") as dag:
        BasetenWakeOperator(task_id="wake", model_id="cold", **options(), **NOW)
    run = run_dag(dag)
    assert (run.state, run.tries["wake", -1]) == ("failed", 1)
    text = logged()
    assert "wake of model cold (environment production) returned 400" in text
    assert "activate" in text


def test_without_waiting_a_key_for_models_is_enough(run_dag, baseten, connect, logged):
    connect("invoke", host=baseten.url, password=INVOKE)
    with DAG("wake_invoke") as dag:
        BasetenWakeOperator(task_id="wake", model_id="cold", baseten_conn_id="invoke", wait_for_completion=False)
        BasetenWakeOperator(task_id="wait", model_id="cold", baseten_conn_id="invoke", **options(), **NOW)
    run = run_dag(dag)
    assert run.states == {"wake": "success", "wait": "failed"}
    assert run.tries["wait", -1] == 1
    assert "as management_api_key in the extra of the connection" in logged()


@MODES
@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "UNHEALTHY"])
def test_a_deployment_that_fails_while_it_is_waited_for(run_dag, baseten, deferrable, status, logged):
    baseten.deactivate("abc")
    baseten.fail_next_start("abc", status, "abcd1")
    with DAG(f"fails_{status}_{deferrable}") as dag:
        BasetenActivateDeploymentOperator(task_id="on", model_id="abc", **options(deferrable))
    assert run_dag(dag).state == "failed"
    assert f"(deployment abcd1) is {status}: " in logged()


def test_a_deployment_that_can_not_be_activated(run_dag, baseten, logged):
    baseten.set_status("abc", "DEPLOY_FAILED")
    with DAG("has_failed") as dag:
        BasetenActivateDeploymentOperator(task_id="on", model_id="abc", **options())
    assert run_dag(dag).state == "failed"
    assert "abc (environment production) is DEPLOY_FAILED and was not activated." in logged()


@MODES
def test_a_deployment_that_is_deactivated_while_it_is_waited_for(run_dag, baseten, deferrable, logged):
    with BasetenHook().client() as client:
        found = client.management.get_environment("cold", "production").model_dump(mode="json")
    found["current_deployment"]["status"] = "INACTIVE"
    baseten.inject(Fault(action="models/cold/environments/production", method="GET", status=200, body=found))
    with DAG(f"deactivated_{deferrable}") as dag:
        BasetenWakeOperator(task_id="wake", model_id="cold", **options(deferrable))
    assert run_dag(dag).state == "failed"
    assert "(deployment coldd1) is INACTIVE: it was deactivated; activate it again." in logged()


@MODES
def test_a_model_that_is_deleted_while_it_is_waited_for(run_dag, baseten, deferrable, logged):
    baseten.inject(Fault(action="models/abc/deployments/abcd1", method="GET", status=404, times=None))
    with DAG(f"deleted_{deferrable}") as dag:
        BasetenDeploymentSensor(
            task_id="wait", model_id="abc", deployment_id="abcd1", deferrable=deferrable, poke_interval=0.3
        )
    assert run_dag(dag).state == "failed"
    assert "model abc (deployment abcd1) does not exist, or was deleted" in logged()


@MODES
def test_too_many_activations_wait_as_long_as_baseten_asks(run_dag, baseten, deferrable):
    busy = {"error": "Rate limit exceeded. Please try again later.", "retry_after": 0.4}
    path = "models/abc/environments/production/deactivate"
    baseten.inject(Fault(action=path, status=429, body=busy, times=2))
    with DAG(f"busy_{deferrable}") as dag:
        BasetenDeactivateDeploymentOperator(task_id="off", model_id="abc", **options(deferrable))
    assert run_dag(dag).state == "success"
    times = [r.received_at for r in baseten.requests if r.path.endswith("/deactivate")]
    assert len(times) == 3
    assert all(later - earlier >= 0.4 for earlier, later in pairwise(times))


@MODES
@pytest.mark.parametrize("place", [{"deployment_id": "abcd1"}, {"environment": "staging"}], ids=["one", "environment"])
def test_autoscaling(run_dag, baseten, deferrable, place):
    settings = {"min_replica": 0, "max_replica": "{{ 1 + 2 }}", "scale_down_delay": 60}
    with DAG(f"autoscaling_{deferrable}_{next(iter(place))}") as dag:
        first, second = (
            BasetenUpdateAutoscalingOperator(
                task_id=name, model_id="abc", autoscaling_settings=settings, **place, **options(deferrable)
            )
            for name in ("first", "second")
        )
        first >> second
    run = run_dag(dag)
    assert run.xcom("first")["changed"] is True
    found = run.xcom("first")["autoscaling_settings"]
    assert (found["min_replica"], found["max_replica"], found["scale_down_delay"]) == (0, 3, 60)
    assert run.xcom("second") == {"autoscaling_settings": found, "changed": False}
    assert len(sent(baseten, "PATCH")) == 1


def test_a_schedule_that_applies_is_named(run_dag, baseten, logged):
    now = datetime.datetime.now(datetime.UTC)
    schedule = {
        "name": "launch",
        "enabled": True,
        "cadence": "ONE_TIME",
        "start_at": now + datetime.timedelta(seconds=1),
        "end_at": now + datetime.timedelta(hours=1),
        "autoscaling_settings": {"min_replica": 2, "max_replica": 2},
    }
    from airflow_provider_baseten.hooks.baseten import BasetenHook

    with BasetenHook().client() as client:
        settings = {"autoscaling_schedule_settings": {"timezone": "UTC", "schedules": [schedule]}}
        client.management.update_environment("abc", "staging", settings)
        with DAG("scheduled") as dag:
            wait = BasetenDeploymentSensor(
                task_id="wait", model_id="abc", environment="staging", target_statuses=["ACTIVE"], poke_interval=0.2
            )
            change = BasetenUpdateAutoscalingOperator(
                task_id="change",
                model_id="abc",
                environment="staging",
                autoscaling_settings={"max_replica": 5},
                **options(),
            )
            wait >> change

        def applied():
            state = client.management.get_environment("abc", "staging").autoscaling_schedules.applied_state
            return state.schedule_id is not None

        deadline = datetime.datetime.now() + datetime.timedelta(seconds=20)
        while not applied():
            assert datetime.datetime.now() < deadline
    assert run_dag(dag).state == "success"
    text = logged()
    assert "The autoscaling schedule 'launch' applies to model abc (environment staging) now" in text


@MODES
def test_a_batch_that_fails_still_scales_down(run_dag, baseten, deferrable):
    with DAG(f"teardown_{deferrable}") as dag:
        on = BasetenActivateDeploymentOperator(task_id="on", model_id="broken", **options(deferrable)).as_setup()
        score = BasetenPredictOperator(task_id="score", model_id="broken", model_input=1)
        off = BasetenDeactivateDeploymentOperator(task_id="off", model_id="broken", **options(deferrable))
        on >> score >> off.as_teardown(setups=on)
    run = run_dag(dag)
    assert run.states == {"on": "success", "score": "failed", "off": "success"}
    assert run.xcom("off")["status"] == "INACTIVE"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "autoscaling_settings is empty"),
        ({"min_replicas": 1}, r"autoscaling_settings\['min_replicas'\]: Baseten knows no such setting"),
        ("{'min_replica': 1}", "autoscaling_settings is a text and not a JSON object"),
        ("[1]", "autoscaling_settings is a text and not a JSON object"),
        ({"min_replica": -1}, "greater than or equal to 0"),
        ({"min_replica": 3, "max_replica": 2}, "more than max_replica=2"),
        ({"max_replica": True}, "boolean"),
        ({"scale_down_delay": 3601}, "3600"),
    ],
)
def test_settings_that_are_not_valid_are_not_sent(baseten, settings, problem):
    operator = BasetenUpdateAutoscalingOperator(task_id="t", model_id="abc", autoscaling_settings=settings)
    with pytest.raises(BasetenInputError, match=problem):
        operator.start(None, {}, 0.0)
    assert not baseten.requests


@pytest.mark.parametrize("native", [False, True], ids=["texts", "native"])
def test_settings_from_a_template(run_dag, baseten, native):
    settings = {"min_replica": 0, "max_replica": 3}
    with DAG(f"template_{native}", params={"settings": settings}, render_template_as_native_obj=native) as dag:
        BasetenUpdateAutoscalingOperator(
            task_id="scale", model_id="cold", autoscaling_settings="{{ params.settings | tojson }}", **options()
        )
    shown = run_dag(dag).xcom("scale")["autoscaling_settings"]
    assert {name: shown[name] for name in settings} == settings


@MODES
def test_a_status_that_baseten_does_not_document_is_named(run_dag, baseten, deferrable, logged):
    with DAG(f"unknown_status_{deferrable}") as dag:
        BasetenDeploymentSensor(
            task_id="wait",
            model_id="abc",
            target_statuses=["ACTIVE", "ACTVE"],
            deferrable=deferrable,
            poke_interval=0.3,
        )
    assert run_dag(dag).state == "success"
    assert "Baseten documents no status ACTVE: statuses are ACTIVE, SCALED_TO_ZERO, " in logged()


@MODES
def test_a_deployment_that_does_not_exist_is_not_retried(run_dag, baseten, deferrable):
    with DAG(f"no_deployment_{deferrable}") as dag:
        BasetenPromoteDeploymentOperator(
            task_id="promote", model_id="none", deployment_id="d", **options(deferrable), **NOW
        )
        BasetenDeploymentSensor(task_id="wait", model_id="none", deferrable=deferrable, poke_interval=0.3, **NOW)
    run = run_dag(dag)
    assert run.tries == {("promote", -1): 1, ("wait", -1): 1}
