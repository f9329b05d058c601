"""Observer that makes metrics and spans of the calls of tasks and triggers."""

from collections.abc import Mapping

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client.observer import CallCounts, CallObserver, Observer
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError
from airflow_provider_baseten.telemetry import metrics, spans
from airflow_provider_baseten.telemetry.calls import CallFacts


class AirflowObserver(Observer):
    """Observer that sends metrics and spans as Airflow is configured to send its own. It has no state."""

    def begin_call(self, request: Request, url: str) -> CallObserver:
        """Return the observer of a call; a call that runs a model gets a span."""
        facts = CallFacts.of_request(request)
        return _AirflowCall(facts, spans.CallSpan(facts, request, url) if facts.kind.runs_a_model else None)

    def headers(self) -> Mapping[str, str]:
        """Return the headers that name the current span, for example that of a bulk run."""
        return spans.current_headers()

    def count_calls(self, request: Request, counts: CallCounts) -> None:
        """Send the counts as metrics."""
        metrics.count_calls(CallFacts.of_request(request), counts)


class _AirflowCall(CallObserver):
    def __init__(self, facts: CallFacts, span: spans.CallSpan | None) -> None:
        self._facts = facts
        self._span = span
        self._attempts = 0

    def headers(self) -> Mapping[str, str]:
        return self._span.headers if self._span else {}

    def end_attempt(self, seconds: float, error: BaseException | None) -> None:
        self._attempts += 1
        # The model has responded, so this is its latency. A server that refuses or is not reached has another one.
        if error is None or isinstance(error, BasetenInputError | BasetenModelError):
            metrics.record_duration(self._facts, seconds)

    def end(self, response: Response | None, error: BaseException | None) -> None:
        retries = max(0, self._attempts - 1)
        metrics.count_call(self._facts, error, retries)
        if self._span:
            self._span.end(response, error, retries)


AIRFLOW_OBSERVER = AirflowObserver()
