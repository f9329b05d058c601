"""JSON schema of a model's input and output, made from type annotations."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel


def describe_types(first_method: Callable[..., Any], last_method: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the schema of a model's input and output, ``None`` if the type annotations describe neither of them.

    :param first_method: method that takes the input.
    :param last_method: method that returns the output.
    """
    parameters = list(inspect.signature(first_method).parameters.values())
    input_type = parameters[0].annotation if parameters else None
    input_schema = _json_schema(input_type)
    output = _read_output_type(inspect.signature(last_method).return_annotation)
    if input_schema is None and output is None:
        return None
    output_type, is_stream = output or (None, None)
    return {
        "input_schema": input_schema,
        "output_schema": _json_schema(output_type),
        "supports_streaming": is_stream,
    }


def _read_output_type(annotation: Any) -> tuple[type[BaseModel] | None, bool] | None:
    """Return the pydantic model of the output, and whether the output can be a stream.

    The annotation can be a pydantic model (or an awaitable of one), an iterator, or a ``Union`` of the two. For an
    iterator alone, the output is always a stream, and the first returned value is ``None``. An annotation of any other
    kind, such as ``str``, does not describe the output, and the function returns ``None`` instead of two values.
    """
    if is_pydantic_model(annotation):
        return annotation, False
    if _is_iterator(annotation):
        return None, True
    if (awaited := _awaited_model(annotation)) is not None:
        return awaited, False
    if get_origin(annotation) is Union:
        choices = get_args(annotation)
        models = [
            model for choice in choices if (model := choice if is_pydantic_model(choice) else _awaited_model(choice))
        ]
        if len(choices) == 2 and len(models) == 1 and any(map(_is_iterator, choices)):
            return models[0], True
    return None


def is_pydantic_model(annotation: Any) -> bool:
    """Return whether a type annotation is a pydantic model."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _awaited_model(annotation: Any) -> type[BaseModel] | None:
    if not _is_generic_of(annotation, Awaitable):
        return None
    (awaited,) = get_args(annotation)
    return awaited if is_pydantic_model(awaited) else None


def _is_iterator(annotation: Any) -> bool:
    return _is_generic_of(annotation, Iterator, AsyncIterator)


def _is_generic_of(annotation: Any, *bases: type) -> bool:
    origin = get_origin(annotation)
    return inspect.isclass(origin) and issubclass(origin, bases)


def _json_schema(annotation: Any) -> dict[str, Any] | None:
    return annotation.model_json_schema() if is_pydantic_model(annotation) else None
