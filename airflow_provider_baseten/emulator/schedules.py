"""Autoscaling schedules of an environment: when which settings apply."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from airflow_provider_baseten.emulator.replicas import Scaling

WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_DAYS_AHEAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSettings:
    """Settings of a schedule. ``None`` stands for the value of the environment."""

    min_replica: int
    max_replica: int
    autoscaling_window: int | None
    scale_down_delay: int | None
    concurrency_target: int | None
    target_utilization_percentage: int | None
    target_in_flight_tokens: int | None
    max_scale_down_rate: int | None

    def apply_to(self, scaling: Scaling) -> Scaling:
        """Return the settings of the environment with those of the schedule."""
        own = {name: getattr(self, name) for name in self.__slots__}
        return replace(scaling, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Autoscaling schedule.

    :param id: id of the schedule.
    :param name: name.
    :param enabled: whether the schedule applies.
    :param settings: settings that apply while it does.
    :param cadence: ``ONE_TIME``, ``DAILY`` or ``HOURLY``.
    :param start_at: begin of a ``ONE_TIME`` schedule, in seconds since the epoch.
    :param end_at: end of a ``ONE_TIME`` schedule, exclusive.
    :param weekdays: days on which the others begin.
    :param start_hour: hour of the begin. For ``HOURLY``, the first hour of the day, by default 0.
    :param start_minute: minute of the begin.
    :param end_hour: hour of the end. For ``HOURLY``, the last hour of the day, by default 23.
    :param end_minute: minute of the end, exclusive. An end that is not after the begin is on the next day, or in the
        next hour.
    """

    id: str
    name: str
    enabled: bool
    settings: ScheduledSettings
    cadence: Literal["ONE_TIME", "DAILY", "HOURLY"]
    start_at: float = 0.0
    end_at: float = 0.0
    weekdays: tuple[str, ...] = ()
    start_hour: int | None = None
    start_minute: int = 0
    end_hour: int | None = None
    end_minute: int = 0


def find_schedule(schedules: Iterable[Schedule], timezone: str | None, now: float) -> Schedule | None:
    """Return the schedule that applies; of several, the first. ``None`` if none applies.

    :param schedules: the schedules.
    :param timezone: IANA name of their time zone.
    :param now: time in seconds since the epoch.
    """
    for schedule in schedules:
        if schedule.enabled and any(start <= now < end for start, end in _windows(schedule, timezone, now)):
            return schedule
    return None


def find_next_change(schedules: Iterable[Schedule], timezone: str | None, now: float) -> float | None:
    """Return the next time at which a schedule begins or ends, ``None`` if there is none.

    :param schedules: the schedules.
    :param timezone: IANA name of their time zone.
    :param now: time in seconds since the epoch.
    """
    enabled = (schedule for schedule in schedules if schedule.enabled)
    times = (edge for schedule in enabled for window in _windows(schedule, timezone, now) for edge in window)
    return min((edge for edge in times if edge > now), default=None)


def _windows(schedule: Schedule, timezone: str | None, now: float) -> Iterator[tuple[float, float]]:
    """Yield begin and end of the times in which a schedule applies, from yesterday to a week ahead."""
    if schedule.cadence == "ONE_TIME":
        yield schedule.start_at, schedule.end_at
        return
    zone = ZoneInfo(timezone or "UTC")
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    for offset in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=offset)
        if WEEKDAYS[day.weekday()] in schedule.weekdays:
            windows = _hourly_windows if schedule.cadence == "HOURLY" else _daily_windows
            yield from windows(schedule, day, zone)


def _daily_windows(schedule: Schedule, day: date, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
    start, end = (
        time(schedule.start_hour or 0, schedule.start_minute),
        time(schedule.end_hour or 0, schedule.end_minute),
    )
    last_day = day if end > start else day + timedelta(days=1)
    yield _timestamp(day, start, zone), _timestamp(last_day, end, zone)


def _hourly_windows(schedule: Schedule, day: date, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
    first = 0 if schedule.start_hour is None else schedule.start_hour
    last = 23 if schedule.end_hour is None else schedule.end_hour
    minutes = schedule.end_minute - schedule.start_minute
    for hour in range(first, last + 1):
        # When the clocks are set, an hour occurs twice or not at all.
        starts = {_timestamp(day, time(hour, schedule.start_minute, fold=fold), zone) for fold in (0, 1)}
        for start in sorted(start for start in starts if datetime.fromtimestamp(start, zone).hour == hour):
            yield start, start + 60 * (minutes if minutes > 0 else minutes + 60)


def _timestamp(day: date, at: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, at, zone).timestamp()
