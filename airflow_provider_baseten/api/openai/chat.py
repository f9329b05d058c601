"""The request of a chat completion."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.exceptions import BasetenInputError

CHAT_ROUTE = "v1/chat/completions"

# Model name for a server of a single model. Such a server ignores the name, or serves its model under this name.
ONLY_MODEL = "baseten"

# Fields that give a message its content; a message must have at least one of them.
_CONTENT_FIELDS = ("content", "tool_calls", "function_call", "refusal", "audio")

_OWN_FIELDS = frozenset({"messages", "model", "response_format", "tools", "tool_choice", "stream"})


def build_chat_completion(
    target: Target | ModelApis,
    messages: Any,
    *,
    model: str | None = None,
    response_format: ResponseFormat | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: str | Mapping[str, Any] | None = None,
    stream: bool = False,
    options: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    idempotent: bool = False,
) -> Request:
    """Build the request of a chat completion.

    :param target: a model with an OpenAI-compatible server, or the Model APIs.
    :param messages: the conversation, a list of objects with ``role`` and ``content``.
    :param model: name under which the server serves the model; for the Model APIs the slug of the model.
    :param response_format: format that the reply must have.
    :param tools: functions that the model may call.
    :param tool_choice: ``none``, ``auto``, ``required``, or an object that names a tool.
    :param stream: whether the reply is streamed.
    :param options: extra fields of the body, for example ``max_tokens`` and ``temperature``.
    :param headers: extra HTTP headers.
    :param idempotent: whether the request may be sent again when the model may have run.
    :raises BasetenInputError: an argument is not valid.
    """
    if not isinstance(model, str | None):
        raise BasetenInputError(f"model takes the name of a model, not a {type(model).__name__}.")
    if not model and isinstance(target, ModelApis):
        raise BasetenInputError("Model APIs need the slug of a model: give it as model.")
    body: dict[str, Any] = {"model": model or ONLY_MODEL, "messages": _checked_messages(messages)}
    if response_format is not None and response_format.wire is not None:
        body["response_format"] = response_format.wire
    if tools is not None:
        tool_names(tools)
        body["tools"] = list(tools)
    if tool_choice is not None:
        if tools is None:
            raise BasetenInputError("tool_choice needs tools to choose from.")
        body["tool_choice"] = tool_choice
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    request = build_sync_route(
        target,
        CHAT_ROUTE,
        method="POST",
        json=body | _checked_options(options),
        headers=headers,
        idempotent=idempotent,
    )
    by_model = f" by {model}" if model else ""
    return replace(request, subject=f"chat completion{by_model} of {target}")


def tool_names(tools: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names of the functions that a model may call.

    :raises BasetenInputError: the tools are not a list of functions with names.
    """
    functions = [
        tool.get("function") if isinstance(tool, Mapping) else None
        for tool in (tools if isinstance(tools, Sequence) else ())
    ]
    names = [function.get("name") if isinstance(function, Mapping) else None for function in functions]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BasetenInputError(
            "tools takes a list of objects such as {'type': 'function', 'function': {'name': ..., 'parameters': ...}}."
        )
    return frozenset(map(str, names))


def _checked_messages(messages: Any) -> list[Any]:
    if isinstance(messages, str):
        raise BasetenInputError(
            "messages is a text, but takes a list of objects with 'role' and 'content': give a single text as prompt, "
            "and messages from another task as its output rather than as a template."
        )
    if not isinstance(messages, Sequence) or not messages:
        raise BasetenInputError("messages takes a list of at least one object with 'role' and 'content'.")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BasetenInputError(f"messages[{index}] is not an object with a 'role', such as 'user'.")
        content = message.get("content")
        if not isinstance(content, str | list | tuple | None):
            raise BasetenInputError(
                f"messages[{index}] has a content of type {type(content).__name__}: give a text, or a list of parts."
            )
        # A message of the user must not be empty; the output of a tool may be.
        if not any(name in message for name in _CONTENT_FIELDS) or (message["role"] == "user" and not content):
            raise BasetenInputError(f"messages[{index}] is empty: give it a 'content'.")
    return list(messages)


def _checked_options(options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping | None):
        raise BasetenInputError(f"options takes an object with fields of the request, not a {type(options).__name__}.")
    checked = dict(options or {})
    if own := _OWN_FIELDS & checked.keys():
        raise BasetenInputError(f"options can't hold {', '.join(sorted(own))}: use the argument of that name.")
    number = checked.get("n", 1)
    if not isinstance(number, int) or number != 1:
        raise BasetenInputError("options can't ask for more than one choice (n): only one would be read.")
    return checked
