"""Deployments in the management API: their statuses on the clock, and the inference side that follows them.

What Baseten does not document and the emulator decides: a request to a failed deployment gets 400, to an unhealthy one
503; a request to a deployment that is starting waits; a deployment that has failed can't be activated, only retried or
deactivated; a change of settings waits for the end of a start and is then `QUEUED`.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from management_support import Caller, echo, managing, until

from airflow_provider_baseten.emulator import Durations, Emulator, EmulatorError, Fault, Limits, Model, Scaling
from airflow_provider_baseten.emulator.deployments import derive_status, plan_start

PATH = "models/m/deployments/production"
SLOW = Durations(build=50, deploy=30, deactivate=10, update=20)


def scaled(**scaling: Any) -> dict[str, Model]:
    return {"m": Model(echo, scaling=Scaling(**scaling))}


def test_activation_goes_through_its_statuses() -> None:
    with managing(scaled(cold_start=20), durations=SLOW) as caller:
        assert caller.post(f"{PATH}/deactivate") == {"success": True, "no_op": False}
        assert caller.status() == "DEACTIVATING"
        assert caller.predict().status_code == 400
        caller.advance(10)
        assert (caller.status(), caller.deployment()["active_replica_count"]) == ("INACTIVE", 0)
        assert caller.post(f"{PATH}/activate") == {"success": True, "no_op": False}
        assert caller.status() == "DEPLOYING"
        caller.advance(30)
        assert caller.status() == "LOADING_MODEL"
        caller.advance(20)
        assert (caller.status(), caller.deployment()["active_replica_count"]) == ("ACTIVE", 1)
        assert caller.predict().json() == 1


def test_what_is_done_already_is_no_operation() -> None:
    with managing(durations=SLOW) as caller:
        assert caller.post(f"{PATH}/activate") == {"success": True, "no_op": True}
        caller.post(f"{PATH}/deactivate")
        for seconds in (0, 10):
            caller.advance(seconds)
            assert caller.post(f"{PATH}/deactivate")["no_op"] is True
        caller.post(f"{PATH}/activate")
        assert caller.post(f"{PATH}/activate") == {"success": True, "no_op": True}
        assert caller.post("models/m/deployments/md1/deactivate")["no_op"] is False
        assert caller.status() == "DEACTIVATING"


def test_without_durations_everything_is_done_before_the_answer() -> None:
    with managing() as caller:
        caller.post(f"{PATH}/deactivate")
        assert caller.status() == "INACTIVE"
        caller.post(f"{PATH}/activate")
        assert caller.status() == "ACTIVE"
        caller.patch(f"{PATH}/autoscaling_settings", {"max_replica": 3})
        assert caller.deployment()["autoscaling_settings"]["max_replica"] == 3


def test_requests_wait_for_a_start() -> None:
    with managing(durations=SLOW) as caller, ThreadPoolExecutor(1) as pool:
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        answer = pool.submit(caller.predict)
        until(lambda: caller.baseten.models["m"].deployments["md1"].replicas.parked == 1)
        caller.advance(30)
        assert answer.result().status_code == 200


def test_an_activated_deployment_that_may_scale_to_zero_does_so_when_it_is_idle() -> None:
    with managing(scaled(min_replica=0, scale_down_delay=60)) as caller:
        caller.baseten.deactivate("m")
        caller.post(f"{PATH}/activate")
        assert caller.status() == "ACTIVE"
        caller.advance(60)
        assert caller.status() == "SCALED_TO_ZERO"


@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "FAILED", "BUILD_FAILED"])
def test_a_start_that_fails_and_is_retried(status: str) -> None:
    with managing(durations=SLOW) as caller, ThreadPoolExecutor(1) as pool:
        caller.baseten.fail_next_start("m", status)
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        waiting = pool.submit(caller.predict)
        until(lambda: caller.baseten.models["m"].deployments["md1"].replicas.parked == 1)
        caller.advance(80)
        assert caller.status() == status
        assert waiting.result().status_code == 400
        assert status in caller.predict().json()["error"]
        assert caller.send("POST", f"{PATH}/activate").status_code == 400
        retried = caller.post(f"{PATH}/retry")
        assert (retried["retried"], retried["reason"]) == (True, None)
        assert retried["deployment"]["status"] == ("BUILDING" if status == "BUILD_FAILED" else "DEPLOYING")
        caller.advance(80)
        assert caller.status() == "ACTIVE"
        again = caller.post(f"{PATH}/retry")
        assert (again["retried"], again["deployment"]["status"]) == (False, "ACTIVE")
        assert "ACTIVE" in again["reason"]


def test_unhealthy_can_recover() -> None:
    with managing() as caller:
        caller.baseten.set_status("m", "UNHEALTHY")
        assert (caller.status(), caller.predict().status_code) == ("UNHEALTHY", 503)
        caller.baseten.set_status("m", "ACTIVE")
        assert (caller.status(), caller.predict().status_code) == ("ACTIVE", 200)


def test_a_failure_while_somebody_waits() -> None:
    with managing(durations=SLOW) as caller:
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        caller.baseten.set_status("m", "FAILED")
        caller.advance(100)
        assert caller.status() == "FAILED"
        assert caller.post(f"{PATH}/deactivate")["no_op"] is False


def test_settings_are_in_force_later_than_the_answer() -> None:
    with managing(durations=SLOW) as caller:
        answer = caller.patch(f"{PATH}/autoscaling_settings", {"min_replica": 2, "max_replica": 4})
        assert (answer["status"], bool(answer["message"])) == ("ACCEPTED", True)
        shown = caller.deployment()
        assert (shown["status"], shown["autoscaling_settings"]["max_replica"]) == ("UPDATING", 1)
        assert shown["active_replica_count"] == 1
        caller.advance(20)
        shown = caller.deployment()
        assert (shown["status"], shown["active_replica_count"]) == ("ACTIVE", 2)
        expected = {
            "min_replica": 2,
            "max_replica": 4,
            "autoscaling_window": 60,
            "scale_down_delay": 900,
            "concurrency_target": 1,
            "target_utilization_percentage": 70,
            "target_in_flight_tokens": None,
            "max_scale_down_rate": 50,
        }
        assert shown["autoscaling_settings"] == expected
        assert caller.patch(f"{PATH}/autoscaling_settings", {"min_replica": 2})["status"] == "UNCHANGED"


def test_settings_wait_for_the_end_of_a_start() -> None:
    with managing(durations=SLOW) as caller:
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        assert caller.patch(f"{PATH}/autoscaling_settings", {"max_replica": 4})["status"] == "QUEUED"
        caller.advance(30)
        assert caller.deployment()["autoscaling_settings"]["max_replica"] == 1
        caller.advance(20)
        assert caller.deployment()["autoscaling_settings"]["max_replica"] == 4


def test_replicas_obey_changed_settings() -> None:
    with managing(scaled(cold_start=5, scale_down_delay=60)) as caller:
        caller.patch(f"{PATH}/autoscaling_settings", {"min_replica": 3, "max_replica": 3})
        replicas = caller.baseten.models["m"].deployments["md1"].replicas
        assert (replicas.ready, replicas.starting) == (1, 2)
        caller.advance(5)
        assert replicas.ready == 3
        caller.patch(f"{PATH}/autoscaling_settings", {"max_replica": 2, "min_replica": 0})
        assert replicas.ready == 2
        caller.advance(60)
        assert caller.status() == "SCALED_TO_ZERO"


def test_parked_requests_get_the_replicas_that_new_settings_allow() -> None:
    with managing(scaled(concurrency_target=1)) as caller, ThreadPoolExecutor(2) as pool:
        replicas = caller.baseten.models["m"].deployments["md1"].replicas
        replicas.try_acquire_slot()
        answer = pool.submit(caller.predict)
        until(lambda: replicas.parked == 1)
        caller.patch(f"{PATH}/autoscaling_settings", {"concurrency_target": 2})
        assert answer.result().status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("autoscaling_settings", {"replicas": 3}),
        ("autoscaling_settings", {"min_replica": "3"}),
        ("autoscaling_settings", {"min_replica": -1}),
        ("autoscaling_settings", {"min_replica": 3}),
        ("autoscaling_settings", {"max_scale_down_rate": 51}),
        ("autoscaling_settings", [1]),
        ("request_backpressure_settings", {"policy": "DROP"}),
    ],
)
def test_wrong_settings(path: str, body: Any) -> None:
    with managing() as caller:
        response = caller.send("PATCH", f"models/m/deployments/md1/{path}", body)
        assert (response.status_code, "error" in response.json()) == (400, True)
        assert caller.deployment()["autoscaling_settings"]["max_replica"] == 1


def test_backpressure() -> None:
    with managing(scaled(min_replica=0, cold_start=9)) as caller:
        path = "models/m/deployments/md1/request_backpressure_settings"
        assert caller.patch(path, {"policy": "REJECT_ON_FULL"}) == {"policy": "REJECT_ON_FULL"}
        assert caller.predict().status_code == 529
        assert caller.patch(path, {"policy": None}) == {"policy": None}
        assert caller.deployment()["request_backpressure_settings"] == {"policy": None}


def test_a_development_deployment_has_at_most_one_replica() -> None:
    with managing() as caller:
        path = "models/m/deployments/development/autoscaling_settings"
        assert caller.send("PATCH", path, {"max_replica": 2}).status_code == 400
        assert caller.patch(path, {"scale_down_delay": 60})["status"] == "ACCEPTED"


def test_a_replica_is_terminated_and_replaced() -> None:
    with managing(scaled(min_replica=2, max_replica=2, cold_start=5)) as caller:
        assert caller.call("DELETE", "models/m/deployments/md1/replicas/md1-r1") == {"success": True}
        assert caller.deployment()["active_replica_count"] == 1
        caller.advance(5)
        assert caller.deployment()["active_replica_count"] == 2
        assert caller.send("DELETE", "models/m/deployments/md1/replicas/other").status_code == 404


def test_names_and_deletion() -> None:
    with managing({"m": Model(echo, candidates={"md9": None}), "other": echo}) as caller:
        assert caller.patch("models/m", {"name": "renamed"})["name"] == "renamed"
        assert [model["id"] for model in caller.get("models?name=renamed")["models"]] == ["m"]
        assert caller.patch("models/m/deployments/md9", {"name": "v2"})["name"] == "v2"
        assert caller.send("DELETE", "models/m/deployments/md1").status_code == 400
        deleted = caller.call("DELETE", "models/m/deployments/md9")
        assert deleted == {"id": "md9", "deleted": True, "model_id": "m"}
        assert caller.call("DELETE", "models/m") == {"id": "m", "deleted": True}
        assert (caller.predict().status_code, caller.send("GET", "models/m").status_code) == (404, 404)
        caller.baseten.delete("other")
        assert caller.get("models") == {"models": []}


def test_a_call_that_is_carried_out_and_whose_answer_is_lost() -> None:
    with managing() as caller:
        caller.baseten.inject(Fault(action="models/*/deactivate", after_model=True, status=502))
        assert caller.send("POST", f"{PATH}/deactivate").status_code == 502
        assert caller.status() == "INACTIVE"


def test_rate_limits() -> None:
    with managing() as caller:
        for _ in range(20):
            caller.post(f"{PATH}/activate")
        response = caller.send("POST", f"{PATH}/activate")
        expected = {"error": "Rate limit exceeded. Please try again later.", "retry_after": 60}
        assert (response.status_code, response.json()) == (429, expected)
        caller.post(f"{PATH}/deactivate")  # Another endpoint has a limit of its own.
        caller.advance(60)
        caller.post(f"{PATH}/activate")
    with managing(limits=Limits(management_rates=False)) as caller:
        for _ in range(30):
            caller.post(f"{PATH}/activate")


def test_the_meter_counts_replicas_and_requests() -> None:
    with managing(scaled(min_replica=2, max_replica=2), durations=SLOW) as caller:
        meter = caller.baseten.meter
        caller.advance(90)
        caller.predict()
        caller.post(f"{PATH}/deactivate")
        caller.advance(600)
        assert caller.predict().status_code == 400
        assert (meter.replica_minutes("m"), meter.paid_requests("m")) == (3.0, 1)
        assert (meter.replica_minutes("m", "other"), meter.paid_requests("m", "other")) == (0.0, 0)


def test_a_replica_counts_while_it_starts() -> None:
    with managing(scaled(cold_start=30), durations=SLOW) as caller:
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        caller.advance(60)
        assert caller.status() == "ACTIVE"
        caller.baseten.fail_next_start("m", "BUILD_FAILED")
        caller.baseten.deactivate("m")
        caller.advance(10)
        caller.post(f"{PATH}/activate")
        caller.advance(600)
        assert (caller.status(), caller.baseten.meter.replica_minutes("m")) == ("BUILD_FAILED", 1.0)


def test_knobs_that_make_no_sense() -> None:
    baseten = Emulator({"m": echo})
    for call in (baseten.set_status, baseten.fail_next_start):
        with pytest.raises(EmulatorError, match="PAUSED"):
            call("m", "PAUSED")
    with pytest.raises(EmulatorError, match="Start the emulator first"):
        Emulator({"m": echo}, durations=SLOW).deactivate("m")
    with pytest.raises(EmulatorError, match="no model or chain other"):
        baseten.delete("other")


@pytest.mark.parametrize(
    ("build", "failure", "expected"),
    [
        (False, None, ["DEPLOYING", "LOADING_MODEL"]),
        (True, None, ["BUILDING", "DEPLOYING", "LOADING_MODEL"]),
        (False, "BUILD_FAILED", ["BUILDING"]),
        (True, "DEPLOY_FAILED", ["BUILDING", "DEPLOYING"]),
        (False, "UNHEALTHY", ["DEPLOYING", "LOADING_MODEL"]),
    ],
)
def test_phases_of_a_start(build: bool, failure: str | None, expected: list[str]) -> None:
    phases = plan_start(SLOW, 7, build=build, failure=failure)
    assert [phase for phase, _ in phases] == expected
    assert dict(phases).items() <= {"BUILDING": 50, "DEPLOYING": 30, "LOADING_MODEL": 7}.items()


def test_status_of_a_deployment_in_operation() -> None:
    def derive(ready: int, starting: int, is_updating: bool = False) -> str:
        return derive_status("UP", ready=ready, starting=starting, is_updating=is_updating)

    assert [derive(1, 0), derive(1, 1, True), derive(0, 1), derive(0, 0)] == [
        "ACTIVE",
        "UPDATING",
        "WAKING_UP",
        "SCALED_TO_ZERO",
    ]


def test_callers_do_not_share_a_rate_limit() -> None:
    with managing(api_keys={"one.first-secret": "PERSONAL", "two.second-secret": "PERSONAL"}) as caller:
        _use_up(caller, "one.first-secret")
        two = {"authorization": "Bearer two.second-secret"}
        assert caller.send("POST", f"{PATH}/activate", headers=two).status_code == 200


def _use_up(caller: Caller, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    statuses = [caller.send("POST", f"{PATH}/activate", headers=headers).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]
