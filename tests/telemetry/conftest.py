"""A real Airflow that sends its metrics to a StatsD server and its spans to a collector, and what a run has left."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_baseten import compat
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.faults import Fault
from airflow_provider_baseten.emulator.records import RecordedRequest
from tests.chat_server import ChatServer
from tests.telemetry.collector import Collector, Span, collector
from tests.telemetry.statsd_server import StatsdServer, statsd_server
from tools.airflow_api import wait_until
from tools.airflow_stack import AirflowStack
from tools.demo import ONLY_BY_HAND, add_baseten_connection

API_KEY, WEBHOOK_SECRET = "right.key-of-the-tests", "whsec_of-the-tests"


def echo(model_input: Any) -> Any:
    return {"echo": model_input}


def broken(model_input: Any) -> NoReturn:
    raise RuntimeError("broken")


def rows(model_input: Any) -> Any:
    if model_input["number"] % 10 == 3:
        raise RuntimeError("broken")
    return model_input


async def things(request: Request) -> Response:
    return JSONResponse({"thing": request.path_params["number"]})


@dataclass
class Observed:
    """What a run of the DAG has left."""

    baseten: Emulator
    statsd: StatsdServer
    collector: Collector
    states: dict[str, str | None]

    @property
    def calls(self) -> list[RecordedRequest]:
        """Requests that the emulator received and that run a model."""
        actions = {"predict", "async_predict", "sync"}
        return [request for request in self.baseten.requests if request.action in actions]

    def spans(self, name: str) -> list[Span]:
        """Return the spans with a name."""
        return [span for span in self.collector.spans() if span.name == name]


@pytest.fixture(scope="package")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A finished run of the DAG, all of whose metrics and spans have arrived."""
    folder = tmp_path_factory.mktemp("telemetry")
    models: dict[str, Any] = {
        "echo": echo,
        "busy": echo,
        "own": echo,
        "broken": broken,
        "queue": echo,
        "rows": rows,
        "chat": ChatServer(lambda body: "well"),
        "chats": ChatServer(lambda body: "well"),
        "server": Starlette(routes=[Route("/v1/things/{number}", things)]),
    }
    with (
        statsd_server(folder) as statsd,
        collector(folder) as spans,
        Emulator(models=models, api_key=API_KEY, webhook_secrets=[WEBHOOK_SECRET]) as baseten,
        AirflowStack(
            folder / "home",
            Path(__file__).parent / "dags",
            config=ONLY_BY_HAND | statsd.config | spans.config | {"AIRFLOW__BASETEN__STORE_CHECK_INTERVAL": "1"},
        ) as airflow,
    ):
        add_baseten_connection(airflow, "baseten_default", baseten.url, API_KEY, WEBHOOK_SECRET)
        airflow.api.wait_for_dag("observed")
        baseten.inject(Fault(target="busy", status=429, headers={"Retry-After": "0"}, times=2))
        baseten.hold("queue")
        run = airflow.api.run("observed", {"folder": str(folder / "outputs")})
        try:
            wait_until(lambda: _waits(statsd), 180, "the gauge of waiting requests")
        finally:
            baseten.release("queue")
        run.wait(240)
        observed = Observed(baseten, statsd, spans, run.states())
        wait_until(lambda: _has_arrived(observed), 60, "all metrics and spans to arrive")
        yield observed


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any, dict[str, str]]]:
    """All metrics that a test sends: method, name, value and tags."""
    found: list[tuple[str, str, Any, dict[str, str]]] = []

    def sender(method: str) -> Any:
        return lambda name, value, tags: found.append((method, name, value, tags))

    stats = SimpleNamespace(**{method: sender(method) for method in ("incr", "gauge", "timing")})
    monkeypatch.setitem(vars(compat), "Stats", stats)
    return found


def _waits(statsd: StatsdServer) -> bool:
    return any(statsd.gauges().get("baseten.waiting", ()))


def _has_arrived(observed: Observed) -> bool:
    counters = Counter(observed.statsd.counters())
    requests = sum(count for name, count in counters.items() if name.startswith("baseten.requests."))
    names = {span.name for span in observed.collector.spans()}
    is_still = not observed.statsd.gauges()["baseten.waiting"][-1]
    return requests + counters["baseten.retries"] >= len(observed.calls) and is_still and "dag_run.observed" in names
