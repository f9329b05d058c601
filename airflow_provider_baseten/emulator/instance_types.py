"""Instance types of deployments and training jobs, and their prices."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class InstanceType:
    """Instance type.

    :param id: id.
    :param name: name.
    :param millicpu_limit: CPU in thousandths of a core.
    :param memory_limit_mib: memory in MiB.
    :param gpu_count: number of GPUs.
    :param gpu_type: kind of the GPUs, ``None`` without GPU.
    :param gpu_memory_limit_mib: memory of a GPU in MiB.
    """

    id: str
    name: str
    millicpu_limit: int
    memory_limit_mib: int
    gpu_count: int = 0
    gpu_type: str | None = None
    gpu_memory_limit_mib: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the instance type in the form of Baseten's API."""
        return asdict(self)


DEFAULT_INSTANCE_TYPE = InstanceType("1x2", "1x2", 1000, 2048)
#: Types and prices in USD a minute. They are examples: prices change, and a workspace has its own.
PRICES = {
    DEFAULT_INSTANCE_TYPE: 0.00058,
    InstanceType("4x16", "4x16", 4000, 16_384): 0.00346,
    InstanceType("L4:4x16", "L4:4x16", 4000, 16_384, 1, "L4", 24_576): 0.01414,
    InstanceType("H100:26x234", "H100:26x234", 26_000, 239_616, 1, "H100", 81_920): 0.10833,
}


def find_instance_type(id_: str) -> InstanceType:
    """Return an instance type.

    :raises KeyError: there is no such instance type.
    """
    return {instance_type.id: instance_type for instance_type in PRICES}[id_]


def price(instance_type: InstanceType) -> float:
    """Return the price in USD a minute; that of the default type for a type that is not listed."""
    return PRICES.get(instance_type, PRICES[DEFAULT_INSTANCE_TYPE])


def make_training_instance_type(cpu_count: int, memory_mib: int, accelerator: str | None, count: int) -> InstanceType:
    """Return the instance type of a node of a training job."""
    resources = f"{cpu_count}x{memory_mib // 1024}"
    if accelerator is None:
        return InstanceType(resources, resources, cpu_count * 1000, memory_mib)
    name = f"{accelerator}:{count}:{resources}"
    return InstanceType(name, name, cpu_count * 1000, memory_mib, count, accelerator, 81_920)
