"""Kinds of watches, by their names in the arguments of a trigger."""

from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten.waiting.management.autoscaling import AutoscalingWatch
from airflow_provider_baseten.waiting.management.deployment import DeploymentWatch
from airflow_provider_baseten.waiting.management.promotion import PromotionWatch
from airflow_provider_baseten.waiting.management.training import TrainingWatch
from airflow_provider_baseten.waiting.management.watch import Watch

_KINDS: dict[str, type[Watch]] = {
    kind.kind: kind for kind in (AutoscalingWatch, DeploymentWatch, PromotionWatch, TrainingWatch)
}


def watch_from(fields: Mapping[str, Any]) -> Watch:
    """Restore a watch from its fields.

    :raises KeyError: the kind is unknown, because the watch is of a newer version of the package.
    """
    return _KINDS[fields["kind"]].from_fields(fields)
