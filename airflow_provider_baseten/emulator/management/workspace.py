"""Workspace: the state that the management API reads and changes."""

from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint, EndpointKind
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.limits import Durations, Limits
from airflow_provider_baseten.emulator.management.audit_log import AuditLog
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.token_usage import UsageLog
from airflow_provider_baseten.emulator.training.service import TrainingService

#: Beta features, which Baseten switches on for a workspace.
Feature = Literal["autoscaling_schedules", "traffic_routing"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Caller of the management API.

    :param key: value that is the same for all requests with one API key, and from which the key can't be read.
    :param key_prefix: part of the API key before its dot, ``None`` if the key has none.
    """

    key: int
    key_prefix: str | None

    @classmethod
    def of(cls, authorization: str | None) -> "Caller":
        """Return the caller with this ``Authorization`` header."""
        prefix, dot, _ = (authorization or "").rpartition(" ")[2].partition(".")
        return cls(hash(authorization), prefix if dot else None)


@dataclass(slots=True)
class Workspace:
    """State of the workspace.

    :param models: models by id.
    :param chains: chains by id.
    :param model_apis: deployments of the Model APIs by slug.
    :param model_prices: prices of Model APIs by slug.
    :param limits: limits of the emulator.
    :param durations: durations of the emulator.
    :param clock: source of time.
    :param meter: meter of replicas, requests and training jobs.
    :param training: training projects and jobs.
    :param secrets: values of secrets by name.
    :param runs_training: whether training jobs may run. They run commands on this machine.
    :param token_usage: usage of Model APIs.
    :param disabled_features: beta features that the workspace does not have.
    """

    models: dict[str, Endpoint]
    chains: dict[str, Endpoint]
    model_apis: dict[str, Deployment]
    model_prices: dict[str, tuple[float, float]]
    limits: Limits
    durations: Durations
    clock: Clock
    meter: Meter
    training: TrainingService
    secrets: dict[str, str] = field(repr=False)
    disabled_features: frozenset[Feature] = frozenset()
    runs_training: bool = True
    token_usage: UsageLog = field(default_factory=lambda: UsageLog(maxlen=100_000))
    audit_log: AuditLog = field(init=False)
    created_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.audit_log = AuditLog(self.clock)
        self.created_at = self.clock.now()

    def find_endpoint(self, kind: EndpointKind, id_: str) -> Endpoint:
        """Return a model or chain.

        :raises GatewayError: 404 if there is none with this id.
        """
        endpoint = (self.models if kind == "model" else self.chains).get(id_)
        if endpoint is None:
            raise GatewayError(404, f"{kind.capitalize()} {id_[:80]} does not exist.")
        return endpoint

    def require_feature(self, feature: Feature) -> None:
        """Raise GatewayError 400 if the workspace does not have a feature. The status is this emulator's choice."""
        if feature in self.disabled_features:
            raise bad_request(f"{feature} is not enabled for this workspace.")

    def delete_endpoint(self, endpoint: Endpoint) -> None:
        """Delete a model or chain, and stop its replicas."""
        del (self.models if endpoint.kind == "model" else self.chains)[endpoint.id]
        for deployment in endpoint.deployments.values():
            deployment.deactivate()

    def record(self, caller: Caller, event_type: str, **event_data: Any) -> None:
        """Write an entry to the audit log.

        :param caller: who changed something.
        :param event_type: type of the event, one of Baseten's.
        :param event_data: what was changed.
        """
        self.audit_log.add(event_type, event_data, caller.key_prefix)
