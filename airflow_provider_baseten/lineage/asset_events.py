"""Counts in the events of a task's assets: how many rows, requests and tokens a new version of an asset took."""

from collections.abc import Iterable
from typing import Any

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.lineage.assets import asset_uri


def add_counts(context: Any, outlets: Iterable[Any], summary: TaskSummary) -> None:
    """Add what a task has done to the ``extra`` of the events of its outlets. Keys that are there stay as they are.

    For an asset alias, the events that the task has added so far get the counts.

    :param context: context of the task.
    :param outlets: outlets of the task; those that are no assets are left out.
    """
    from airflow.sdk import Asset, AssetAlias

    from airflow_provider_baseten.compat import AssetRef

    events, counts = context["outlet_events"], event_extra(summary)
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            extras = [event.extra for event in events[outlet].asset_alias_events]
        elif isinstance(outlet, Asset | AssetRef):
            extras = [events[outlet].extra]
        else:
            continue
        for extra in extras:
            extra.update({name: value for name, value in counts.items() if name not in extra})


def event_extra(summary: TaskSummary) -> dict[str, Any]:
    """Return what the event of an asset says about a task: counts, ids and URIs, as far as they are known.

    A task with several requests or outputs has no ``request_id`` or ``output``.
    """
    fields = {
        "model": None if summary.target is None else asset_uri(summary.target, summary.model),
        "request_id": summary.request_ids[0] if len(summary.request_ids) == 1 else None,
        "requests": summary.requests,
        "rows": summary.rows,
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "tokens": dict(summary.tokens) or None,
        "output": summary.outputs[0] if len(summary.outputs) == 1 else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
