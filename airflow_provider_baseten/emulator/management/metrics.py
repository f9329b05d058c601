"""Metrics of deployments and environments: requests and replicas."""

from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management import deployments
from airflow_provider_baseten.emulator.management.log_queries import read_window
from airflow_provider_baseten.emulator.management.promotions import find_environment
from airflow_provider_baseten.emulator.management.queries import read_choice, read_choices, read_integer
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.meter import Meter

_REQUESTS, _ACTIVE, _STARTING = (
    "baseten_inference_requests_total",
    "baseten_replicas_active",
    "baseten_replicas_starting",
)
_DESCRIPTORS = {_REQUESTS: ("COUNT", "COUNTER"), _ACTIVE: ("COUNT", "GAUGE"), _STARTING: ("COUNT", "GAUGE")}
# Names that Baseten knows too. The emulator has no values for these.
_OTHERS = frozenset(
    {
        "baseten_end_to_end_response_time_seconds",
        "baseten_concurrent_requests",
        "baseten_async_queue_size",
        "baseten_time_in_async_queue_seconds",
        "baseten_async_webhook_requests_total",
        "baseten_async_webhook_latency_seconds",
        "baseten_gpu_utilization",
        "baseten_gpu_memory_used",
    }
)
_DEFAULT_SECONDS = 3600
_MIN_STEP_SECONDS = 60
_MAX_STEPS = 60


def _respond(workspace: Workspace, request: ManagementRequest, endpoint: Endpoint, own: list[Deployment]) -> Content:
    mode = read_choice(request, "mode", ("CURRENT", "SUMMARY", "SERIES")) or "CURRENT"
    asked = read_choices(request, "metrics", {*_DESCRIPTORS, *_OTHERS}) or _DESCRIPTORS
    names = [name for name in asked if name in _DESCRIPTORS]
    start_millis = read_integer(request, "start_epoch_millis", 0)
    end_millis = read_integer(request, "end_epoch_millis", 0)
    if mode == "CURRENT" and (start_millis is not None or end_millis is not None):
        raise bad_request("start_epoch_millis and end_epoch_millis are not possible with the mode CURRENT.")
    now = workspace.clock.now()
    start, end = (now, now) if mode == "CURRENT" else read_window(start_millis, end_millis, now, _DEFAULT_SECONDS)
    step = max(_MIN_STEP_SECONDS, int((end - start) / _MAX_STEPS)) if mode == "SERIES" else None
    times = [start] if step is None else [start + number * step for number in range(int((end - start) / step) + 1)]

    def measure(name: str, begin: float) -> float | None:
        if mode == "CURRENT":
            return _measure_now(workspace.meter, endpoint, own, name)
        window = begin, end if step is None else min(begin + step, end)
        return _measure(workspace.meter, endpoint, own, name, window)

    return {
        "start_epoch_millis": round(start * 1000),
        "end_epoch_millis": round(end * 1000),
        "mode": mode,
        "step_seconds": step,
        "metric_descriptors": [
            {"name": name, "unit_hint": _DESCRIPTORS[name][0], "kind": _DESCRIPTORS[name][1], "label_sets": [{}]}
            for name in names
        ],
        "metric_values": [
            {"start_epoch_millis": round(begin * 1000), "values": [[measure(name, begin)] for name in names]}
            for begin in times
        ],
    }


def _measure_now(meter: Meter, endpoint: Endpoint, own: list[Deployment], name: str) -> float:
    if name == _ACTIVE:
        return sum(deployment.replicas.ready for deployment in own)
    if name == _STARTING:
        return sum(deployment.replicas.starting for deployment in own)
    return sum(meter.paid_requests(endpoint.id, deployment.id) for deployment in own)


def _measure(
    meter: Meter, endpoint: Endpoint, own: list[Deployment], name: str, window: tuple[float, float]
) -> float | None:
    """Return a metric over a time. Replicas that are starting count as active, because the meter adds them."""
    start, end = window
    if name == _STARTING or end <= start:
        return None
    measure = meter.replica_minutes if name == _ACTIVE else meter.paid_requests
    total = sum(measure(endpoint.id, deployment.id, start=start, end=end) for deployment in own)
    return total * 60 / (end - start) if name == _ACTIVE else total


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = deployments.find_addressed(workspace, request)
    return _respond(workspace, request, endpoint, [deployment])


def _get_of_environment(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = find_environment(workspace, request)
    current = endpoint.deployments.get(environment.deployment_id or "")
    return _respond(workspace, request, endpoint, [current] if current else [])


ROUTES = (
    Route("GET", "models/{id}/deployments/{deployment_id}/metrics", _get),
    Route("GET", "models/{id}/environments/{environment}/metrics", _get_of_environment),
)
