"""Baseten's pages show how a request stands while its task waits in the triggerer."""

import json
from collections.abc import Callable
from typing import Any

from tests.faults.scenario import TASK, Scenario


def record(scenario: Scenario) -> dict[str, Any]:
    value = scenario.run.xcom(TASK, "baseten_async_request")
    return json.loads(value) if isinstance(value, str) else value or {}


def test_a_deferred_task_shows_the_status_of_its_request(new_scenario: Callable[[], Scenario]) -> None:
    scenario = new_scenario().start("deferred")
    scenario.wait_until_deferred()
    scenario.wait_until(lambda: record(scenario).get("statuses") == {"queued": 1}, "the status of a queued request")
    assert record(scenario)["running_at"] is None
    scenario.run_model()
    scenario.wait_until(lambda: record(scenario)["statuses"] == {"in progress": 1}, "the status of a running request")
    running_at = record(scenario)["running_at"]
    scenario.gate.open()
    scenario.finish()
    ended = record(scenario)
    assert ended["statuses"] == {"result received by webhook": 1}
    assert ended["sent_at"] < running_at <= ended["updated_at"]
    assert abs(ended["running_at"] - running_at) < 1
    assert ended["request_ids"] == [request.request_id for request in scenario.accepted]
