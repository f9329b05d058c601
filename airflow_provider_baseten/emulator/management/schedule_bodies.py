"""Autoscaling schedules in requests: their form, and the changes of an environment's schedules."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import ClosedBody
from airflow_provider_baseten.emulator.management.settings import Count, Delay, Percentage, Positive, Rate, Window
from airflow_provider_baseten.emulator.schedules import WEEKDAYS, Schedule, ScheduledSettings

Weekday = Literal["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"]
Hour = Annotated[int, Field(ge=0, le=23)]
Minute = Annotated[int, Field(ge=0, le=59)]


class _Settings(ClosedBody):
    min_replica: Count
    max_replica: Positive
    autoscaling_window: Window | None
    scale_down_delay: Delay | None
    concurrency_target: Positive | None
    target_utilization_percentage: Percentage | None
    target_in_flight_tokens: Positive | None
    max_scale_down_rate: Rate | None


class _Common(ClosedBody):
    id: str | None = None
    name: str
    enabled: bool
    autoscaling_settings: _Settings


class _Recurring(_Common):
    cadence: Literal["DAILY", "HOURLY"]
    weekdays: list[Weekday]
    start_hour: Hour | None = None
    start_minute: Minute
    end_hour: Hour | None = None
    end_minute: Minute


class _OneTime(_Common):
    cadence: Literal["ONE_TIME"]
    start_at: datetime
    end_at: datetime


_Upsert = Annotated[_Recurring | _OneTime, Field(discriminator="cadence")]


class SchedulesBody(ClosedBody):
    """Changes of the schedules of an environment. Schedules that are not named stay."""

    timezone: str | None = None
    schedules: list[_Upsert] | None = None
    delete_schedules: list[str] | None = None


def change_schedules(
    environment: Environment, body: SchedulesBody, now: float
) -> tuple[str | None, dict[str, Schedule]]:
    """Return the time zone and the schedules of an environment after a request.

    :param environment: the environment.
    :param body: the request.
    :param now: time in seconds since the epoch.
    :raises GatewayError: 400 for an unknown id, a wrong time zone, or times that are not possible.
    """
    schedules = dict(environment.schedules)
    for id_ in body.delete_schedules or ():
        if schedules.pop(id_, None) is None:
            raise bad_request(f"There is no schedule {id_[:80]}.")
    for upsert in body.schedules or ():
        if upsert.id is not None and upsert.id not in schedules:
            raise bad_request(f"There is no schedule {upsert.id[:80]}.")
        schedule = _make_schedule(upsert, now)
        schedules[schedule.id] = schedule
    timezone = body.timezone if "timezone" in body.model_fields_set else environment.timezone
    if timezone is None and schedules:
        raise bad_request("timezone is required while there are schedules.")
    if timezone is not None:
        _check_timezone(timezone)
    return timezone, schedules


def _make_schedule(upsert: _Recurring | _OneTime, now: float) -> Schedule:
    settings = upsert.autoscaling_settings
    if settings.min_replica > settings.max_replica:
        raise bad_request("min_replica of a schedule must be at most its max_replica.")
    common: dict[str, Any] = {
        "id": upsert.id or uuid4().hex[:8],
        "name": upsert.name,
        "enabled": upsert.enabled,
        "settings": ScheduledSettings(**settings.model_dump()),
    }
    if isinstance(upsert, _OneTime):
        start, end = _read_time(upsert.start_at, "start_at"), _read_time(upsert.end_at, "end_at")
        if end <= start or (upsert.id is None and start < now):
            raise bad_request("start_at of a new schedule must be in the future, and end_at after it.")
        return Schedule(**common, cadence="ONE_TIME", start_at=start, end_at=end)
    if not upsert.weekdays:
        raise bad_request("weekdays must name at least one day.")
    if upsert.cadence == "DAILY" and (upsert.start_hour is None or upsert.end_hour is None):
        raise bad_request("A DAILY schedule needs start_hour and end_hour.")
    return Schedule(
        **common,
        cadence=upsert.cadence,
        weekdays=tuple(day for day in WEEKDAYS if day in upsert.weekdays),
        start_hour=upsert.start_hour,
        start_minute=upsert.start_minute,
        end_hour=upsert.end_hour,
        end_minute=upsert.end_minute,
    )


def _read_time(value: datetime, name: str) -> float:
    if value.tzinfo is None:
        raise bad_request(f"{name} must have a UTC offset.")
    return value.timestamp()


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise bad_request("timezone must be the IANA name of a time zone.") from None
