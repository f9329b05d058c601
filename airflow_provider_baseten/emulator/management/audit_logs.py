"""Audit logs of the workspace, of a model and of a chain."""

import json

from airflow_provider_baseten.emulator.management.audit_log import AuditLogEntry
from airflow_provider_baseten.emulator.management.pages import paginate
from airflow_provider_baseten.emulator.management.queries import read_choice, read_choices, read_integer, read_text
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace

_SOURCES = ("UI", "API", "MCP", "SYSTEM", "OTHER")
# Group -> how the types of its events end. The emulator writes no entries of the other groups.
_GROUPS: dict[str, tuple[str, ...]] = {
    "DEPLOYED": ("_DEPLOYED", "_RETRIED"),
    "PROMOTED": ("_PROMOTED", "_PROMOTION_CONTROL_ACTION"),
    "ACTIVATED_DEACTIVATED": ("_ACTIVATED", "_DEACTIVATED"),
    "AUTOSCALING_SETTINGS": ("_AUTOSCALING_SETTINGS_CHANGED",),
    "REQUEST_BACKPRESSURE_SETTINGS": ("_REQUEST_BACKPRESSURE_SETTINGS_CHANGED",),
    "INSTANCE_TYPE_CHANGED": ("_INSTANCE_TYPE_CHANGED",),
    "ENVIRONMENT_SETTINGS": ("ENVIRONMENT_CREATED", "ENVIRONMENT_UPDATED", "ENVIRONMENT_DELETED"),
    "REPLICA_TERMINATED": ("REPLICA_TERMINATED",),
    "DELETED": ("MODEL_DELETED", "CHAIN_DELETED", "_DEPLOYMENT_DELETED"),
    "METADATA": ("_RENAMED",),
    **dict.fromkeys(
        (
            "SECRETS",
            "API_KEYS",
            "GATEWAY",
            "CODE",
            "WEBHOOK_SIGNING_SECRETS",
            "USER_MANAGEMENT",
            "DIRECTORY_GROUP_MANAGEMENT",
            "SSH",
        ),
        (),
    ),
}
_LISTS = {
    "deployment_ids": "deployment_id",
    "chain_deployment_ids": "chain_deployment_id",
    "environment_names": "environment_name",
}


def _list_all(workspace: Workspace, request: ManagementRequest) -> Content:
    return _list(request, list(workspace.audit_log.entries))


def _list_of_model(workspace: Workspace, request: ManagementRequest) -> Content:
    id_ = workspace.find_endpoint("model", request.parameters["id"]).id
    return _list(request, [entry for entry in workspace.audit_log.entries if entry.event_data.get("model_id") == id_])


def _list_of_chain(workspace: Workspace, request: ManagementRequest) -> Content:
    id_ = workspace.find_endpoint("chain", request.parameters["id"]).id
    return _list(request, [entry for entry in workspace.audit_log.entries if entry.event_data.get("chain_id") == id_])


def _list(request: ManagementRequest, entries: list[AuditLogEntry]) -> Content:
    groups = read_choices(request, "event_type_groups", _GROUPS)
    endings = tuple(ending for group in groups for ending in _GROUPS[group])
    sources = read_choices(request, "sources", _SOURCES)
    start = read_integer(request, "start_epoch_millis", 0) or 0
    end = read_integer(request, "end_epoch_millis", 0)
    search = (read_text(request, "search") or "").lower()
    named = {field: request.query[name] for name, field in _LISTS.items() if name in request.query}
    selected = [
        entry
        for entry in entries
        if (not groups or entry.event_type.endswith(endings))
        and (not sources or "API" in sources)
        and not request.query.get("user_ids")
        and start <= entry.created * 1000
        and (end is None or entry.created * 1000 <= end)
        and all(entry.event_data.get(field) in names for field, names in named.items())
        and search in json.dumps(entry.as_json()).lower()
    ]
    if (read_choice(request, "direction", ("DESC", "ASC")) or "DESC") == "DESC":
        selected.reverse()
    return paginate(request, [entry.as_json() for entry in selected], maximum=200, default=20)


ROUTES = (
    Route("GET", "audit_logs", _list_all),
    Route("GET", "models/{id}/audit_logs", _list_of_model),
    Route("GET", "chains/{id}/audit_logs", _list_of_chain),
)
