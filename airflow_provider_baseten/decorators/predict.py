"""``@task.baseten_predict``: the function returns the model input, the task returns the model's output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.decorators.base import BasetenDecoratedOperator, decorator_of
from airflow_provider_baseten.operators.predict import BasetenPredictOperator, PredictTaskOptions
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from airflow_provider_baseten.compat import TaskDecorator


class BasetenPredictDecoratedOperator(BasetenDecoratedOperator, BasetenPredictOperator):
    """Operator that runs a model with the return value of a function as its input."""

    template_fields = (*BasetenDecoratedOperator.template_fields, *BasetenPredictOperator.template_fields)
    payload_fields = (*BasetenDecoratedOperator.payload_fields, *BasetenPredictOperator.payload_fields)
    input_field = "model_input"
    custom_operator_name = "@task.baseten_predict"


@takes_arguments_of(BasetenPredictOperator, without=("model_input",))
def baseten_predict(
    python_callable: Callable[..., Any] | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Unpack[PredictTaskOptions],
) -> "TaskDecorator":
    """Run a model, or a chain's ``run_remote``, with the return value of the function as its input; return the output.

    It is used as ``@task.baseten_predict(model_id="abcd1234")``. A retry calls the function again and sends its return
    value. With ``deferrable=True``, a retry uses a response that has arrived if the function returns the same input.

    The other arguments are those of ``BasetenPredictOperator``, such as ``model_id`` or ``chain_id``,
    ``environment`` or ``deployment_id``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``deferrable``, and
    Airflow's own.

    :param python_callable: the function; it returns the model input, never ``None``.
    :param multiple_outputs: push each field of the output, which must be an object, as an XCom of its own too; by
        default false.
    :returns: a decorator whose tasks return the model's output.
    :raises BasetenError: see the operator.

    https://docs.baseten.co/inference/calling-your-model
    """
    return decorator_of(BasetenPredictDecoratedOperator, python_callable, multiple_outputs=multiple_outputs, **kwargs)
