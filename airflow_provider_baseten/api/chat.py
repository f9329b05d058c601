"""The request of a chat completion."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.model_apis import ModelApis
from airflow_provider_baseten.api.output_format import OutputFormat
from airflow_provider_baseten.api.requests import Request
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError

ROUTE = "v1/chat/completions"

# Servers of one model ignore the name or know this one.
ONLY_MODEL = "baseten"

# What a message can say.
_SAID = ("content", "tool_calls", "function_call", "refusal", "audio")

_OWN_FIELDS = frozenset({"messages", "model", "response_format", "tools", "tool_choice", "stream"})


def chat_completion(
    target: Target,
    messages: Any,
    *,
    model: str | None = None,
    output_format: OutputFormat | None = None,
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
    :param model: name under which the server serves the model, or the slug of a model of the Model APIs.
    :param output_format: form that the answer must have.
    :param tools: what the model may call.
    :param tool_choice: ``none``, ``auto``, ``required``, or an object that names a tool.
    :param stream: whether the answer comes in parts.
    :param options: further fields of the body, for example ``max_tokens`` and ``temperature``.
    :param headers: further HTTP headers.
    :param idempotent: whether it may be sent again when the model may have run.
    :raises BasetenInputError: an argument is not what a chat completion takes.
    """
    if model is None and isinstance(target, ModelApis):
        raise BasetenInputError("Model APIs need the slug of a model: give it as model.")
    body: dict[str, Any] = {"model": model or ONLY_MODEL, "messages": _checked_messages(messages)}
    if output_format is not None and output_format.wire is not None:
        body["response_format"] = output_format.wire
    if tools is not None:
        body["tools"] = list(tools)
        tool_names(tools)
    if tool_choice is not None:
        if tools is None:
            raise BasetenInputError("tool_choice needs tools to choose from.")
        body["tool_choice"] = tool_choice
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    request = requests.sync_route(
        target,
        ROUTE,
        method="POST",
        json=body | _checked_options(options),
        headers=headers,
        idempotent=idempotent,
    )
    by = f" by {model}" if model is not None else ""
    return replace(request, subject=f"chat completion{by} of {target}")


def tool_names(tools: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names of the functions that a model may call.

    :raises BasetenInputError: the tools are not a list of functions with names.
    """
    try:
        names = frozenset(tool["function"]["name"] for tool in tools)
    except (TypeError, KeyError):
        names = frozenset()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BasetenInputError(
            "tools takes a list of objects such as {'type': 'function', 'function': {'name': ..., 'parameters': ...}}."
        )
    return names


def _checked_messages(messages: Any) -> list[Any]:
    if isinstance(messages, str):
        raise BasetenInputError(
            "messages is a text, but takes a list of objects with 'role' and 'content': give one text as prompt, and "
            "what another task made as its output rather than as a template."
        )
    if not isinstance(messages, Sequence) or not messages:
        raise BasetenInputError("messages takes a list of at least one object with 'role' and 'content'.")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BasetenInputError(f"messages[{index}] is not an object with a 'role', such as 'user'.")
        # What a tool answered may be empty.
        if not any(name in message for name in _SAID) or (message["role"] == "user" and not message.get("content")):
            raise BasetenInputError(f"messages[{index}] says nothing: give it a 'content'.")
    return list(messages)


def _checked_options(options: Any) -> dict[str, Any]:
    if not isinstance(options or {}, Mapping):
        raise BasetenInputError(f"options takes an object with fields of the request, not a {type(options).__name__}.")
    checked = dict(options or {})
    if own := _OWN_FIELDS & checked.keys():
        raise BasetenInputError(f"options can't hold {', '.join(sorted(own))}: that has an argument of its own.")
    if checked.get("n", 1) != 1:
        raise BasetenInputError("options can't ask for more than one answer (n): only one would be read.")
    return checked
