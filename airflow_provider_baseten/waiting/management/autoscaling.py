"""Watch of autoscaling settings: waits until Baseten has applied a change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api.management.autoscaling import AutoscalingSettings
from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.management.environments import Environment
from airflow_provider_baseten.api.management.schedules import AutoscalingSchedule
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.waiting.management.deployment import deployment_of, missing_error, read_call
from airflow_provider_baseten.waiting.management.watch import State, Watch, restore_target


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalingWatch(Watch):
    """Waits until the settings of a deployment or an environment are the wanted ones.

    While an autoscaling schedule applies to an environment, its deployment has the settings of the schedule. Then the
    settings of the environment itself are enough.

    :param target: environment or deployment of a model, as keyword arguments of ``Target``.
    :param settings: the settings that were changed.
    """

    kind = "autoscaling"

    target: dict[str, Any]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the settings."""
        return f"the autoscaling settings of {restore_target(self.target)}"

    def call(self) -> Call[Any]:
        """Return the call that reads the settings."""
        return read_call(restore_target(self.target))

    def judge(self, found: Any, now: float) -> State:
        """Return whether the settings have been applied."""
        applied = has_settings(found, self.settings)
        current = settings_of(found)
        result = {} if current is None else {"autoscaling_settings": current.model_dump(mode="json")}
        return State(text="applied" if applied else "not applied yet", is_done=applied, result=result)

    def missing(self, error: BasetenError) -> BasetenError:
        """Return the error for a deployment or an environment that does not exist, or not any more."""
        return missing_error(str(restore_target(self.target)), error)


def has_settings(found: Any, settings: Mapping[str, Any]) -> bool:
    """Return whether an environment, and its deployment, or a deployment has the wanted settings.

    :param found: result of :func:`~.deployment.read_call`.
    """
    if not _holds(settings_of(found), settings):
        return False
    deployment = deployment_of(found)
    if not isinstance(found, Environment) or deployment is None or applied_schedule(found) is not None:
        return True
    return _holds(getattr(deployment, "autoscaling_settings", None), settings)


def settings_of(found: Any) -> AutoscalingSettings | None:
    """Return the settings of an environment or of a deployment; ``None`` for a deployment that has none yet."""
    settings: AutoscalingSettings | None = found.autoscaling_settings
    return settings


def applied_schedule(environment: Environment) -> AutoscalingSchedule | None:
    """Return the schedule that applies to an environment now; ``None`` if its own settings apply."""
    schedules = environment.autoscaling_schedules
    if schedules is None or schedules.applied_state is None or schedules.applied_state.schedule_id is None:
        return None
    id_ = schedules.applied_state.schedule_id
    known = next((schedule for schedule in schedules.schedules if schedule.id == id_), None)
    return known or AutoscalingSchedule(
        id=id_, name=id_, cadence="unknown", autoscaling_settings=schedules.applied_state.autoscaling_settings
    )


def _holds(current: AutoscalingSettings | None, wanted: Mapping[str, Any]) -> bool:
    # `None` clears a setting. Baseten then reports its default, which is not documented for each setting.
    given = {name: value for name, value in wanted.items() if value is not None}
    return current is not None and all(getattr(current, name, None) == value for name, value in given.items())
