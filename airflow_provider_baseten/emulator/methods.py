"""What a model object can do, found out once before it is served."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from airflow_provider_baseten.emulator.schema import describe_types, is_model


class ModelDefinitionError(TypeError):
    """A model's methods do not have the shape that Truss asks for."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a model.

    :param name: its name.
    :param function: the bound method.
    :param takes_input: whether it takes the input.
    :param takes_request: whether it takes the HTTP request.
    :param input_type: pydantic model that its input is parsed into.
    :param is_async: whether it is a coroutine function.
    :param is_generator: whether it yields.
    """

    name: str
    function: Callable[..., Any]
    takes_input: bool
    takes_request: bool
    input_type: type[BaseModel] | None
    is_async: bool
    is_generator: bool

    @classmethod
    def of(cls, model: object, name: str) -> "Method | None":
        """Return the model's method of that name, ``None`` when it has none.

        :raises ModelDefinitionError: the method takes arguments that a server can't give.
        """
        function = getattr(model, name, None)
        if function is None:
            return None
        signature = inspect.signature(function)
        annotations = [parameter.annotation for parameter in signature.parameters.values()]
        takes_request = [_is_request(annotation) for annotation in annotations]
        if len(annotations) > 2:
            raise ModelDefinitionError(f"`{name}` can't have more than two arguments, it has {signature}.")
        if takes_request not in ([], [False], [True], [False, True]):
            raise ModelDefinitionError(
                f"The second argument of `{name}` must be the request, annotated with starlette's Request; "
                f"it has {signature}."
            )
        takes_input = takes_request[:1] == [False]
        return cls(
            name=name,
            function=function,
            takes_input=takes_input,
            takes_request=True in takes_request,
            input_type=annotations[0] if takes_input and is_model(annotations[0]) else None,
            is_async=inspect.iscoroutinefunction(function),
            is_generator=inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
        )

    def arguments(self, model_input: Any, request: Request) -> list[Any]:
        """Return the arguments for a call."""
        arguments = [model_input] if self.takes_input else []
        return [*arguments, request] if self.takes_request else arguments


@dataclass(frozen=True, slots=True)
class ModelMethods:
    """The methods of a model that a server calls.

    :param predict: the prediction.
    :param preprocess: runs before it, outside of its concurrency limit.
    :param postprocess: runs after it, outside of its concurrency limit.
    :param is_healthy: tells whether the model can answer.
    :param openai: methods behind the OpenAI routes, by name.
    """

    predict: Method
    preprocess: Method | None
    postprocess: Method | None
    is_healthy: Method | None
    openai: dict[str, Method]

    @classmethod
    def of(cls, model: object) -> "ModelMethods":
        """Return what a model can do.

        :raises ModelDefinitionError: it has no ``predict``, or its methods contradict each other.
        """
        predict = Method.of(model, "predict")
        if predict is None:
            raise ModelDefinitionError("The model has no `predict` method.")
        preprocess = Method.of(model, "preprocess")
        postprocess = Method.of(model, "postprocess")
        is_healthy = Method.of(model, "is_healthy")
        if preprocess and _takes_only_request(predict):
            raise ModelDefinitionError("With `preprocess`, `predict` must take an input, not only the request.")
        if postprocess and _takes_only_request(postprocess):
            raise ModelDefinitionError("`postprocess` must take the output, not only the request.")
        if is_healthy and (is_healthy.takes_input or is_healthy.takes_request):
            raise ModelDefinitionError("`is_healthy` can't have arguments.")
        openai = {name: method for name in OPENAI_METHODS if (method := Method.of(model, name))}
        return cls(predict, preprocess, postprocess, is_healthy, openai)

    @property
    def input_type(self) -> type[BaseModel] | None:
        """Pydantic model that request bodies are parsed into."""
        return (self.preprocess or self.predict).input_type

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON schema of input and output, ``None`` when the model is not typed."""
        return describe_types((self.preprocess or self.predict).function, (self.postprocess or self.predict).function)

    @property
    def reads_body_itself(self) -> bool:
        """Whether nothing but the request is wanted, so that the body is not parsed."""
        return _takes_only_request(self.predict) and self.preprocess is None


OPENAI_METHODS = ("chat_completions", "completions", "embeddings", "messages", "responses")


def _takes_only_request(method: Method) -> bool:
    return method.takes_request and not method.takes_input


def _is_request(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Request)
