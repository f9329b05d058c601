"""Autoscaling and backpressure settings of deployments and environments, in requests and responses."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import ClosedBody, Content
from airflow_provider_baseten.emulator.replicas import Scaling

# The bounds that Baseten's OpenAPI document does not have are those of its documentation.
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Window = Annotated[int, Field(ge=10, le=3600)]
Delay = Annotated[int, Field(ge=0, le=3600)]
Percentage = Annotated[int, Field(ge=1, le=100)]
Rate = Annotated[int, Field(ge=1, le=50)]


class AutoscalingBody(ClosedBody):
    """Autoscaling settings in a request. A field that is missing or null keeps its value.

    Null for ``target_in_flight_tokens`` clears that setting.
    """

    min_replica: Count | None = None
    max_replica: Positive | None = None
    autoscaling_window: Window | None = None
    scale_down_delay: Delay | None = None
    concurrency_target: Positive | None = None
    target_utilization_percentage: Percentage | None = None
    target_in_flight_tokens: Positive | None = None
    max_scale_down_rate: Rate | None = None


class BackpressureBody(ClosedBody):
    """Backpressure settings in a request. Null clears the policy."""

    policy: Literal["QUEUE_ON_FULL", "REJECT_ON_FULL"] | None = None


def change_autoscaling(scaling: Scaling, body: AutoscalingBody) -> Scaling:
    """Return settings with the changes of a request.

    :raises GatewayError: 400 if the settings contradict each other.
    """
    sent = body.model_dump(include=body.model_fields_set)
    changes = {name: value for name, value in sent.items() if value is not None or name == "target_in_flight_tokens"}
    return change(scaling, **changes)


def change_backpressure(scaling: Scaling, body: BackpressureBody) -> Scaling:
    """Return settings with the policy of a request; a request without a policy changes nothing."""
    return replace(scaling, policy=body.policy) if "policy" in body.model_fields_set else scaling


def change(scaling: Scaling, **changes: Any) -> Scaling:
    """Return settings with changes.

    :raises GatewayError: 400 if the settings contradict each other.
    """
    try:
        return replace(scaling, **changes)
    except ValueError as error:
        raise bad_request(str(error)) from None


def describe_autoscaling(scaling: Scaling) -> Content:
    """Return settings in the form of Baseten's API."""
    return {
        "min_replica": scaling.min_replica,
        "max_replica": scaling.max_replica,
        "autoscaling_window": scaling.autoscaling_window,
        "scale_down_delay": int(scaling.scale_down_delay),
        # In the emulator, `None` means no limit. Baseten has no value for that, so the response contains 1.
        "concurrency_target": scaling.concurrency_target or 1,
        "target_utilization_percentage": scaling.target_utilization_percentage,
        "target_in_flight_tokens": scaling.target_in_flight_tokens,
        "max_scale_down_rate": scaling.max_scale_down_rate,
    }


def describe_backpressure(scaling: Scaling) -> Content:
    """Return the backpressure settings in the form of Baseten's API."""
    return {"policy": scaling.policy}
