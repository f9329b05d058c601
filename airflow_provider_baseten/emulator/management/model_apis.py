"""Model APIs: the models, their prices and their use."""

from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.management.pages import paginate
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.model_apis import describe_model


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    models = [describe_model(slug, workspace.model_prices.get(slug)) for slug in workspace.model_apis]
    return paginate(request, models, maximum=1000)


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    slug = request.parameters["slug"]
    if slug not in workspace.model_apis:
        raise GatewayError(404, f"Model API {slug[:80]} does not exist.")
    return describe_model(slug, workspace.model_prices.get(slug))


ROUTES = (
    Route("GET", "model_apis", _list),
    Route("GET", "model_apis/{slug}", _get),
)
