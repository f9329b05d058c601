"""Decorator ``@task.baseten_predict``: the function returns the model input, the task returns the output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.decorators.base import BasetenDecoratedOperator, decorator_of
from airflow_provider_baseten.operators.predict import BasetenPredictOperator, PredictTaskOptions
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from airflow_provider_baseten.compat import TaskDecorator


class BasetenPredictDecoratedOperator(BasetenDecoratedOperator, BasetenPredictOperator):
    """Operator that calls a function and runs a model with the return value as the input."""

    template_fields = (*BasetenDecoratedOperator.template_fields, *BasetenPredictOperator.template_fields)
    hidden_fields = (*BasetenDecoratedOperator.hidden_fields, *BasetenPredictOperator.hidden_fields)
    native_fields = (*BasetenDecoratedOperator.native_fields, *BasetenPredictOperator.native_fields)
    input_field = "model_input"
    custom_operator_name = "@task.baseten_predict"


@takes_arguments_of(BasetenPredictOperator, without=("model_input",))
def baseten_predict(
    python_callable: Callable[..., Any] | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Unpack[PredictTaskOptions],
) -> "TaskDecorator":
    """Run a model or a chain's ``run_remote`` with the return value of the function as input, and return the output.

    Use the decorator as ``@task.baseten_predict(model_id="abcd1234")``. A retry calls the function again and sends the
    new return value. With ``deferrable=True``, a retry does not send again if the function returns the same input as
    before and the response to the earlier attempt has arrived. The retry then uses that response.

    The other arguments are those of ``BasetenPredictOperator``. They include ``model_id``, ``chain_id``,
    ``environment``, ``deployment_id``, ``baseten_conn_id``, ``output_path``, ``timeout`` and ``deferrable``,
    and the arguments of every Airflow operator.

    :param python_callable: the decorated function. It must return the model input, which can't be ``None``.
    :param multiple_outputs: whether to push each field of the output as an XCom of its own too, by default false. If
        true, the output must be an object.
    :returns: a decorator whose tasks return the model's output.
    :raises BasetenError: see the operator.

    https://docs.baseten.co/inference/calling-your-model
    """
    return decorator_of(BasetenPredictDecoratedOperator, python_callable, multiple_outputs=multiple_outputs, **kwargs)
