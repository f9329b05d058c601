"""Instance types and their prices."""

from decimal import Decimal

from airflow_provider_baseten.api.management.call import Call, get, reads
from airflow_provider_baseten.api.management.resource import Resource


class InstanceType(Resource):
    """Instance type: CPUs in thousandths, memory in MiB, and GPUs."""

    id: str
    name: str = ""
    memory_limit_mib: int | None = None
    millicpu_limit: int | None = None
    gpu_count: int = 0
    gpu_type: str | None = None
    gpu_memory_limit_mib: int | None = None


class InstancePrice(Resource):
    """Instance type with its price in USD per minute."""

    instance_type: InstanceType
    price: Decimal


def list_instance_types() -> Call[list[InstanceType]]:
    """Return all instance types."""
    return get("/v1/instance_types", "listing the instance types", reads(list[InstanceType], "instance_types"))


def list_instance_prices() -> Call[list[InstancePrice]]:
    """Return all instance types with their prices."""
    path = "/v1/instance_type_prices"
    return get(path, "listing the prices of instance types", reads(list[InstancePrice], "instance_types"))
