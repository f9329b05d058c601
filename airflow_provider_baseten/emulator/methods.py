"""Methods of a model object. They are inspected once, when the model has been loaded."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from airflow_provider_baseten.emulator.schema import describe_types, is_pydantic_model


class ModelDefinitionError(TypeError):
    """The methods of a model do not have the signatures that Truss requires."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a model.

    :param name: name of the method.
    :param function: the bound method.
    :param takes_input: whether the method has an argument for the model's input.
    :param takes_request: whether the method has an argument for the HTTP request.
    :param input_type: pydantic model into which the input is parsed, ``None`` if the input has no such type.
    :param is_async: whether the method is a coroutine function.
    :param is_generator: whether the method is a generator function.
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
        """Return a method of the model, ``None`` if the model has no method of that name.

        :raises ModelDefinitionError: the method has arguments other than the input and the request.
        """
        function = getattr(model, name, None)
        if function is None:
            return None
        signature = inspect.signature(function)
        annotations = [parameter.annotation for parameter in signature.parameters.values()]
        takes_request = [_is_request(annotation) for annotation in annotations]
        if len(annotations) > 2:
            raise ModelDefinitionError(f"`{name}` must have at most two arguments, but its signature is {signature}.")
        if takes_request not in ([], [False], [True], [False, True]):
            raise ModelDefinitionError(
                f"The second argument of `{name}` must be the request, annotated with starlette's Request, but the "
                f"signature is {signature}."
            )
        takes_input = takes_request[:1] == [False]
        return cls(
            name=name,
            function=function,
            takes_input=takes_input,
            takes_request=True in takes_request,
            input_type=annotations[0] if takes_input and is_pydantic_model(annotations[0]) else None,
            is_async=inspect.iscoroutinefunction(function),
            is_generator=inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
        )

    def arguments(self, model_input: Any, request: Request) -> list[Any]:
        """Return the arguments with which to call the method."""
        arguments = [model_input] if self.takes_input else []
        return [*arguments, request] if self.takes_request else arguments


@dataclass(frozen=True, slots=True)
class ModelMethods:
    """Methods of a model that the container calls.

    :param predict: makes a prediction.
    :param preprocess: runs before ``predict``. The concurrency limit of ``predict`` does not apply to it.
    :param postprocess: runs after ``predict``. The concurrency limit does not apply to it either.
    :param is_healthy: returns whether the model is healthy.
    :param openai: methods of the OpenAI routes, by name.
    """

    predict: Method
    preprocess: Method | None
    postprocess: Method | None
    is_healthy: Method | None
    openai: dict[str, Method]

    @classmethod
    def of(cls, model: object) -> "ModelMethods":
        """Return the methods of a model.

        :raises ModelDefinitionError: the model has no ``predict``, or a method lacks an argument that it needs or has
            one that it must not have.
        """
        predict = Method.of(model, "predict")
        if predict is None:
            raise ModelDefinitionError("The model has no `predict` method.")
        preprocess = Method.of(model, "preprocess")
        postprocess = Method.of(model, "postprocess")
        is_healthy = Method.of(model, "is_healthy")
        if preprocess and _takes_only_request(predict):
            raise ModelDefinitionError("In a model with `preprocess`, `predict` must have an argument for the input.")
        if postprocess and _takes_only_request(postprocess):
            raise ModelDefinitionError("`postprocess` must have an argument for the output of `predict`.")
        if is_healthy and (is_healthy.takes_input or is_healthy.takes_request):
            raise ModelDefinitionError("`is_healthy` must not have arguments.")
        openai = {name: method for name in OPENAI_METHODS if (method := Method.of(model, name))}
        return cls(predict, preprocess, postprocess, is_healthy, openai)

    @property
    def input_type(self) -> type[BaseModel] | None:
        """Pydantic model into which request bodies are parsed, ``None`` if the model declares none."""
        return (self.preprocess or self.predict).input_type

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON schema of input and output, ``None`` if the type annotations describe neither of them."""
        return describe_types((self.preprocess or self.predict).function, (self.postprocess or self.predict).function)

    @property
    def reads_body_itself(self) -> bool:
        """Whether the container leaves the body unparsed, because the model takes the HTTP request and no input."""
        return _takes_only_request(self.predict) and self.preprocess is None


OPENAI_METHODS = ("chat_completions", "completions", "embeddings", "messages", "responses")


def _takes_only_request(method: Method) -> bool:
    return method.takes_request and not method.takes_input


def _is_request(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Request)
