"""Model inference on Baseten from Apache Airflow.

The public names can be imported from here. Each is loaded on first use, which keeps this import fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_baseten.decorators.async_predict import baseten_async_predict
    from airflow_provider_baseten.decorators.batch import baseten_batch
    from airflow_provider_baseten.decorators.chat import baseten_chat
    from airflow_provider_baseten.decorators.predict import baseten_predict
    from airflow_provider_baseten.hooks.baseten import BasetenHook
    from airflow_provider_baseten.lineage.assets import baseten_asset
    from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
    from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
    from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
    from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
    from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
    from airflow_provider_baseten.operators.management.activation import (
        BasetenActivateDeploymentOperator,
        BasetenDeactivateDeploymentOperator,
    )
    from airflow_provider_baseten.operators.management.autoscaling import BasetenUpdateAutoscalingOperator
    from airflow_provider_baseten.operators.management.promotion import BasetenPromoteDeploymentOperator
    from airflow_provider_baseten.operators.management.training_job import BasetenTrainingJobOperator
    from airflow_provider_baseten.operators.management.wake import BasetenWakeOperator
    from airflow_provider_baseten.operators.predict import BasetenPredictOperator
    from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
    from airflow_provider_baseten.policies import BasetenRetryPolicy
    from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor
    from airflow_provider_baseten.sensors.deployment import BasetenDeploymentSensor
    from airflow_provider_baseten.storage.outputs import read_output
    from airflow_provider_baseten.triggers.result import BasetenResultTrigger

__all__ = [
    "BasetenActivateDeploymentOperator",
    "BasetenAsyncPredictOperator",
    "BasetenAsyncRequestSensor",
    "BasetenBatchPredictGroup",
    "BasetenBatchPredictOperator",
    "BasetenChatCompletionOperator",
    "BasetenDeactivateDeploymentOperator",
    "BasetenDeploymentSensor",
    "BasetenEmbeddingOperator",
    "BasetenHook",
    "BasetenPredictOperator",
    "BasetenPromoteDeploymentOperator",
    "BasetenResultTrigger",
    "BasetenRetryPolicy",
    "BasetenSyncRouteOperator",
    "BasetenTrainingJobOperator",
    "BasetenUpdateAutoscalingOperator",
    "BasetenWakeOperator",
    "baseten_asset",
    "baseten_async_predict",
    "baseten_batch",
    "baseten_chat",
    "baseten_predict",
    "read_output",
]

#: Maps each public name to its module. Two functions read this table: ``__getattr__`` below, and ``get_provider_info``.
MODULES = {
    "BasetenActivateDeploymentOperator": "operators.management.activation",
    "BasetenAsyncPredictOperator": "operators.async_predict",
    "BasetenAsyncRequestSensor": "sensors.async_request",
    "BasetenBatchPredictGroup": "operators.batch_group",
    "BasetenBatchPredictOperator": "operators.batch_predict",
    "BasetenChatCompletionOperator": "operators.chat_completion",
    "BasetenDeactivateDeploymentOperator": "operators.management.activation",
    "BasetenDeploymentSensor": "sensors.deployment",
    "BasetenEmbeddingOperator": "operators.embedding",
    "BasetenHook": "hooks.baseten",
    "BasetenPredictOperator": "operators.predict",
    "BasetenPromoteDeploymentOperator": "operators.management.promotion",
    "BasetenResultTrigger": "triggers.result",
    "BasetenRetryPolicy": "policies",
    "BasetenSyncRouteOperator": "operators.sync_route",
    "BasetenTrainingJobOperator": "operators.management.training_job",
    "BasetenUpdateAutoscalingOperator": "operators.management.autoscaling",
    "BasetenWakeOperator": "operators.management.wake",
    "baseten_asset": "lineage.assets",
    "baseten_async_predict": "decorators.async_predict",
    "baseten_batch": "decorators.batch",
    "baseten_chat": "decorators.chat",
    "baseten_predict": "decorators.predict",
    "read_output": "storage.outputs",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the module, including public names that are not loaded yet."""
    return sorted({*globals(), *__all__})
