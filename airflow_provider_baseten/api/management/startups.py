"""Startups of replicas: how long each phase took."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from pydantic import Field

from airflow_provider_baseten.api.management.body import millis
from airflow_provider_baseten.api.management.call import Call, PagedCall, get, paged, reads
from airflow_provider_baseten.api.management.path import model_target, path_of
from airflow_provider_baseten.api.management.resource import EpochMillis, Resource
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_choice, check_count

StartupOutcome = Literal["SUCCESS", "FAILED", "STALLED"]


class StartupPhase(Resource):
    """Phase of a startup; ``offset_ms`` counts from the beginning of the startup."""

    phase: str
    status: str = ""
    offset_ms: int | None = None
    duration_ms: int | None = None


class Startup(Resource):
    """Attempt to start a replica. ``ready_at`` is ``None`` if the replica did not become ready."""

    deployment_id: str | None = None
    model_id: str | None = None
    deployment_name: str | None = None
    environment_name: str | None = None
    replica_id: str | None = None
    started_at_epoch_millis: EpochMillis | None = None
    ready_at_epoch_millis: EpochMillis | None = None
    duration_ms: int | None = None
    outcome: str
    phase_summary: list[StartupPhase] = Field(default_factory=list)


class Durations(Resource):
    """Mean and percentiles of durations in milliseconds; ``None`` without samples."""

    sample_count: int = 0
    mean_ms: int | None = None
    p50_ms: int | None = None
    p90_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None


class PhaseDurations(Resource):
    """Durations of a phase."""

    phase: str
    duration_ms: Durations


class StartupSummary(Resource):
    """Durations of the startups in a time range, out of the 1,000 most recent."""

    total_duration_ms: Durations
    phase_duration_ms: list[PhaseDurations] = Field(default_factory=list)
    start_epoch_millis: EpochMillis | None = None
    end_epoch_millis: EpochMillis | None = None


def list_startups(
    target: Target,
    *,
    start: datetime,
    end: datetime,
    min_duration_ms: int | None = None,
    outcomes: Collection[StartupOutcome] | None = None,
    limit: int | None = None,
) -> PagedCall[Startup]:
    """Return the startups of a deployment or an environment of a model.

    :param start: beginning of the time range, with a time zone.
    :param end: end of the time range, with a time zone.
    :param min_duration_ms: leaves out shorter startups.
    :param outcomes: restricts the list to these outcomes.
    :param limit: number of startups on a page.
    """
    for outcome in outcomes or ():
        check_choice("outcomes", outcome, ("SUCCESS", "FAILED", "STALLED"))
    if limit is not None:
        check_count("limit", limit, 1)
    return paged(
        f"{path_of(model_target(target, 'startups'))}/startups",
        f"listing the startups of {target}",
        Startup,
        start_epoch_millis=millis("start", start),
        end_epoch_millis=millis("end", end),
        min_duration_ms=min_duration_ms,
        outcomes=None if outcomes is None else list(outcomes),
        limit=limit,
    )


def get_startup_summary(
    target: Target, *, start: datetime, end: datetime, min_duration_ms: int | None = None
) -> Call[StartupSummary]:
    """Return mean and percentiles of the startups of a deployment or an environment of a model.

    :param start: beginning of the time range, with a time zone.
    :param end: end of the time range, with a time zone.
    :param min_duration_ms: leaves out shorter startups.
    """
    return get(
        f"{path_of(model_target(target, 'startups'))}/startups/summary",
        f"reading the summary of startups of {target}",
        reads(StartupSummary),
        start_epoch_millis=millis("start", start),
        end_epoch_millis=millis("end", end),
        min_duration_ms=min_duration_ms,
    )
