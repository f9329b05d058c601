"""Autoscaling schedules of an environment of a model. They are in beta: Baseten switches them on at request."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.autoscaling import (
    AutoscalingSettings,
    DelaySeconds,
    MaxReplica,
    MinReplica,
    Percent,
    PositiveCount,
    ScaleDownRate,
    WindowSeconds,
)
from airflow_provider_baseten.api.management.body import NUMBER, ONLY_KNOWN, check_body
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.exceptions import BasetenInputError

Weekday = Literal["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"]
Hour = Annotated[int, NUMBER, Field(ge=0, le=23)]
Minute = Annotated[int, NUMBER, Field(ge=0, le=59)]

_SETTINGS = (
    "autoscaling_window",
    "scale_down_delay",
    "concurrency_target",
    "target_utilization_percentage",
    "target_in_flight_tokens",
    "max_scale_down_rate",
)


class AutoscalingSchedule(Resource):
    """Autoscaling schedule: ``DAILY`` and ``HOURLY`` have weekdays and a time of the day, ``ONE_TIME`` has two times.

    A setting that is ``None`` follows the environment.
    """

    id: str
    name: str
    cadence: str
    enabled: bool = True
    autoscaling_settings: AutoscalingSettings
    weekdays: list[str] | None = None
    start_hour: int | None = None
    start_minute: int | None = None
    end_hour: int | None = None
    end_minute: int | None = None
    start_at: Time | None = None
    end_at: Time | None = None


class AppliedState(Resource):
    """Settings that apply now. ``schedule_id`` is ``None`` if they are those of the environment itself."""

    schedule_id: str | None = None
    autoscaling_settings: AutoscalingSettings


class Schedules(Resource):
    """Schedules of an environment. ``applied_state`` is ``None`` if the environment has no deployment."""

    timezone: str | None = None
    schedules: list[AutoscalingSchedule] = Field(default_factory=list)
    applied_state: AppliedState | None = None


def _refuse_naive(time: datetime) -> datetime:
    if time.utcoffset() is None:
        raise ValueError("the time has no time zone")
    return time


def _refuse_unknown_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"'{name[:80]}' is not the name of a time zone, such as Europe/Berlin")
    return name


_ZonedTime = Annotated[datetime, AfterValidator(_refuse_naive)]


@with_config(ONLY_KNOWN)
class ScheduleSettings(TypedDict):
    """Autoscaling settings of a schedule. A setting that is left out or ``None`` follows the environment."""

    min_replica: MinReplica
    max_replica: MaxReplica
    autoscaling_window: NotRequired[WindowSeconds | None]
    scale_down_delay: NotRequired[DelaySeconds | None]
    concurrency_target: NotRequired[PositiveCount | None]
    target_utilization_percentage: NotRequired[Percent | None]
    target_in_flight_tokens: NotRequired[PositiveCount | None]
    max_scale_down_rate: NotRequired[ScaleDownRate | None]


@with_config(ONLY_KNOWN)
class RepeatedSchedule(TypedDict):
    """AutoscalingSchedule that repeats: ``DAILY``, or ``HOURLY`` without ``start_hour`` and ``end_hour``.

    :param id: id of the schedule to replace; left out for a new one.
    """

    id: NotRequired[str | None]
    name: str
    enabled: bool
    cadence: Literal["DAILY", "HOURLY"]
    autoscaling_settings: ScheduleSettings
    weekdays: list[Weekday]
    start_hour: NotRequired[Hour | None]
    start_minute: Minute
    end_hour: NotRequired[Hour | None]
    end_minute: Minute


@with_config(ONLY_KNOWN)
class OneTimeSchedule(TypedDict):
    """AutoscalingSchedule that applies once, from ``start_at`` until before ``end_at``; both have a time zone.

    :param id: id of the schedule to replace; left out for a new one.
    """

    id: NotRequired[str | None]
    name: str
    enabled: bool
    cadence: Literal["ONE_TIME"]
    autoscaling_settings: ScheduleSettings
    start_at: _ZonedTime
    end_at: _ZonedTime


@with_config(ONLY_KNOWN)
class SchedulesUpdate(TypedDict, total=False):
    """Schedules to create or replace, and ids of schedules to delete. Schedules that are not named stay.

    :param timezone: name of the time zone of all schedules, for example ``Europe/Berlin``. Give it with the first
        schedule; ``None`` is allowed only when all schedules are deleted.
    """

    timezone: Annotated[str, AfterValidator(_refuse_unknown_zone)] | None
    schedules: list[Annotated[RepeatedSchedule | OneTimeSchedule, Field(discriminator="cadence")]]
    delete_schedules: Sequence[str]


def check_schedules(update: Any, name: str = "autoscaling_schedule_settings") -> dict[str, Any]:
    """Check an update of schedules, and return it as JSON values. The API wants every setting of a schedule.

    :param name: name of the argument.
    :raises BasetenInputError: a value is not valid.
    """
    checked: dict[str, Any] = check_body(SchedulesUpdate, name, update)
    for schedule in checked.get("schedules", []):
        settings = schedule["autoscaling_settings"]
        if settings["min_replica"] > settings["max_replica"]:
            raise BasetenInputError(f"{name}: the schedule {schedule['name']} has a min_replica above its max_replica.")
        schedule["autoscaling_settings"] = dict.fromkeys(_SETTINGS) | settings
        if schedule["cadence"] == "ONE_TIME" and schedule["start_at"] >= schedule["end_at"]:
            start, end = (datetime.fromisoformat(schedule[end]) for end in ("start_at", "end_at"))
            if start >= end:
                raise BasetenInputError(f"{name}: the schedule {schedule['name']} ends before it starts.")
    return checked
