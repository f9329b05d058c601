"""The outcome of a chat: what keeps an answer from being used, and what it says."""

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from airflow_provider_baseten.api import texts
from airflow_provider_baseten.api.errors import quotable
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.openai.completion import Completion, whole_completion
from airflow_provider_baseten.api.openai.structured_output import FormatError, OutputFormat
from airflow_provider_baseten.api.openai.tool_calls import ToolCall, decoded_object
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenModelError,
    BasetenOutputError,
    BasetenResponseError,
    BasetenUnavailableError,
)

Error = TypeVar("Error", bound=BasetenError)

# Reasons to stop of OpenAI's API and of the servers that speak it, in lower case and with underscores.
_CALLING = frozenset({"tool_calls", "tool_use", "function_call"})
_COMPLETE = _CALLING | {"stop", "stop_sequence", "eos", "eos_token", "end_turn", "complete"}
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal"})
_BROKEN = re.compile(r"abort|cancel|error|fail|insufficient|interrupt|overload|time_?d?_?out|not_finished")


def trouble_of(answer: Any) -> str | None:
    """Return what keeps an answer with status 200 from being a success, ``None`` if nothing does.

    An answer that was cut, filtered or refused is one: it says so itself, see :func:`incompleteness`.

    :param answer: the decoded body of a chat completion that did not come as a stream.
    :returns: words without their subject, for example ``has no text``; of the server's own a bounded excerpt.
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    for choice in choices if isinstance(choices, list) and len(choices) > 1 else [None]:
        completion = whole_completion(answer if choice is None else {**answer, "choices": [choice]})
        if completion is None:
            return "is not a chat completion: check that the model has an OpenAI-compatible server"
        if trouble := _failure(completion) or _emptiness(completion):
            return trouble
        if completion.damaged:
            return "holds something that is not readable"
        if not completion.ended:
            return "is a part of a stream, without its end"
    return None


def check_arrived(completion: Completion, response: Response) -> None:
    """Check that an answer has come whole and says something.

    :raises BasetenModelError: the server reports an error, in place of an answer or in the middle of it.
    :raises BasetenUnavailableError: a stream ends before its end.
    :raises BasetenResponseError: a part of it is not readable.
    :raises BasetenOutputError: it is empty, or holds nothing but reasoning.
    """
    if trouble := _failure(completion):
        quoted = quotable(trouble, response.request)
        raise _error(BasetenModelError, response, quoted or "broke off with an error of the server")
    if not completion.ended:
        raise _error(
            BasetenUnavailableError,
            response,
            "was cut: its stream ended without its end mark and without an error of the server",
        )
    if completion.damaged or completion.other:
        raise _error(BasetenResponseError, response, "sent something that is not readable as text: look at the server")
    if trouble := _emptiness(completion):
        raise unusable(response, trouble)


def incompleteness(completion: Completion) -> str | None:
    """Return what keeps an answer from being complete and what to do; ``None`` if nothing does."""
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
        return f"stopped to call a tool ({completion.finish_reason}), but holds no call"
    if reason and reason not in _COMPLETE:
        return f"stopped for a reason that is not known to mean a complete answer ({completion.finish_reason})"
    return None


def _failure(completion: Completion) -> str | None:
    if completion.error is not None:
        return f"broke off with an error of the server: {completion.error}"
    if _BROKEN.search(_reason(completion)):
        return f"was broken off by the server, with the finish reason {completion.finish_reason}"
    return None


def _emptiness(completion: Completion) -> str | None:
    text = completion.text.strip()
    if completion.calls or completion.refusal or completion.other or _reason(completion) in _FILTERED:
        return None
    # Without a parser for reasoning a server leaves it in the text, often without the tag that opens it.
    if (completion.reasons and not text) or text.endswith("</think>") or _only_opens(text):
        return "holds only reasoning: give a larger max_tokens in options, or ask for less reasoning"
    return None if completion.text else "is empty: it has neither text nor a tool call nor a refusal"


def _only_opens(text: str) -> bool:
    return text.startswith("<think>") and "</think>" not in text


def _reason(completion: Completion) -> str:
    return (completion.finish_reason or "").lower().replace("-", "_")


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
    :returns: the text (of a refusal its words), or the value that it is in its form; with tools
        ``{"content", "tool_calls"}``, where each call has its ``id``, ``name`` and decoded ``arguments``.
    :raises BasetenOutputError: the text has not the form, or a call is not one of the functions with JSON arguments.
    """
    if functions is None:
        if completion.calls and not completion.text:
            raise unusable(response, "calls a tool, but was given none")
        return _content(_said(completion), response, output_format)
    calls = [_tool_call(call, response, functions) for call in completion.calls.whole()]
    content = _content(_said(completion), response, output_format) if completion.text or not calls else None
    return {"content": content, "tool_calls": calls}


def _said(completion: Completion) -> str:
    return completion.text or texts.readable(completion.refusal)


def _content(text: str, response: Response, output_format: OutputFormat) -> Any:
    try:
        return output_format.read(text)
    except FormatError as error:
        raise unusable(response, f"has not the form that response_format asks for: {error}") from None


def _tool_call(call: ToolCall, response: Response, functions: Collection[str]) -> dict[str, Any]:
    if call["name"] not in functions:
        raise unusable(response, f"calls a tool that is none of those it was given ({', '.join(sorted(functions))})")
    arguments = decoded_object(call["arguments"])
    if arguments is None:
        raise unusable(response, f"calls the tool {call['name']} with arguments that are not a JSON object")
    return {"id": call["id"], "name": call["name"], "arguments": arguments}


def _error(kind: type[Error], response: Response, trouble: str) -> Error:
    return kind(
        f"{response.request.subject} {trouble}{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )
