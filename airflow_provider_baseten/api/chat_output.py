"""Whether what a chat model answered is usable, and what it says."""

import json
from collections.abc import Collection
from typing import Any, TypeVar

from airflow_provider_baseten.api.completion import Completion, ToolCall
from airflow_provider_baseten.api.output_format import FormatError, OutputFormat
from airflow_provider_baseten.api.responses import Response, id_note
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenModelError,
    BasetenOutputError,
    BasetenResponseError,
    BasetenUnavailableError,
)

Error = TypeVar("Error", bound=BasetenError)


def check_arrived(completion: Completion, response: Response) -> None:
    """Check that an answer has come whole.

    :raises BasetenModelError: the server reports an error in the middle of a stream.
    :raises BasetenUnavailableError: a stream ends before its end.
    :raises BasetenResponseError: a part of it is not readable.
    """
    if completion.error is not None:
        raise _error(BasetenModelError, response, f"broke off with an error of the server: {completion.error}")
    if not completion.ended:
        raise _error(
            BasetenUnavailableError, response, "broke off: its stream ends without an end mark, and nobody says why"
        )
    if completion.damaged:
        raise _error(BasetenResponseError, response, "sent something that is not readable: look at the server")


def incompleteness(completion: Completion) -> str | None:
    """Return what keeps an answer from being complete and what to do; ``None`` if nothing does."""
    if completion.finish_reason == "length":
        tokens = completion.usage["completion_tokens"]
        after = f" after {tokens} tokens" if tokens is not None else ""
        return f"stopped at its length limit{after}: give a larger max_tokens in options, or ask for less"
    if completion.finish_reason == "content_filter":
        return "was cut short by the server's content filter"
    if completion.refusal:
        return "was refused by the model"
    return None


def unusable(response: Response, trouble: str) -> BasetenOutputError:
    """Return the error for an answer that was paid and can't be used.

    :param trouble: what is wrong with it, without its subject.
    """
    return _error(BasetenOutputError, response, trouble)


def output(
    completion: Completion, response: Response, output_format: OutputFormat, functions: Collection[str] | None
) -> Any:
    """Return what an answer says.

    :param output_format: form of its text.
    :param functions: names of what the model may call, ``None`` if it was given no tools.
    :returns: the text, or the value that it is in its form; with tools ``{"content", "tool_calls"}``, where each call
        has its ``id``, ``name`` and decoded ``arguments``.
    :raises BasetenOutputError: the text has not the form, or a call is not one of the functions with JSON arguments.
    """
    if functions is None:
        return _content(completion.text, response, output_format)
    calls = [_tool_call(call, response, functions) for call in completion.tool_calls]
    content = _content(completion.text, response, output_format) if completion.text or not calls else None
    return {"content": content, "tool_calls": calls}


def _content(text: str, response: Response, output_format: OutputFormat) -> Any:
    try:
        return output_format.read(text)
    except FormatError as error:
        raise unusable(response, f"has not the form that response_format asks for: {error}") from None


def _tool_call(call: ToolCall, response: Response, functions: Collection[str]) -> dict[str, Any]:
    if call["name"] not in functions:
        raise unusable(response, f"calls a tool that is none of those it was given ({', '.join(sorted(functions))})")
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise unusable(response, f"calls the tool {call['name']} with arguments that are not a JSON object")
    return {"id": call["id"], "name": call["name"], "arguments": arguments}


def _error(kind: type[Error], response: Response, trouble: str) -> Error:
    return kind(
        f"{response.request.subject} {trouble}{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )
