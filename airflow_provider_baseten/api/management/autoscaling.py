"""Autoscaling and backpressure settings of deployments and environments."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.body import NUMBER, ONLY_KNOWN, check_body
from airflow_provider_baseten.api.management.call import Call, accepts, change, reads
from airflow_provider_baseten.api.management.path import model_target, path_of, root_of
from airflow_provider_baseten.api.management.resource import Resource
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError

MinReplica = Annotated[int, NUMBER, Field(ge=0)]
MaxReplica = Annotated[int, NUMBER, Field(ge=1)]
WindowSeconds = Annotated[int, NUMBER, Field(ge=10, le=3600)]
DelaySeconds = Annotated[int, NUMBER, Field(ge=0, le=3600)]
PositiveCount = Annotated[int, NUMBER, Field(ge=1)]
Percent = Annotated[int, NUMBER, Field(ge=1, le=100)]
ScaleDownRate = Annotated[int, NUMBER, Field(ge=1, le=50)]

BackpressurePolicy = Literal["QUEUE_ON_FULL", "REJECT_ON_FULL"]


class AutoscalingSettings(Resource):
    """Autoscaling settings. ``None`` stands for a setting that the deployment does not have."""

    min_replica: int
    max_replica: int
    autoscaling_window: int | None = None
    scale_down_delay: int | None = None
    concurrency_target: int | None = None
    target_utilization_percentage: int | None = None
    target_in_flight_tokens: int | None = None
    max_scale_down_rate: int | None = None


@with_config(ONLY_KNOWN)
class AutoscalingUpdate(TypedDict, total=False):
    """Autoscaling settings to change. Settings that are not given stay as they are; ``None`` clears a setting.

    ``min_replica`` (0 or more), ``max_replica`` (1 or more), ``autoscaling_window`` (10 to 3600 s),
    ``scale_down_delay`` (0 to 3600 s), ``concurrency_target`` (1 or more), ``target_utilization_percentage`` (1 to
    100), ``target_in_flight_tokens`` (1 or more), ``max_scale_down_rate`` (1 to 50 %).
    """

    min_replica: MinReplica | None
    max_replica: MaxReplica | None
    autoscaling_window: WindowSeconds | None
    scale_down_delay: DelaySeconds | None
    concurrency_target: PositiveCount | None
    target_utilization_percentage: Percent | None
    target_in_flight_tokens: PositiveCount | None
    max_scale_down_rate: ScaleDownRate | None


class BackpressureSettings(Resource):
    """What happens to a request while all replicas are busy; ``None`` stands for Baseten's default."""

    policy: str | None = None


@with_config(ONLY_KNOWN)
class BackpressureUpdate(TypedDict, total=False):
    """Backpressure settings to change; ``None`` clears the policy."""

    policy: BackpressurePolicy | None


class Acceptance(Resource):
    """How Baseten took a change of settings.

    ``status`` is ``ACCEPTED``, ``QUEUED`` or ``UNCHANGED``, or ``None`` if Baseten does not say it. The change takes
    effect later.
    """

    status: str | None = None
    message: str | None = None


def check_autoscaling(settings: Mapping[str, Any], name: str = "autoscaling_settings") -> dict[str, Any]:
    """Check autoscaling settings, and return them as JSON values.

    :param settings: at least one setting, see :class:`AutoscalingUpdate`.
    :param name: name of the argument.
    :raises BasetenInputError: there is no setting, or a setting is not valid.
    """
    checked: dict[str, Any] = check_body(AutoscalingUpdate, name, settings)
    if not checked:
        raise BasetenInputError(f"{name} is empty: give at least one setting, for example {{'min_replica': 0}}.")
    least, most = checked.get("min_replica"), checked.get("max_replica")
    if least is not None and most is not None and least > most:
        raise BasetenInputError(f"{name} has min_replica={least}, which is more than max_replica={most}.")
    return checked


def update_autoscaling(target: Target, settings: AutoscalingUpdate) -> Call[Acceptance]:
    """Change the autoscaling settings of a deployment of a model. Baseten applies them later: read the deployment.

    :param target: a deployment of a model, or its environment ``production`` or ``development``. For other environments
        use ``update_environment``.
    :param settings: the settings to change; others stay as they are.
    :raises BasetenInputError: the target is another environment or a chain, or a setting is not valid.
    """
    model_target(target, "autoscaling settings of a whole chain")
    if target.deployment_id is None and target.environment not in {"production", "development"}:
        raise BasetenInputError(
            f"{target}: Baseten changes the settings of this environment with update_environment; update_autoscaling "
            "takes a deployment_id, production or development."
        )
    place = target.deployment_id or target.environment
    path = f"{root_of(target)}/deployments/{place}/autoscaling_settings"
    body = check_autoscaling(settings, "settings")
    return change("PATCH", path, f"changing the autoscaling of {target}", accepts(Acceptance), body)


def update_backpressure(target: Target, settings: BackpressureUpdate) -> Call[BackpressureSettings]:
    """Change the backpressure settings of one deployment of a model.

    :param target: a deployment of a model, with its id. For an environment use ``update_environment``.
    :param settings: ``{"policy": "QUEUE_ON_FULL"}``, ``"REJECT_ON_FULL"`` or ``None``, which clears the policy.
    :raises BasetenInputError: the target has no ``deployment_id``, or the policy is unknown.
    """
    model_target(target, "backpressure settings")
    if target.deployment_id is None:
        raise BasetenInputError(f"{target}: give the deployment_id, or use update_environment for an environment.")
    body = check_body(BackpressureUpdate, "settings", settings)
    path = f"{path_of(target)}/request_backpressure_settings"
    return change("PATCH", path, f"changing the backpressure of {target}", reads(BackpressureSettings), body)
