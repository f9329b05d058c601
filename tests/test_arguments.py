"""Arguments that decide what happens are checked when the operator is made."""

import math

import pytest

from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

NO_FLAGS = ["false", "True", 0, 1, None, []]
NO_SECONDS = [0, -1, math.nan, math.inf, -math.inf, "5", True, [1]]
NO_POLICIES = ["Fail", "FAIL", "fail ", "", None, True, ["fail"], b"fail"]

PREDICT = (BasetenPredictOperator, {"model_id": "a", "model_input": 1})
ASYNC = (BasetenAsyncPredictOperator, {"model_id": "a", "model_input": 1})
ROUTE = (BasetenSyncRouteOperator, {"model_id": "a", "route": "r"})
SENSOR = (BasetenAsyncRequestSensor, {"model_id": "a", "request_ids": "r1"})

CASES = [
    *((kind, "on_orphaned_request", value) for kind in (PREDICT, ASYNC) for value in NO_POLICIES),
    *((PREDICT, "content_type", value) for value in ("json", None, "application/JSON")),
    *((PREDICT, name, value) for name in ("deferrable", "log_stream", "idempotent", "regional") for value in NO_FLAGS),
    *((ROUTE, name, value) for name in ("idempotent", "regional") for value in NO_FLAGS),
    *(
        (ASYNC, name, value)
        for name in ("wait_for_completion", "cancel_on_kill", "cancel_on_timeout")
        for value in NO_FLAGS
    ),
    *((SENSOR, "expects_delivery", value) for value in NO_FLAGS if value is not None),
    *((kind, "deferrable", value) for kind in (ASYNC, SENSOR) for value in NO_FLAGS if value is not None),
    *((kind, "timeout", value) for kind in (PREDICT, ROUTE, ASYNC) for value in NO_SECONDS),
    *((ASYNC, "poll_interval", value) for value in [*NO_SECONDS]),
    *((SENSOR, name, value) for name in ("timeout", "poke_interval") for value in (math.nan, math.inf)),
    *((ASYNC, "priority", value) for value in (3, -1, "0", True, 1.0)),
    *((ASYNC, "max_time_in_queue_seconds", value) for value in (9, 259_201, "60", math.nan)),
    *((ASYNC, "inference_retry_config", value) for value in ({"max_attempts": 0}, {"attempts": 1}, "x", [1])),
]


@pytest.mark.parametrize(
    ("operator", "name", "value"), CASES, ids=lambda value: None if callable(value) else repr(value)
)
def test_value_that_is_none_of_theirs_is_an_error(operator, name, value):
    kind, arguments = operator
    with pytest.raises(BasetenInputError, match=name):
        kind(task_id="t", **arguments | {name: value})
