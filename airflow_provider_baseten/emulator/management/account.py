"""User and organization of the API key, and regions."""

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace

_USER = {"user_id": "emulator", "email": None, "name": "Emulator", "workspace_name": "emulator"}


def _get_user(_: Workspace, __: ManagementRequest) -> Content:
    return _USER


def _get_organization(workspace: Workspace, _: ManagementRequest) -> Content:
    created_at = timestamp(workspace.created_at)
    return {"org_id": "emulator", "name": "Emulator", "created_at": created_at, "aws_assume_role": None}


def _list_regions(_: Workspace, __: ManagementRequest) -> Content:
    return {"regions": [{"slug": "local", "display_name": "This machine"}]}


ROUTES = (
    Route("GET", "users/me", _get_user),
    Route("GET", "organizations/me", _get_organization),
    Route("GET", "regions", _list_regions),
)
