"""Audit logs: who changed what."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, TypedDict, Unpack

from pydantic import Field

from airflow_provider_baseten.api.management.body import millis
from airflow_provider_baseten.api.management.call import PagedCall, paged
from airflow_provider_baseten.api.management.path import chain_path, model_path
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.arguments import check_choice, check_count

_MAX_LIMIT = 200


class Actor(Resource):
    """Who made a change: a user, an API key or Baseten itself. Keys are shown as prefixes."""

    type: str
    email: str | None = None
    api_key_prefix: str | None = None
    api_key_name: str | None = None


class AuditLogEntry(Resource):
    """Change in the workspace. The fields of ``event_data`` depend on ``event_type``."""

    id: str
    created: Time
    event_type: str
    event_data: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None
    actor: Actor | None = None
    client_name: str | None = None
    client_version: str | None = None
    client_session_id: str | None = None


class AuditLogFilter(TypedDict, total=False):
    """Selection of entries.

    :param start: beginning of the time range, with a time zone.
    :param end: end of the time range, with a time zone.
    :param direction: ``DESC`` (default) for the newest entries first, or ``ASC``.
    :param limit: number of entries on a page, 1 to 200, by default 20.
    :param search: text that an entry must contain.
    :param event_type_groups: groups of events, for example ``PROMOTED`` or ``AUTOSCALING_SETTINGS``.
    :param sources: ``UI``, ``API``, ``MCP``, ``SYSTEM`` or ``OTHER``.
    """

    start: datetime | None
    end: datetime | None
    direction: str | None
    limit: int | None
    search: str | None
    event_type_groups: Collection[str] | None
    sources: Collection[str] | None
    user_ids: Collection[str] | None
    deployment_ids: Collection[str] | None
    chain_deployment_ids: Collection[str] | None
    environment_names: Collection[str] | None


def list_audit_logs(
    model_id: str | None = None, *, chain_id: str | None = None, **selection: Unpack[AuditLogFilter]
) -> PagedCall[AuditLogEntry]:
    """Return the audit log of the workspace, of a model or of a chain.

    :param model_id: id of the model; by default the whole workspace.
    :param chain_id: id of the chain, given instead of a model.
    :param selection: see :class:`AuditLogFilter`.
    """
    if selection.get("limit") is not None:
        check_count("limit", selection["limit"], 1, _MAX_LIMIT)
    if selection.get("direction") is not None:
        check_choice("direction", selection["direction"], ("DESC", "ASC"))
    where, of = "/v1", "the workspace"
    if model_id is not None:
        where, of = model_path(model_id), f"model {model_id}"
    elif chain_id is not None:
        where, of = chain_path(chain_id), f"chain {chain_id}"
    query = {name: value for name, value in selection.items() if name not in {"start", "end"}}
    query["start_epoch_millis"] = millis("start", selection.get("start"))
    query["end_epoch_millis"] = millis("end", selection.get("end"))
    return paged(
        f"{where}/audit_logs",
        f"reading the audit log of {of}",
        AuditLogEntry,
        **query,
    )
