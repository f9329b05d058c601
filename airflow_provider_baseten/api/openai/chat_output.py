"""Output of a chat completion, and the checks that decide whether it can be used."""

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from airflow_provider_baseten.api import texts
from airflow_provider_baseten.api.errors import quotable
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.openai.completion import Completion, parse_completion
from airflow_provider_baseten.api.openai.structured_output import FormatError, ResponseFormat
from airflow_provider_baseten.api.openai.tool_calls import ToolCall, decode_arguments
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenModelError,
    BasetenOutputError,
    BasetenResponseError,
    BasetenUnavailableError,
)

Error = TypeVar("Error", bound=BasetenError)

# Finish reasons of OpenAI's API and of compatible servers, in lower case and with underscores.
_CALLING = frozenset({"tool_calls", "tool_use", "function_call"})
_COMPLETE = _CALLING | {"stop", "stop_sequence", "eos", "eos_token", "end_turn", "complete"}
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal"})
_BROKEN = re.compile(r"abort|cancel|error|fail|insufficient|interrupt|overload|time_?d?_?out|not_finished")


def find_problem(body: Any) -> str | None:
    """Return why a response is a failure although its status is 200, ``None`` if it is a success.

    A truncated, filtered or refused completion counts as a success. For such a completion
    :func:`describe_incompleteness` returns what happened.

    :param body: the decoded body of a chat completion that was not streamed.
    :returns: a sentence without its subject, for example ``is empty``. If it quotes an error of the server, the quote
        has a bounded length.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    for choice in choices if isinstance(choices, list) and len(choices) > 1 else [None]:
        completion = parse_completion(body if choice is None else {**body, "choices": [choice]})
        if completion is None:
            return "is not a chat completion: check that the model has an OpenAI-compatible server"
        if problem := _describe_failure(completion) or _describe_emptiness(completion):
            return problem
        if completion.is_damaged:
            return "holds a part that can't be read"
        if not completion.is_ended:
            return "is a part of a stream, without its end"
    return None


def check_received(completion: Completion, response: Response) -> None:
    """Check that a completion was received completely, and is not empty.

    :raises BasetenModelError: the server reports an error instead of a completion, or in the middle of a completion.
    :raises BasetenUnavailableError: the stream ended before its final event.
    :raises BasetenResponseError: a part of the completion is not readable.
    :raises BasetenOutputError: the completion is empty, or holds only reasoning.
    """
    if problem := _describe_failure(completion):
        quoted = quotable(problem, response.request)
        raise _error(BasetenModelError, response, quoted or "ended with an error of the server")
    if not completion.is_ended:
        raise _error(
            BasetenUnavailableError,
            response,
            "was cut off: the stream ended before its final event, without an error from the server",
        )
    if completion.is_damaged or completion.has_other_content:
        raise _error(
            BasetenResponseError, response, "holds a part that can't be read as text: check what the server sends"
        )
    if problem := _describe_emptiness(completion):
        raise unusable_error(response, problem)


def describe_incompleteness(completion: Completion) -> str | None:
    """Return why a completion is incomplete and what to do about it, ``None`` if it is complete.

    :returns: a sentence without its subject, for example ``was refused by the model``.
    """
    reason = _reason(completion)
    if reason in _CUT:
        tokens = completion.usage["completion_tokens"]
        after = f" after {tokens} tokens" if tokens is not None else ""
        return f"stopped at its length limit{after}: give a larger max_tokens in options, or ask for less"
    if reason in _FILTERED:
        return "was cut short by the server's content filter"
    if completion.refusal:
        return "was refused by the model"
    if reason in _CALLING and not completion.calls:
        return f"stopped to call a tool ({completion.finish_reason}), but holds no tool call"
    if reason and reason not in _COMPLETE:
        return f"stopped with an unknown finish reason ({completion.finish_reason}), so it may be incomplete"
    return None


def is_broken(finish_reason: str) -> bool:
    """Return whether a finish reason means that the server has ended a completion with an error."""
    return _BROKEN.search(_normalized(finish_reason)) is not None


def _describe_failure(completion: Completion) -> str | None:
    if completion.error is not None:
        return f"ended with an error of the server: {completion.error}"
    if is_broken(completion.finish_reason or ""):
        return f"was ended by the server, with the finish reason {completion.finish_reason}"
    return None


def _describe_emptiness(completion: Completion) -> str | None:
    text = completion.text.strip()
    if completion.calls or completion.refusal or completion.has_other_content or _reason(completion) in _FILTERED:
        return None
    # A server without a reasoning parser leaves the reasoning in the text, often without the opening tag.
    if (completion.has_reasoning and not text) or text.endswith("</think>") or _only_opens(text):
        return "holds only reasoning: give a larger max_tokens in options, or ask for less reasoning"
    return None if completion.text else "is empty: it has neither text nor a tool call nor a refusal"


def _only_opens(text: str) -> bool:
    return text.startswith("<think>") and "</think>" not in text


def _reason(completion: Completion) -> str:
    return _normalized(completion.finish_reason or "")


def _normalized(finish_reason: str) -> str:
    return finish_reason.lower().replace("-", "_")


def unusable_error(response: Response, problem: str) -> BasetenOutputError:
    """Return the error for a completion that was paid for and can't be used.

    :param problem: a sentence without its subject, for example ``is empty``.
    """
    return _error(BasetenOutputError, response, problem)


def parse_output(
    completion: Completion, response: Response, response_format: ResponseFormat, functions: Collection[str] | None
) -> Any:
    """Return the output of a completion.

    :param response_format: format that the text must have.
    :param functions: names of the functions that the model may call, ``None`` if it was given no tools.
    :returns: the content, if the model was given no tools. The content is the text or the refusal; for structured
        output it is the decoded value. If the model was given tools, the result is an object with two keys.
        ``content`` holds the content, or ``None`` if there are tool calls and no text. ``tool_calls`` holds a list of
        objects with ``id``, ``name`` and decoded ``arguments``.
    :raises BasetenOutputError: the text does not match the format, or a tool call names an unknown function or has
        arguments that are not a JSON object.
    """
    if functions is None:
        if completion.calls and not completion.text:
            raise unusable_error(response, "calls a tool, but was given none")
        return _parse_content(_message_text(completion), response, response_format)
    calls = [_parse_tool_call(call, response, functions) for call in completion.calls.whole()]
    has_content = completion.text or not calls
    content = _parse_content(_message_text(completion), response, response_format) if has_content else None
    return {"content": content, "tool_calls": calls}


def _message_text(completion: Completion) -> str:
    return completion.text or texts.readable(completion.refusal)


def _parse_content(text: str, response: Response, response_format: ResponseFormat) -> Any:
    try:
        return response_format.read(text)
    except FormatError as error:
        raise unusable_error(response, f"does not match response_format: {error}") from None


def _parse_tool_call(call: ToolCall, response: Response, functions: Collection[str]) -> dict[str, Any]:
    if call["name"] not in functions:
        raise unusable_error(response, f"calls a tool that it was not given (given: {', '.join(sorted(functions))})")
    arguments = decode_arguments(call["arguments"])
    if arguments is None:
        raise unusable_error(response, f"calls the tool {call['name']} with arguments that are not a JSON object")
    return {"id": call["id"], "name": call["name"], "arguments": arguments}


def _error(kind: type[Error], response: Response, problem: str) -> Error:
    return kind(
        f"{response.request.subject} {problem}{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )
