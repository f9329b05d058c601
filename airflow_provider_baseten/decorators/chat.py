"""Decorator ``@task.baseten_chat``: the function returns the messages, the task returns the answer of the model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.decorators.base import BasetenDecoratedOperator, decorator_of
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator, ChatTaskOptions
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from airflow_provider_baseten.compat import TaskDecorator


class BasetenChatDecoratedOperator(BasetenDecoratedOperator, BasetenChatCompletionOperator):
    """Operator that calls a function, and sends the returned messages or text to a chat model."""

    template_fields = (*BasetenDecoratedOperator.template_fields, *BasetenChatCompletionOperator.template_fields)
    hidden_fields = (*BasetenDecoratedOperator.hidden_fields, *BasetenChatCompletionOperator.hidden_fields)
    native_fields = (*BasetenDecoratedOperator.native_fields, *BasetenChatCompletionOperator.native_fields)
    input_field = "messages"
    custom_operator_name = "@task.baseten_chat"

    def take_input(self, value: Any) -> None:
        """Set ``prompt`` if the function returned a string, or ``messages`` if it returned anything else."""
        self.messages, self.prompt = (None, value) if isinstance(value, str) else (value, None)


@takes_arguments_of(BasetenChatCompletionOperator, without=("messages", "prompt"))
def baseten_chat(
    python_callable: Callable[..., Any] | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Unpack[ChatTaskOptions],
) -> "TaskDecorator":
    """Send the return value of the function to a chat model, and return the answer.

    Use the decorator as ``@task.baseten_chat(model_id="abcd1234")``, or for Baseten's Model APIs as
    ``@task.baseten_chat(model_apis=True, model="...")``. A retry calls the function again and sends the new return
    value.

    The other arguments are those of ``BasetenChatCompletionOperator``. They include ``model_id``, ``chain_id``,
    ``environment``, ``deployment_id``, ``baseten_conn_id``, ``output_path``, ``timeout`` and ``response_format``,
    and the arguments of every Airflow operator.

    :param python_callable: the decorated function. It returns the messages, or the text of a single user message.
    :param multiple_outputs: whether to push each field of the answer as an XCom of its own too, by default false. If
        true, the answer must be an object, which ``response_format`` or ``tools`` can ensure.
    :returns: a decorator whose tasks return the answer.
    :raises BasetenError: see the operator.

    https://docs.baseten.co/inference/model-apis/overview
    """
    return decorator_of(BasetenChatDecoratedOperator, python_callable, multiple_outputs=multiple_outputs, **kwargs)
