"""Decorator ``@task.baseten_batch``: the function returns or yields rows, the task runs the model over them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.decorators.base import BasetenDecoratedOperator, decorator_of
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator, BatchTaskOptions
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from airflow_provider_baseten.compat import TaskDecorator


class BasetenBatchDecoratedOperator(BasetenDecoratedOperator, BasetenBatchPredictOperator):
    """Operator that runs a model over the rows that a function returns or yields."""

    template_fields = (*BasetenDecoratedOperator.template_fields, *BasetenBatchPredictOperator.template_fields)
    hidden_fields = (*BasetenDecoratedOperator.hidden_fields, *BasetenBatchPredictOperator.hidden_fields)
    native_fields = (*BasetenDecoratedOperator.native_fields, *BasetenBatchPredictOperator.native_fields)
    input_field = "inputs"
    takes_generator = True
    custom_operator_name = "@task.baseten_batch"


@takes_arguments_of(BasetenBatchPredictOperator, without=("inputs", "input_path"))
def baseten_batch(
    python_callable: Callable[..., Iterable[Any]] | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Unpack[BatchTaskOptions],
) -> "TaskDecorator":
    """Run a model over the rows that the function returns or yields, and return the manifest of the outputs.

    Use the decorator as
    ``@task.baseten_batch(model_id="abcd1234", output_path="s3://conn@bucket/{{ dag_run.run_after | ds }}")``.
    Rows that the function yields are sent as they come, so that they are never all in memory. A retry calls the
    function again, skips the rows that already have an output, and sends the others. Therefore the function must give
    the same rows in the same order in every attempt.

    The manifest contains the URIs of the outputs and the number of failed rows.

    The other arguments are those of ``BasetenBatchPredictOperator``. They include ``model_id``, ``chain_id``,
    ``environment``, ``deployment_id``, ``baseten_conn_id``, ``output_path``, ``timeout`` and ``preset``,
    and the arguments of every Airflow operator.

    :param python_callable: the decorated function. It returns or yields the rows. A row can be any JSON value.
    :param multiple_outputs: whether to push each field of the manifest as an XCom of its own too, by default false.
    :returns: a decorator whose tasks return the manifest.
    :raises BasetenError: see the operator.

    https://docs.baseten.co/inference/calling-your-model
    """
    return decorator_of(BasetenBatchDecoratedOperator, python_callable, multiple_outputs=multiple_outputs, **kwargs)
