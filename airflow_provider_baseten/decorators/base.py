"""Base of the TaskFlow decorators."""

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
    """Base of operators that call a decorated function and send its return value to a model as the input.

    The function runs on the worker once in each attempt, before anything is sent. It does not run again when a
    deferred task resumes. The return value is sent unchanged: it is neither rendered by Jinja, nor logged or shown.
    An exception in the function, for example ``AirflowSkipException``, ends the task.

    A subclass has two bases: first this class, then the operator that sends the input. The subclass sets
    ``input_field`` to the name of the operator's input argument, and ``takes_generator`` to true if the function may
    yield the input. The subclass must also set ``template_fields``, ``hidden_fields`` and ``native_fields``. Each of
    the three must contain the fields of both bases.

    :param python_callable: the function. If it has a parameter named like a variable of the task's context, for example
        ``ti``, the parameter gets that variable.
    :param op_args: positional arguments of the function. (templated, not shown among the rendered templates)
    :param op_kwargs: keyword arguments of the function. (templated, not shown among the rendered templates)

    :raises BasetenInputError: the function is asynchronous; or it is a generator although ``takes_generator`` is false;
        or the user passes the argument that ``input_field`` names, although the function returns the input.
    """

    hidden_fields: ClassVar[tuple[str, ...]] = ("op_args", "op_kwargs")
    native_fields: ClassVar[tuple[str, ...]] = ("op_args", "op_kwargs")
    input_field: ClassVar[str]
    takes_generator: ClassVar[bool] = False
    custom_operator_name: ClassVar[str]

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        if self.input_field in kwargs:
            raise BasetenInputError(
                f"{self.input_field} is the return value of the function {_name(python_callable)}: remove the argument "
                f"{self.input_field} of {self.custom_operator_name}."
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
        """Call the function, and run the operator with the return value as its input.

        :raises BasetenInputError: the function returned ``None``.
        """
        # The context and op_kwargs are merged into a new dict. If op_kwargs were merged into the context itself, they
        # could replace variables that the operator still needs.
        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        value = self.python_callable(*self.op_args, **kwargs)
        if value is None:
            raise BasetenInputError(
                f"The function {_name(self.python_callable)} returned nothing; it has to return {self.input_field}."
            )
        self.take_input(value)
        return super().run_task(context)

    def take_input(self, value: Any) -> None:
        """Set the operator's input to the return value of the function."""
        setattr(self, self.input_field, value)


def decorator_of(
    operator: type[BasetenDecoratedOperator],
    python_callable: Callable[..., Any] | None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Any,
) -> "TaskDecorator":
    """Return a TaskFlow decorator whose tasks are of the class ``operator``.

    :param operator: class of the tasks.
    :param python_callable: the decorated function if the decorator is used without parentheses, ``None`` if it is
        called with arguments.
    :param multiple_outputs: whether to push each field of the output as an XCom of its own too. The output must then be
        an object. Airflow would infer this flag from the return annotation of the function, but here that annotation
        describes the input.
    :param kwargs: arguments of the operator.
    """
    return task_decorator_factory(
        python_callable, multiple_outputs=multiple_outputs, decorated_operator_class=operator, **kwargs
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
