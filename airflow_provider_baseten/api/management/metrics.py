"""Metrics of models."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal, get_args

from pydantic import Field

from airflow_provider_baseten.api.management.body import millis
from airflow_provider_baseten.api.management.call import Call, get, reads
from airflow_provider_baseten.api.management.path import model_target, path_of
from airflow_provider_baseten.api.management.resource import EpochMillis, Resource
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_choice
from airflow_provider_baseten.exceptions import BasetenInputError

MetricsMode = Literal["CURRENT", "SUMMARY", "SERIES"]


class MetricDescriptor(Resource):
    """Metric: its name, its unit and the labels of each of its values."""

    name: str
    unit_hint: str = ""
    kind: str = ""
    label_sets: list[dict[str, str]] = Field(default_factory=list)


class MetricValues(Resource):
    """Values at one time, a list for each metric and a value for each of its label sets."""

    start_epoch_millis: EpochMillis
    values: list[list[float | None]]


class Metrics(Resource):
    """Metrics of a model. The values are in the order of the descriptors."""

    mode: str
    step_seconds: int | None = None
    metric_descriptors: list[MetricDescriptor] = Field(default_factory=list)
    metric_values: list[MetricValues] = Field(default_factory=list)
    start_epoch_millis: EpochMillis | None = None
    end_epoch_millis: EpochMillis | None = None


def get_metrics(
    target: Target,
    *,
    mode: MetricsMode | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    metrics: Collection[str] | None = None,
) -> Call[Metrics]:
    """Return metrics of a deployment or an environment of a model.

    :param mode: ``CURRENT`` for the values now, without ``start`` and ``end``; ``SUMMARY`` for one value of the time
        range; ``SERIES`` for a value of each step.
    :param start: beginning of the time range, with a time zone; by default an hour before its end, at most 7 days.
    :param end: end of the time range, with a time zone, by default now.
    :param metrics: names of metrics, for example ``baseten_replicas_active``; by default three of them.
    :raises BasetenInputError: an argument is not valid, or Baseten does not know a name.
    """
    if mode is not None:
        check_choice("mode", mode, get_args(MetricsMode))
    if mode == "CURRENT" and (start is not None or end is not None):
        raise BasetenInputError("mode='CURRENT' takes neither start nor end.")
    return get(
        f"{path_of(model_target(target, 'metrics'))}/metrics",
        f"reading the metrics of {target}",
        reads(Metrics),
        mode=mode,
        start_epoch_millis=millis("start", start),
        end_epoch_millis=millis("end", end),
        metrics=None if metrics is None else list(metrics),
    )
