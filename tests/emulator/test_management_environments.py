"""Environments, promotions and autoscaling schedules in the management API.

What Baseten does not document and the emulator decides: a second promotion to an environment, one of the current
deployment and one of a failed deployment are refused with 400; a promotion that has failed stays visible as
`in_progress_promotion` with the status `FAILED` until the next one starts; a canceled one vanishes, and the current
deployment stays; of two schedules that overlap, the first applies; settings that are changed while a schedule applies
are stored, and the schedule goes on; a feature that is not enabled is refused with 400.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from management_support import Caller, managing

from airflow_provider_baseten.emulator import Durations, EmulatorError, Model, Scaling
from airflow_provider_baseten.emulator.promotions import PromotionSettings, plan_traffic
from airflow_provider_baseten.emulator.schedules import Schedule, ScheduledSettings, find_next_change, find_schedule

PATH = "models/m/environments/production"
SLOW = Durations(release=10, ramp_up=40, build=5, deploy=5, update=20)


def models(**scaling: Any) -> dict[str, Any]:
    deployed = Model(lambda _: "one", candidates={"md2": lambda _: "two"}, scaling=Scaling(**scaling))
    return {"m": deployed}


def promotion(caller: Caller) -> Any:
    found = caller.get(PATH)["in_progress_promotion"]
    return found and (found["status"], found["percent_traffic_to_new_version"])


def current(caller: Caller) -> str:
    return caller.get(PATH)["current_deployment"]["id"]


def promote(caller: Caller, deployment_id: str = "md2", **options: Any) -> Any:
    return caller.post(f"{PATH}/promote", {"deployment_id": deployment_id, **options})


def outputs(caller: Caller, count: int = 20) -> dict[str, int]:
    seen = [caller.predict().json() for _ in range(count)]
    return {name: seen.count(name) for name in set(seen)}


def test_a_promotion_moves_traffic_step_by_step() -> None:
    with managing(models(), durations=SLOW) as caller:
        assert promote(caller)["id"] == "md2"
        assert (promotion(caller), current(caller)) == (("RELEASING", 0), "md1")
        assert outputs(caller) == {"one": 20}
        caller.advance(10)
        assert promotion(caller) == ("RAMPING_UP", 25)
        assert caller.get(PATH)["candidate_deployment"]["id"] == "md2"
        assert outputs(caller) == {"one": 15, "two": 5}
        caller.advance(10)
        assert promotion(caller) == ("RAMPING_UP", 50)
        caller.advance(30)
        assert (promotion(caller), current(caller)) == (None, "md2")
        assert outputs(caller) == {"two": 20}
        assert caller.get(PATH)["candidate_deployment"] is None
        assert caller.deployment("md2")["is_production"] is True
        assert caller.get("models/m")["production_deployment_id"] == "md2"


def test_without_durations_a_promotion_is_complete_before_the_answer() -> None:
    with managing(models()) as caller:
        caller.post("models/m/deployments/md2/promote", {})
        assert (promotion(caller), current(caller)) == (None, "md2")


def test_a_promotion_that_moves_all_traffic_at_once() -> None:
    with managing(models(), durations=SLOW) as caller:
        promote(caller, promotion_settings_override={"rolling_deploy": False})
        assert caller.get(PATH)["in_progress_promotion"]["rolling_deploy"] is False
        caller.advance(10)
        assert (promotion(caller), current(caller)) == (None, "md2")


@pytest.mark.parametrize(
    ("strategy", "status", "min_replica"),
    [("KEEP", "ACTIVE", 1), ("SCALE_TO_ZERO", "SCALED_TO_ZERO", 0), ("DEACTIVATE", "INACTIVE", 1)],
)
def test_what_happens_to_the_previous_deployment(strategy: str, status: str, min_replica: int) -> None:
    with managing({"m": Model(lambda _: 1, environments=("production",), candidates={"md2": None})}) as caller:
        promote(caller, promotion_settings_override={"promotion_cleanup_strategy": strategy})
        previous = caller.deployment("md1")
        assert (previous["status"], previous["autoscaling_settings"]["min_replica"]) == (status, min_replica)
        # The override was for this promotion only.
        assert caller.get(PATH)["promotion_settings"]["promotion_cleanup_strategy"] == "SCALE_TO_ZERO"


def test_the_previous_deployment_stays_if_the_request_says_so() -> None:
    with managing({"m": Model(lambda _: 1, environments=("production",), candidates={"md2": None})}) as caller:
        promote(caller, scale_down_previous_deployment=False)
        assert caller.status("md1") == "ACTIVE"


def test_redeployment_promotes_another_deployment() -> None:
    with managing(models(), durations=SLOW) as caller:
        promoted = promote(caller, promotion_settings_override={"redeploy_on_promotion": True})
        assert (promoted["id"], promoted["status"]) == ("md3", "BUILDING")
        caller.advance(10)
        assert (promotion(caller), caller.status("md3")) == (("RAMPING_UP", 25), "ACTIVE")
        caller.advance(40)
        assert current(caller) == "md3"
        assert outputs(caller) == {"two": 20}


def test_a_deployment_that_is_not_ready_is_waited_for() -> None:
    with managing(models(cold_start=100), durations=SLOW) as caller:
        caller.baseten.deactivate("m", "md2")
        promote(caller)
        caller.advance(50)
        assert (promotion(caller), caller.status("md2")) == (("RELEASING", 0), "LOADING_MODEL")
        caller.advance(60)
        assert promotion(caller) == ("RAMPING_UP", 25)


def test_promotions_that_fail() -> None:
    with managing(models(), durations=SLOW) as caller:
        caller.baseten.deactivate("m", "md2")
        caller.baseten.fail_next_start("m", "DEPLOY_FAILED", "md2")
        promote(caller)
        caller.advance(10)
        failed = caller.get(PATH)["in_progress_promotion"]
        assert (failed["status"], "DEPLOY_FAILED" in failed["error_message"]) == ("FAILED", True)
        assert (current(caller), outputs(caller)) == ("md1", {"one": 20})
        refused = caller.send("POST", f"{PATH}/promote", {"deployment_id": "md2"})
        assert refused.status_code == 400
        caller.baseten.set_status("m", "ACTIVE", "md2")
        caller.baseten.fail_promotion("m", "Out of GPUs.")
        promote(caller)
        assert caller.get(PATH)["in_progress_promotion"]["error_message"] == "Out of GPUs."
        promote(caller)
        caller.advance(10)
        caller.baseten.fail_promotion("m", "Again.")
        assert (promotion(caller), outputs(caller)) == (("FAILED", 0), {"one": 20})
        with pytest.raises(EmulatorError, match="no environment other"):
            caller.baseten.fail_promotion("m", "x", environment="other")


def test_pause_and_resume() -> None:
    with managing(models(), durations=SLOW) as caller:
        promote(caller)
        caller.advance(10)
        assert caller.post(f"{PATH}/pause_promotion") == {"success": True}
        caller.advance(100)
        assert promotion(caller) == ("PAUSED", 25)
        assert caller.send("POST", f"{PATH}/pause_promotion").status_code == 400
        assert caller.post(f"{PATH}/resume_promotion") == {"success": True}
        assert promotion(caller) == ("RAMPING_UP", 50)
        assert caller.send("POST", f"{PATH}/resume_promotion").status_code == 400
        assert caller.post(f"{PATH}/force_roll_forward_promotion") == {"success": True}
        assert (promotion(caller), current(caller)) == (None, "md2")


def test_cancel() -> None:
    with managing(models(), durations=SLOW) as caller:
        promote(caller)
        assert caller.post(f"{PATH}/cancel_promotion")["status"] == "CANCELED"
        assert (promotion(caller), current(caller)) == (None, "md1")
        promote(caller)
        caller.advance(20)
        assert caller.post(f"{PATH}/cancel_promotion")["status"] == "RAMPING_DOWN"
        assert promotion(caller) == ("RAMPING_DOWN", 25)
        caller.advance(20)
        assert (promotion(caller), current(caller)) == (None, "md1")
        promote(caller)
        caller.advance(20)
        caller.post(f"{PATH}/force_cancel_promotion")
        assert (promotion(caller), current(caller)) == (None, "md1")
        for action in ("cancel", "pause", "resume", "force_cancel", "force_roll_forward"):
            assert caller.send("POST", f"{PATH}/{action}_promotion").status_code == 400


def test_promotions_that_are_refused() -> None:
    with managing(models(), durations=SLOW) as caller:
        for body, status in [
            ({"deployment_id": "md1"}, 400),
            ({"deployment_id": "other"}, 404),
            ({"deployment_id": "md2", "promotion_settings_override": {"ramp_up_while_promoting": True}}, 400),
            ({"deployment_id": "md2", "environment_settings_update": {"instance_type_id": "4x16"}}, 400),
            ({}, 400),
        ]:
            assert caller.send("POST", f"{PATH}/promote", body).status_code == status, body
        promote(caller)
        assert caller.send("POST", f"{PATH}/promote", {"deployment_id": "md2"}).status_code == 400


def test_settings_wait_for_the_end_of_a_promotion() -> None:
    with managing(models(), durations=SLOW) as caller:
        promote(caller)
        path = "models/m/deployments/md1/autoscaling_settings"
        assert caller.patch(path, {"max_replica": 3})["status"] == "QUEUED"
        caller.post(f"{PATH}/cancel_promotion")
        caller.advance(20)
        assert caller.deployment("md1")["autoscaling_settings"]["max_replica"] == 3


def test_a_promotion_that_changes_the_environment() -> None:
    with managing(models()) as caller:
        update = {
            "instance_type_id": "H100:26x234",
            "autoscaling_settings": {"max_replica": 5},
            "promotion_settings": {"rolling_deploy": False},
        }
        promote(caller, environment_settings_update=update, preserve_env_instance_type=False)
        shown = caller.get(PATH)
        assert (shown["instance_type"]["gpu_type"], shown["promotion_settings"]["rolling_deploy"]) == ("H100", False)
        assert shown["current_deployment"]["autoscaling_settings"]["max_replica"] == 5


def test_life_of_an_environment() -> None:
    with managing(models()) as caller:
        created = caller.post("models/m/environments", {"name": "staging", "autoscaling_settings": {"max_replica": 2}})
        assert (created["current_deployment"], created["autoscaling_settings"]["max_replica"]) == (None, 2)
        assert created["promotion_settings"]["rolling_deploy"] is True
        path = "models/m/environments/staging"
        assert caller.predict(target="environments/staging").status_code == 404
        assert caller.send("POST", f"{path}/activate").status_code == 400
        caller.post(f"{path}/promote", {"deployment_id": "md2"})
        assert caller.predict(target="environments/staging").json() == "two"
        assert caller.deployment("md2")["autoscaling_settings"]["max_replica"] == 2
        assert caller.post(f"{path}/deactivate") == {"success": True, "no_op": False}
        assert caller.post(f"{path}/activate") == {"success": True, "no_op": False}
        assert [one["name"] for one in caller.get("models/m/environments")["environments"]] == ["production", "staging"]
        assert caller.call("DELETE", path) == {"name": "staging", "model_id": "m", "deleted": True}
        assert caller.send("DELETE", PATH).status_code == 400
        for name in ("production", "development", "Upper", "a" * 41, ""):
            assert caller.send("POST", "models/m/environments", {"name": name}).status_code == 400


def test_patch_of_an_environment() -> None:
    with managing(models(), durations=SLOW) as caller:
        body = {
            "autoscaling_settings": {"min_replica": 2, "max_replica": 4},
            "promotion_settings": {"rolling_deploy_config": {"stabilization_time_seconds": 9}},
            "request_backpressure_settings": {"policy": "REJECT_ON_FULL"},
        }
        answer = caller.patch(PATH, body)
        assert answer["status"] == "ACCEPTED"
        shown = answer["environment"]
        assert shown["promotion_settings"]["rolling_deploy_config"]["stabilization_time_seconds"] == 9
        assert shown["request_backpressure_settings"] == {"policy": "REJECT_ON_FULL"}
        assert caller.deployment()["autoscaling_settings"]["min_replica"] == 1
        caller.advance(20)
        assert caller.deployment()["autoscaling_settings"]["min_replica"] == 2
        assert caller.patch(PATH, body)["status"] == "UNCHANGED"
        for wrong in (
            {"other": 1},
            {"autoscaling_settings": {"max_replica": 0}},
            {"promotion_settings": {"rolling_deploy": 1}},
        ):
            assert caller.send("PATCH", PATH, wrong).status_code == 400


SETTINGS = {
    "min_replica": 3,
    "max_replica": 5,
    "autoscaling_window": None,
    "scale_down_delay": None,
    "concurrency_target": None,
    "target_utilization_percentage": None,
    "target_in_flight_tokens": None,
    "max_scale_down_rate": None,
}


def one_time(caller: Caller, start: float, end: float, **changes: Any) -> dict[str, Any]:
    now = datetime.fromtimestamp(caller.clock.now(), UTC)
    times = {"start_at": now + timedelta(seconds=start), "end_at": now + timedelta(seconds=end)}
    schedule = {"name": "job", "enabled": True, "cadence": "ONE_TIME", "autoscaling_settings": SETTINGS}
    return schedule | {name: time.isoformat() for name, time in times.items()} | changes


def patch_schedules(caller: Caller, *schedules: Any, **settings: Any) -> Any:
    body = {"timezone": "UTC", "schedules": list(schedules), **settings}
    return caller.patch(PATH, {"autoscaling_schedule_settings": body})["environment"]["autoscaling_schedules"]


def applied(caller: Caller) -> Any:
    return caller.get(PATH)["autoscaling_schedules"]["applied_state"]


def test_a_schedule_switches_replicas_on_and_off_again() -> None:
    with managing(models(scale_down_delay=0)) as caller:
        (created,) = patch_schedules(caller, one_time(caller, 60, 120))["schedules"]
        assert (applied(caller)["schedule_id"], caller.deployment()["active_replica_count"]) == (None, 1)
        caller.advance(60)
        assert applied(caller)["schedule_id"] == created["id"]
        assert applied(caller)["autoscaling_settings"] == SETTINGS | {
            "autoscaling_window": 60,
            "scale_down_delay": 0,
            "concurrency_target": 1,
            "target_utilization_percentage": 70,
            "max_scale_down_rate": 50,
        }
        assert caller.deployment()["active_replica_count"] == 3
        caller.patch(PATH, {"autoscaling_settings": {"min_replica": 0, "scale_down_delay": 5}})
        assert caller.deployment()["active_replica_count"] == 3
        assert applied(caller)["autoscaling_settings"]["scale_down_delay"] == 5
        caller.advance(65)
        assert applied(caller)["schedule_id"] is None
        assert caller.deployment()["active_replica_count"] == 0
        assert caller.baseten.meter.replica_minutes("m", "md1") == pytest.approx((60 + 3 * 60 + 5) / 60)


def test_a_schedule_is_in_force_later_than_the_answer() -> None:
    with managing(models(), durations=SLOW) as caller:
        patch_schedules(caller, one_time(caller, 0, 600))
        assert applied(caller)["schedule_id"] is None
        caller.advance(20)
        assert applied(caller)["schedule_id"] is not None


def test_schedules_are_replaced_and_deleted() -> None:
    with managing(models()) as caller:
        daily = {
            "name": "nights",
            "enabled": True,
            "cadence": "DAILY",
            "weekdays": ["MONDAY", "SUNDAY"],
            "start_hour": 22,
            "start_minute": 0,
            "end_hour": 6,
            "end_minute": 30,
            "autoscaling_settings": SETTINGS,
        }
        first, second = patch_schedules(caller, daily, one_time(caller, 10, 20))["schedules"]
        assert {name: first[name] for name in daily} == daily | {"weekdays": ["MONDAY", "SUNDAY"]}
        changed = patch_schedules(caller, daily | {"id": first["id"], "name": "other", "enabled": False})["schedules"]
        assert [(one["name"], one["enabled"]) for one in changed] == [("other", False), ("job", True)]
        left = patch_schedules(caller, timezone=None, delete_schedules=[first["id"], second["id"]])
        assert left == {"timezone": None, "schedules": [], "applied_state": applied(caller)}


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"start_at": "2020-01-01T00:00:00Z"}, {}),
        ({"end_at": "2020-01-01T00:00:00Z"}, {}),
        ({"start_at": "2099-01-01T00:00:00"}, {}),
        ({"id": "other"}, {}),
        ({"autoscaling_settings": {"min_replica": 1}}, {}),
        ({"autoscaling_settings": SETTINGS | {"max_replica": 2}}, {}),
        ({"weekdays": []}, {}),
        ({}, {"timezone": None}),
        ({}, {"timezone": "Mars/Phobos"}),
        ({}, {"timezone": "../etc"}),
        ({}, {"delete_schedules": ["other"]}),
    ],
)
def test_wrong_schedules(changes: Any, settings: Any) -> None:
    with managing(models()) as caller:
        body = {"timezone": "UTC", "schedules": [one_time(caller, 10, 20, **changes)], **settings}
        assert caller.send("PATCH", PATH, {"autoscaling_schedule_settings": body}).status_code == 400
        assert caller.get(PATH)["autoscaling_schedules"]["schedules"] == []


def test_a_feature_that_is_not_enabled() -> None:
    with managing(models(), disabled_features=["autoscaling_schedules"]) as caller:
        body = {"autoscaling_schedule_settings": {"timezone": "UTC", "schedules": [one_time(caller, 10, 20)]}}
        response = caller.send("PATCH", PATH, body)
        assert (response.status_code, "not enabled" in response.json()["error"]) == (400, True)
        assert caller.get(PATH)["autoscaling_schedules"] is None


def test_traffic_rules() -> None:
    with managing(models()) as caller:
        rule = {
            "type": "SHADOW",
            "targets": [{"deployment_id": "md2"}],
            "percent_traffic": 10,
            "expires_at": (datetime.fromtimestamp(caller.clock.now(), UTC) + timedelta(days=1)).isoformat(),
            "sampling_mode": "RANDOM",
            "propagate_client_cancellation": False,
        }
        patched = caller.patch(PATH, {"traffic_routing_settings": {"rules": [rule]}})["environment"]
        (created,) = patched["traffic_routing"]["rules"]
        assert (created["percent_traffic"], created["targets"][0]["deployment_id"]) == (10, "md2")
        for wrong in (
            {"percent_traffic": 0},
            {"targets": [{}]},
            {"targets": [{"environment": "other"}]},
            {"id": "other"},
        ):
            body = {"traffic_routing_settings": {"rules": [rule | wrong]}}
            assert caller.send("PATCH", PATH, body).status_code == 400
        caller.advance(86_400)
        assert caller.get(PATH)["traffic_routing"] == {"rules": []}


def test_environments_of_chains() -> None:
    chains = {"c": Model(lambda text: f"1 {text}", candidates={"cd2": lambda text: f"2 {text}"})}
    with managing(chains=chains) as caller:
        path = "chains/c/environments/production"
        assert caller.get(path)["current_deployment"]["id"] == "cd1"
        assert caller.post(f"{path}/promote", {"deployment_id": "cd2"})["id"] == "cd2"
        shown = caller.get(path)
        assert (shown["current_deployment"]["id"], shown["in_progress_promotion"]) == ("cd2", None)
        update = {"updates": [{"chainlet_name": "c", "autoscaling_settings": {"max_replica": 7}}]}
        assert caller.patch(f"{path}/chainlet_settings/autoscaling_settings", update)["status"] == "ACCEPTED"
        assert caller.get(path)["chainlet_settings"][0]["autoscaling_settings"]["max_replica"] == 7
        assert caller.patch(path, {"promotion_settings": {"redeploy_on_promotion": True}}) == {"ok": True}
        created = caller.post("chains/c/environments", {"name": "staging"})
        assert (created["current_deployment"], created["promotion_settings"]["rolling_deploy"]) == (None, False)
        assert len(caller.get("chains/c/environments")["environments"]) == 2
        wrong = {"updates": [{"chainlet_name": "other", "autoscaling_settings": {}}]}
        assert caller.send("PATCH", f"{path}/chainlet_settings/autoscaling_settings", wrong).status_code == 400


def test_plan_of_the_traffic() -> None:
    rolling = PromotionSettings()
    assert plan_traffic(Durations(ramp_up=8), rolling) == [(25, 2), (50, 2), (75, 2), (100, 2)]
    assert plan_traffic(Durations(ramp_up=8), rolling, start=50) == [(75, 2), (100, 2)]
    at_once = PromotionSettings(rolling_deploy=False)
    assert plan_traffic(Durations(ramp_up=8), at_once) == [(100, 0)]
    assert plan_traffic(Durations(ramp_up=8), at_once, start=100) == []


def make_schedule(**fields: Any) -> Schedule:
    return Schedule(id="s", name="s", enabled=True, settings=ScheduledSettings(**SETTINGS), **fields)


def at(text: str, zone: str = "Europe/Berlin") -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))).timestamp()


DAILY = make_schedule(cadence="DAILY", weekdays=("FRIDAY",), start_hour=22, end_hour=6)
HOURLY = make_schedule(
    cadence="HOURLY", weekdays=("FRIDAY",), start_hour=9, end_hour=10, start_minute=30, end_minute=15
)


@pytest.mark.parametrize(
    ("schedule", "time", "applies", "next_change"),
    [
        (DAILY, "2026-11-27T21:59", False, "2026-11-27T22:00"),
        (DAILY, "2026-11-27T22:00", True, "2026-11-28T06:00"),
        (DAILY, "2026-11-28T05:59", True, "2026-11-28T06:00"),
        (DAILY, "2026-11-28T06:00", False, "2026-12-04T22:00"),
        # The night in which the clocks go forward.
        (make_schedule(cadence="DAILY", weekdays=("SATURDAY",), start_hour=22, end_hour=4), "2026-03-29T03:59", True,
         "2026-03-29T04:00"),
        # The hour from 2 to 3 occurs twice, and in spring not at all.
        (make_schedule(cadence="HOURLY", weekdays=("SUNDAY",), start_hour=2, end_hour=2, start_minute=10,
         end_minute=20), "2026-10-25T01:15+00:00", True, "2026-10-25T01:20+00:00"),
        (make_schedule(cadence="HOURLY", weekdays=("SUNDAY",), start_hour=2, end_hour=2, start_minute=10,
         end_minute=20), "2026-03-29T01:15+00:00", False, "2026-04-05T02:10"),
        (HOURLY, "2026-11-27T09:30", True, "2026-11-27T10:15"),
        (HOURLY, "2026-11-27T10:15", False, "2026-11-27T10:30"),
        (HOURLY, "2026-11-27T11:20", False, "2026-12-04T09:30"),
    ],
)  # fmt: skip
def test_when_a_recurring_schedule_applies(schedule: Schedule, time: str, applies: bool, next_change: str) -> None:
    now = at(time)
    assert (find_schedule([schedule], "Europe/Berlin", now) is schedule) is applies
    assert find_next_change([schedule], "Europe/Berlin", now) == at(next_change)


def test_which_schedule_applies() -> None:
    first, second = (make_schedule(cadence="ONE_TIME", start_at=0, end_at=end) for end in (10, 20))
    assert find_schedule([first, second], None, 5) is first
    assert find_schedule([first, second], None, 10) is second
    assert (find_schedule([first, second], None, 20), find_next_change([first, second], None, 20)) == (None, None)
