"""Metrics, sent through Airflow's own. A metric that can't be sent never fails a task.

Plain StatsD has no tags. So what matters most, the outcome, is a part of the name; tags hold what else is known. Names
and tags never hold secrets, inputs or outputs. The names are documented, so they stay.
"""

import logging
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.client.observer import CallCounts
from airflow_provider_baseten.telemetry.calls import SUCCESS, CallFacts, CallKind, outcome_of, target_name

log = logging.getLogger(__name__)

REQUESTS = "baseten.requests"
DURATION = "baseten.request.duration"
RETRIES = "baseten.retries"
STATUS_CALLS = "baseten.status_calls"
RESENT = "baseten.predict.resent"
WAITING = "baseten.waiting"
DELIVERIES = "baseten.deliveries"
TOKENS = "baseten.tokens"
ROWS = "baseten.rows"

# Names of token counts in `usage` of a response, and the kinds of tokens in the names of metrics. Other counts are left
# out, because the server chooses their names.
TOKEN_KINDS = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "cached_tokens": "cached",
    "reasoning_tokens": "reasoning",
}

# Kinds of refusals of deliveries, by the status of the response.
_REFUSALS = {
    400: "refused_invalid",
    401: "refused_signature",
    403: "refused_time",
    408: "refused_slow",
    413: "refused_size",
    503: "refused_unavailable",
}


def count_call(facts: CallFacts, error: BaseException | None, retries: int) -> None:
    """Count a call that has ended.

    :param error: error of the call, ``None`` if it succeeded.
    :param retries: number of times that its request was sent again.
    """
    match facts.kind:
        case CallKind.STATUS:
            _count(f"{STATUS_CALLS}.{outcome_of(error)}", 1, facts.tags)
        case kind if kind.runs_a_model:
            _count(f"{REQUESTS}.{outcome_of(error)}", 1, facts.tags)
            _count(RETRIES, retries, facts.tags)


def record_duration(facts: CallFacts, seconds: float) -> None:
    """Record the duration of a request to which the model has responded."""
    if facts.kind.runs_a_model:
        _send("timing", DURATION, timedelta(seconds=seconds), facts.tags)


def count_calls(facts: CallFacts, counts: CallCounts) -> None:
    """Count the calls of a bulk run since the last counts, and record the mean duration of their requests."""
    _count(f"{REQUESTS}.{SUCCESS}", counts.succeeded, facts.tags)
    for error, number in counts.errors.items():
        _count(f"{REQUESTS}.{outcome_of(error)}", number, facts.tags)
    _count(RETRIES, counts.retries, facts.tags)
    if counts.responses:
        record_duration(facts, counts.response_seconds / counts.responses)


def count_resent_predict() -> None:
    """Count a deferred predict that is sent again, because its earlier trigger did not finish."""
    _count(RESENT, 1, {})


def count_delivery(outcome: str, via: str) -> None:
    """Count a delivery.

    :param outcome: ``stored``, ``duplicate``, ``spooled``, ``held``, or a result of :func:`refusal`.
    :param via: ``receiver`` or ``relay``.
    """
    _count(f"{DELIVERIES}.{outcome}", 1, {"via": via})


def refusal(status: int) -> str:
    """Return the outcome of a delivery that was refused with an HTTP status."""
    return _REFUSALS.get(status, "refused")


def count_summary(summary: TaskSummary, operator: str) -> None:
    """Count the tokens and the rows of a task. Those that another task or an earlier run has counted are left out.

    :param operator: class of the operator.
    """
    if summary.is_counted:
        return
    target = "" if summary.target is None else target_name(summary.target)
    tags = {"operator": operator, "target": target}
    for name, kind in TOKEN_KINDS.items():
        _count(f"{TOKENS}.{kind}", summary.tokens.get(name, 0), tags)
    _count(f"{ROWS}.{SUCCESS}", summary.succeeded or 0, tags)
    _count(f"{ROWS}.failed", summary.failed or 0, tags)


class WaitingGauge:
    """Number of async requests that this process waits for, over all connections."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._sent = 0

    def set(self, source: object, number: int) -> None:
        """Set the number of requests of one source, and send the sum if it has changed.

        It is sent under two names, as Airflow does with its own gauges of triggerers: plain StatsD, which has no tags,
        needs a name for each machine.

        :param source: what the number is of, for example the poller of a connection.
        """
        self._numbers[source] = number
        if not number:
            del self._numbers[source]
        total = sum(self._numbers.values())
        if total != self._sent:
            self._sent = total
            hostname = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())
            _send("gauge", f"{WAITING}.{hostname}", total, {})
            _send("gauge", WAITING, total, {"hostname": hostname})


waiting = WaitingGauge()


def _count(name: str, number: int, tags: Mapping[str, str]) -> None:
    if number:
        _send("incr", name, number, tags)


def _send(method: str, name: str, value: Any, tags: Mapping[str, str]) -> None:
    try:
        from airflow_provider_baseten.compat import Stats

        getattr(Stats, method)(name, value, tags={**tags})
    except Exception:
        log.debug("The metric %s could not be sent.", name, exc_info=True)
