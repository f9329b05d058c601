"""Instance types and their prices, in the management API."""

from airflow_provider_baseten.emulator.instance_types import PRICES
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace


def _list(_: Workspace, __: ManagementRequest) -> Content:
    return {"instance_types": [instance_type.as_json() for instance_type in PRICES]}


def _list_prices(_: Workspace, __: ManagementRequest) -> Content:
    return {
        "instance_types": [
            {"instance_type": instance_type.as_json(), "price": price} for instance_type, price in PRICES.items()
        ]
    }


ROUTES = (
    Route("GET", "instance_types", _list),
    Route("GET", "instance_type_prices", _list_prices),
)
