"""Queries for log lines in requests: query parameters of the GET form, body of the POST form."""

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.logs import LogLevel, LogLine, LogQuery
from airflow_provider_baseten.emulator.management.queries import read_integer, read_text
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, RequestBody, invalid

_DEFAULT_SECONDS = 30 * 60
_MAX_SECONDS = 7 * 86_400
_MAX_TEXTS = 8
Text = Annotated[str, Field(max_length=256)]


class TrainingLogsBody(RequestBody):
    """Query for the log of a training job."""

    start_epoch_millis: int | None = None
    end_epoch_millis: int | None = None
    direction: Literal["asc", "desc"] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] | None = 500
    min_level: LogLevel | None = None


class LogsBody(TrainingLogsBody):
    """Query for the log of a deployment or environment."""

    replica: Text | None = None
    request_id: Text | None = None
    component: Text | None = None
    search_pattern: Text | None = None
    includes: Annotated[list[str], Field(max_length=_MAX_TEXTS)] | None = None
    excludes: Annotated[list[str], Field(max_length=_MAX_TEXTS)] | None = None


def read_log_query(request: ManagementRequest, now: float) -> LogQuery:
    """Return the query of a request with query parameters.

    :param request: the request.
    :param now: time in seconds since the epoch.
    :raises GatewayError: 400 for a wrong value.
    """
    integers = {name: read_integer(request, name, 0) for name in ("start_epoch_millis", "end_epoch_millis", "limit")}
    names = ("direction", "min_level", "replica", "request_id", "component", "search_pattern")
    texts = {name: read_text(request, name) for name in names}
    lists = {name: request.query.get(name) for name in ("includes", "excludes")}
    try:
        body = LogsBody.model_validate(integers | texts | lists)
    except ValidationError as error:
        raise invalid(error) from None
    return make_log_query(body, now)


def make_log_query(body: TrainingLogsBody, now: float) -> LogQuery:
    """Return the query of a request body.

    :param body: the body.
    :param now: time in seconds since the epoch.
    :raises GatewayError: 400 for a time that is too long, or a wrong pattern.
    """
    start, end = read_window(body.start_epoch_millis, body.end_epoch_millis, now, _DEFAULT_SECONDS)
    filters = body if isinstance(body, LogsBody) else LogsBody()
    return LogQuery(
        start=start,
        end=end,
        direction=body.direction or "asc",
        limit=body.limit or 500,
        min_level=body.min_level or "DEBUG",
        replica=filters.replica,
        request_id=filters.request_id,
        pattern=_compile(filters.search_pattern),
        includes=filters.includes or (),
        excludes=filters.excludes or (),
    )


def read_window(start_millis: int | None, end_millis: int | None, now: float, default: float) -> tuple[float, float]:
    """Return begin and end of the time of a query, in seconds since the epoch.

    :param start_millis: begin in milliseconds, by default ``default`` seconds before the end.
    :param end_millis: end in milliseconds, by default now.
    :param now: time in seconds since the epoch.
    :param default: seconds.
    :raises GatewayError: 400 if the time is negative or longer than 7 days.
    """
    # An end in milliseconds includes all of its millisecond.
    end = now if end_millis is None else end_millis / 1000 + 0.001
    start = end - default if start_millis is None else start_millis / 1000
    if start > end:
        raise bad_request("start_epoch_millis must be before end_epoch_millis.")
    if end - start > _MAX_SECONDS + 1:
        raise bad_request("The time between start_epoch_millis and end_epoch_millis is at most 7 days.")
    return start, end


def describe_lines(query: LogQuery, lines: list[LogLine]) -> Content:
    """Return the lines that a query selects in the form of Baseten's API."""
    return {"logs": [line.as_json() for line in query.select(lines)]}


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error:
        raise bad_request("search_pattern is not a regular expression.") from None
