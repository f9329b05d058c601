"""Logs of models and chainlets."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal, TypedDict, Unpack, get_args

from airflow_provider_baseten.api.management.body import millis
from airflow_provider_baseten.api.management.call import Call, get, reads
from airflow_provider_baseten.api.management.path import chain_path, model_target, path_of, segment
from airflow_provider_baseten.api.management.resource import EpochNanos, Resource
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_choice, check_count, check_texts
from airflow_provider_baseten.exceptions import BasetenInputError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Direction = Literal["asc", "desc"]

#: Largest number of lines in one call.
MAX_LINES = 1000
_MAX_WORDS = 8


class LogLine(Resource):
    """Line of a log."""

    timestamp: EpochNanos
    message: str
    replica: str | None = None
    request_id: str | None = None
    level: str | None = None


class LogFilter(TypedDict, total=False):
    """Selection of log lines.

    :param start: beginning of the time range, with a time zone; by default 30 minutes before its end.
    :param end: end of the time range, with a time zone, by default now; at most 7 days after the beginning.
    :param direction: ``asc`` for the oldest lines first, ``desc`` for the newest lines first.
    :param limit: number of lines, 1 to 1000, by default 500.
    :param min_level: leaves out lines of lower levels: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    :param replica: id of a replica.
    :param request_id: id of a request: only lines that the model wrote for this request.
    :param search_pattern: regular expression in the syntax of RE2.
    :param includes: texts, at most 8, that a line must contain.
    :param excludes: texts, at most 8, that a line must not contain.
    """

    start: datetime | None
    end: datetime | None
    direction: Direction | None
    limit: int | None
    min_level: LogLevel | None
    replica: str | None
    request_id: str | None
    component: str | None
    search_pattern: str | None
    includes: Collection[str] | None
    excludes: Collection[str] | None


def get_logs(target: Target, **selection: Unpack[LogFilter]) -> Call[list[LogLine]]:
    """Return lines of the log of a deployment or an environment of a model.

    :param selection: see :class:`LogFilter`.
    :raises BasetenInputError: the target is a chain, whose chainlets have logs; or a filter is not valid.
    """
    path = f"{path_of(model_target(target, 'logs of a whole chain'))}/logs"
    return get(path, f"reading the logs of {target}", reads(list[LogLine], "logs"), **log_query(selection))


def get_chainlet_logs(
    chain_id: str, deployment_id: str, chainlet_id: str, **selection: Unpack[LogFilter]
) -> Call[list[LogLine]]:
    """Return lines of the log of a chainlet.

    :param deployment_id: id of the deployment of the chain.
    :param chainlet_id: id of the chainlet in this deployment.
    :param selection: see :class:`LogFilter`.
    """
    deployment = f"{chain_path(chain_id)}/deployments/{segment('deployment_id', deployment_id)}"
    path = f"{deployment}/chainlets/{segment('chainlet_id', chainlet_id)}/logs"
    subject = f"reading the logs of chainlet {chainlet_id} of chain {chain_id}"
    return get(path, subject, reads(list[LogLine], "logs"), **log_query(selection))


def log_query(selection: LogFilter) -> dict[str, object]:
    """Return the query of a selection.

    :raises BasetenInputError: a filter is not valid.
    """
    if selection.get("limit") is not None:
        check_count("limit", selection["limit"], 1, MAX_LINES)
    if selection.get("direction") is not None:
        check_choice("direction", selection["direction"], get_args(Direction))
    if selection.get("min_level") is not None:
        check_choice("min_level", selection["min_level"], get_args(LogLevel))
    check_texts(**{name: selection.get(name) for name in ("replica", "request_id", "component", "search_pattern")})
    for name in ("includes", "excludes"):
        words = selection.get(name)
        if isinstance(words, str) or len(words or ()) > _MAX_WORDS:  # type: ignore[arg-type]
            raise BasetenInputError(f"{name} takes a list of at most {_MAX_WORDS} texts.")
    plain = {name: value for name, value in selection.items() if name not in {"start", "end"}}
    start, end = millis("start", selection.get("start")), millis("end", selection.get("end"))
    return {**plain, "start_epoch_millis": start, "end_epoch_millis": end}
