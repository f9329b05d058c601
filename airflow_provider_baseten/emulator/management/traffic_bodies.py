"""Traffic rules in requests."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import ClosedBody, RequestBody
from airflow_provider_baseten.emulator.management.settings import Percentage
from airflow_provider_baseten.emulator.traffic_rules import TrafficRule

_MAX_SECONDS = 7 * 86_400


class _Target(RequestBody):
    deployment_id: str | None = None
    environment: str | None = None


class _Rule(ClosedBody):
    id: str | None = None
    type: Literal["SHADOW"]
    targets: Annotated[list[_Target], Field(min_length=1, max_length=1)]
    percent_traffic: Percentage
    expires_at: datetime
    sampling_mode: Literal["RANDOM", "USER_SESSION"]
    propagate_client_cancellation: bool


class TrafficBody(ClosedBody):
    """Changes of the traffic rules of an environment. Rules that are not named stay."""

    rules: list[_Rule] | None = None
    delete_rules: list[str] | None = None


def change_rules(endpoint: Endpoint, environment: Environment, body: TrafficBody, now: float) -> dict[str, TrafficRule]:
    """Return the traffic rules of an environment after a request.

    :param endpoint: the model.
    :param environment: the environment.
    :param body: the request.
    :param now: time in seconds since the epoch.
    :raises GatewayError: 400 for an unknown id or target, or a rule that expires too late.
    """
    rules = dict(environment.traffic_rules)
    for id_ in body.delete_rules or ():
        if rules.pop(id_, None) is None:
            raise bad_request(f"There is no traffic rule {id_[:80]}.")
    for sent in body.rules or ():
        rule = _make_rule(endpoint, sent, now)
        if sent.id is not None:
            previous = rules.get(sent.id)
            if previous is None:
                raise bad_request(f"There is no traffic rule {sent.id[:80]}.")
            if (previous.deployment_id, previous.environment) != (rule.deployment_id, rule.environment):
                raise bad_request("The target of a traffic rule can't change.")
        rules[rule.id] = rule
    return rules


def _make_rule(endpoint: Endpoint, sent: _Rule, now: float) -> TrafficRule:
    target = sent.targets[0]
    if (target.deployment_id is None) == (target.environment is None):
        raise bad_request("A target needs either deployment_id or environment.")
    if target.deployment_id is not None and target.deployment_id not in endpoint.deployments:
        raise bad_request(f"There is no deployment {target.deployment_id[:80]}.")
    if target.environment is not None and target.environment not in endpoint.environments:
        raise bad_request(f"There is no environment {target.environment[:80]}.")
    if sent.expires_at.tzinfo is None or not now < sent.expires_at.timestamp() <= now + _MAX_SECONDS:
        raise bad_request("expires_at must have a UTC offset, and be at most 7 days ahead.")
    return TrafficRule(
        id=sent.id or uuid4().hex[:8],
        type=sent.type,
        deployment_id=target.deployment_id,
        environment=target.environment,
        percent_traffic=sent.percent_traffic,
        expires_at=sent.expires_at.timestamp(),
        sampling_mode=sent.sampling_mode,
        propagate_client_cancellation=sent.propagate_client_cancellation,
    )
