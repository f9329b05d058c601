"""The JSON schema of a typed model, read from its annotations."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel


def describe_types(entry: Callable[..., Any], leave: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the schema of a model, ``None`` when neither its input nor its output is typed.

    :param entry: the method that takes the input.
    :param leave: the method that returns the output.
    """
    parameters = list(inspect.signature(entry).parameters.values())
    input_type = parameters[0].annotation if parameters else None
    input_schema = _json_schema(input_type)
    output = _output(inspect.signature(leave).return_annotation)
    if input_schema is None and output is None:
        return None
    output_type, streams = output or (None, None)
    return {
        "input_schema": input_schema,
        "output_schema": _json_schema(output_type),
        "supports_streaming": streams,
    }


def _output(annotation: Any) -> tuple[type[BaseModel] | None, bool] | None:
    """Return the type of an output and whether it may be a stream, ``None`` when the annotation says neither."""
    if is_model(annotation):
        return annotation, False
    if _is_stream(annotation):
        return None, True
    if (awaited := _awaited(annotation)) is not None:
        return awaited, False
    if get_origin(annotation) is Union:
        choices = get_args(annotation)
        models = [model for choice in choices if (model := choice if is_model(choice) else _awaited(choice))]
        if len(choices) == 2 and len(models) == 1 and any(map(_is_stream, choices)):
            return models[0], True
    return None


def is_model(annotation: Any) -> bool:
    """Return whether an annotation is a pydantic model."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _awaited(annotation: Any) -> type[BaseModel] | None:
    if not _originates(annotation, Awaitable):
        return None
    (awaited,) = get_args(annotation)
    return awaited if is_model(awaited) else None


def _is_stream(annotation: Any) -> bool:
    return _originates(annotation, Iterator, AsyncIterator)


def _originates(annotation: Any, *bases: type) -> bool:
    origin = get_origin(annotation)
    return inspect.isclass(origin) and issubclass(origin, bases)


def _json_schema(annotation: Any) -> dict[str, Any] | None:
    return annotation.model_json_schema() if is_model(annotation) else None
