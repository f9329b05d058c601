"""What all TaskFlow decorators share."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_baseten.compat import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    determine_kwargs,
    task_decorator_factory,
)
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.base import BasetenOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.compat import TaskDecorator


class BasetenDecoratedOperator(DecoratedOperator, BasetenOperator):
    """Calls a function and hands what it returns to the operator after it in the class's bases.

    The function runs on the worker once in each attempt, before anything is sent, and not again when a deferred task
    resumes. What it returns is taken as it is: nothing of it is rendered by Jinja, logged or shown. What it raises,
    ``AirflowSkipException`` for example, is the end of the task.

    A subclass names the operator's argument in ``input_field``, says with ``takes_generator`` whether the function may
    yield it, and has the template and payload fields of both.

    :param python_callable: the function; it may take the variables of the task's context by their names.
    :param op_args: its arguments. (templated, not shown among the rendered templates)
    :param op_kwargs: its keyword arguments. (templated, not shown)
    """

    payload_fields: ClassVar[tuple[str, ...]] = ("op_args", "op_kwargs")
    input_field: ClassVar[str]
    takes_generator: ClassVar[bool] = False
    custom_operator_name: ClassVar[str]

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        if self.input_field in kwargs:
            raise BasetenInputError(
                f"{self.input_field} is what the function {_name(python_callable)} returns: don't give it to "
                f"{self.custom_operator_name}."
            )
        generator = inspect.isgeneratorfunction(python_callable) and not self.takes_generator
        if generator or inspect.iscoroutinefunction(python_callable):
            raise BasetenInputError(
                f"{self.custom_operator_name} takes a function that returns {self.input_field}: "
                f"{_name(python_callable)} is asynchronous or a generator."
            )
        kwargs[self.input_field] = SET_DURING_EXECUTION
        super().__init__(python_callable=python_callable, **kwargs)

    def run_task(self, context: "Context") -> Any:
        """Call the function, then do with what it returned what the operator does.

        :raises BasetenInputError: it returned nothing.
        """
        # Arguments may be called like a variable of the context, which the operator still needs.
        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        value = self.python_callable(*self.op_args, **kwargs)
        if value is None:
            raise BasetenInputError(
                f"The function {_name(self.python_callable)} returned nothing; it has to return {self.input_field}."
            )
        self.take_input(value)
        return super().run_task(context)

    def take_input(self, value: Any) -> None:
        """Give the operator what the function returned."""
        setattr(self, self.input_field, value)


def decorator_of(
    operator: type[BasetenDecoratedOperator],
    python_callable: Callable[..., Any] | None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Any,
) -> "TaskDecorator":
    """Return the decorator that makes tasks of a decorated operator.

    :param operator: the class.
    :param python_callable: the function, if the decorator is used without arguments.
    :param multiple_outputs: push each field of the output, which must be an object, as an XCom of its own too. Not
        taken from the annotation of the function, which is that of the input.
    :param kwargs: arguments of the operator.
    """
    return task_decorator_factory(
        python_callable, multiple_outputs=multiple_outputs, decorated_operator_class=operator, **kwargs
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
