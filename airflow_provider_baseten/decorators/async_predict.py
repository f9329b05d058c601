"""Decorator ``@task.baseten_async_predict``: the function returns the model input, the task returns the output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.decorators.base import BasetenDecoratedOperator, decorator_of
from airflow_provider_baseten.operators.async_predict import AsyncPredictTaskOptions, BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from airflow_provider_baseten.compat import TaskDecorator


class BasetenAsyncPredictDecoratedOperator(BasetenDecoratedOperator, BasetenAsyncPredictOperator):
    """Operator that calls a function and queues a prediction with the return value as the model input."""

    template_fields = (*BasetenDecoratedOperator.template_fields, *BasetenAsyncPredictOperator.template_fields)
    hidden_fields = (*BasetenDecoratedOperator.hidden_fields, *BasetenAsyncPredictOperator.hidden_fields)
    native_fields = (*BasetenDecoratedOperator.native_fields, *BasetenAsyncPredictOperator.native_fields)
    input_field = "model_input"
    custom_operator_name = "@task.baseten_async_predict"


@takes_arguments_of(BasetenAsyncPredictOperator, without=("model_input",))
def baseten_async_predict(
    python_callable: Callable[..., Any] | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Unpack[AsyncPredictTaskOptions],
) -> "TaskDecorator":
    """Queue a prediction with the return value of the function as the input, wait for the output and return it.

    Use the decorator as ``@task.baseten_async_predict(model_id="abcd1234")``. A retry calls the function again. If the
    function returns the same input as before, the retry waits for the request that was already sent. If the input
    differs, for example because it contains the current time, the retry cancels or abandons the earlier request. A
    second request is then sent and billed.

    The other arguments are those of ``BasetenAsyncPredictOperator``. They include ``model_id``, ``chain_id``,
    ``environment``, ``deployment_id``, ``baseten_conn_id``, ``output_path``, ``timeout`` and ``deferrable``,
    and the arguments of every Airflow operator.

    :param python_callable: the decorated function. It must return the model input, which can't be ``None``.
    :param multiple_outputs: whether to push each field of the output as an XCom of its own too, by default false. If
        true, the output must be an object.
    :returns: a decorator whose tasks return the model's output.
    :raises BasetenError: see the operator.

    https://docs.baseten.co/inference/async
    """
    return decorator_of(
        BasetenAsyncPredictDecoratedOperator, python_callable, multiple_outputs=multiple_outputs, **kwargs
    )
