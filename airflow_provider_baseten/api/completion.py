"""What a chat model answered, at once or in a stream."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from airflow_provider_baseten.api.responses import Response, id_note
from airflow_provider_baseten.exceptions import BasetenResponseError

_END = "[DONE]"
_EXCERPT_CHARACTERS = 300


class Usage(TypedDict):
    """What an answer cost, in tokens; ``None`` where the server does not say.

    :param prompt_tokens: of the input.
    :param completion_tokens: of the output.
    :param cached_tokens: how many of the input's were found in the server's cache.
    :param reasoning_tokens: how many of the output's went into reasoning.
    :param finish_reason: why the model stopped: ``stop``, ``length``, ``tool_calls``, ``content_filter``...
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    finish_reason: str | None


class ToolCall(TypedDict):
    """A call that the model asks for.

    :param id: names the call when its result is sent back.
    :param name: of the function.
    :param arguments: as the model wrote them: JSON if it did well.
    """

    id: str | None
    name: str
    arguments: str


@dataclass(slots=True)
class Completion:
    """An answer as it came, or as far as it has come.

    :param texts: of the message, in the parts in which they came.
    :param refusal: what the model says instead when it refuses.
    :param calls: what it wants to call, by the index of the call.
    :param finish_reason: why it stopped.
    :param tokens: the server's ``usage``, as it came.
    :param ended: whether it has its end: a finish reason, or the mark at the end of a stream.
    :param error: what the server says went wrong in the middle of a stream.
    :param damaged: whether a part of it could not be read.
    """

    texts: list[str] = field(default_factory=list)
    refusal: str = ""
    calls: dict[int, ToolCall] = field(default_factory=dict)
    finish_reason: str | None = None
    tokens: Any = None
    ended: bool = False
    error: str | None = None
    damaged: bool = False

    @property
    def text(self) -> str:
        """The whole text of the message."""
        return "".join(self.texts)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """What the model wants to call."""
        return [self.calls[index] for index in sorted(self.calls)]

    @property
    def usage(self) -> Usage:
        """What it cost, and why it ended."""
        tokens = self.tokens if isinstance(self.tokens, Mapping) else {}
        return Usage(
            prompt_tokens=token_count(tokens, "prompt_tokens"),
            completion_tokens=token_count(tokens, "completion_tokens"),
            cached_tokens=token_count(tokens.get("prompt_tokens_details"), "cached_tokens"),
            reasoning_tokens=token_count(tokens.get("completion_tokens_details"), "reasoning_tokens"),
            finish_reason=self.finish_reason,
        )

    def add(self, message: Mapping[str, Any], finish_reason: object) -> None:
        """Append a message, or a part of one."""
        self.texts.append(_text(message.get("content")))
        self.refusal += _text(message.get("refusal"))
        for position, call in enumerate(message.get("tool_calls") or ()):
            index = call.get("index")  # Only the parts of a stream have it.
            self._add_call(position if index is None else int(index), call)
        if isinstance(finish_reason, str):
            self.finish_reason = finish_reason
            self.ended = True

    def _add_call(self, index: int, part: Mapping[str, Any]) -> None:
        call = self.calls.setdefault(index, ToolCall(id=None, name="", arguments=""))
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += _text(function.get("name"))
        call["arguments"] += _text(function.get("arguments"))


class CompletionStream:
    """Puts an answer together from the bytes of a stream of server-sent events."""

    def __init__(self) -> None:
        self.completion = Completion()
        self.events = 0
        self._rest = b""

    def feed(self, chunk: bytes) -> str:
        """Read further bytes.

        :returns: the text that they add to the answer.
        """
        known = len(self.completion.texts)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._read_line(line)
        return "".join(self.completion.texts[known:])

    def close(self) -> Completion:
        """Return the answer, after the last bytes."""
        self.feed(b"\n")
        return self.completion

    def _read_line(self, line: bytes) -> None:
        name, _, value = line.strip().partition(b":")
        if name != b"data":  # Comments keep a connection alive, other fields mean nothing here.
            return
        if value.strip() == _END.encode():
            self.completion.ended = True
            return
        self.events += 1
        try:
            self._read_event(json.loads(value))
        except (ValueError, TypeError, AttributeError, RecursionError):
            self.completion.damaged = True

    def _read_event(self, event: Any) -> None:
        # Older servers send the error itself, in place of an object that has one.
        if error := event if event.get("object") == "error" else event.get("error"):
            self.completion.error = _excerpt(error)
        self.completion.tokens = event.get("usage") or self.completion.tokens
        for choice in event.get("choices") or ():
            self.completion.add(choice.get("delta") or {}, choice.get("finish_reason"))


def read_completion(response: Response) -> Completion:
    """Return what a chat model answered.

    :raises BasetenResponseError: the body is not that of a chat completion.
    """
    if not response.is_json:
        stream = CompletionStream()
        stream.feed(response.body)
        completion = stream.close()
        if stream.events or completion.ended or not response.body:
            return completion
    try:
        answer = json.loads(response.body)
        message, finish_reason = answer["choices"][0]["message"], answer["choices"][0].get("finish_reason")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise BasetenResponseError(
            f"{response.request.subject} answered {response.status}, but not with a chat completion: check that the "
            f"model has an OpenAI-compatible server{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        ) from None
    completion = Completion(tokens=answer.get("usage"), ended=True)
    try:
        completion.add(message, finish_reason)
    except (ValueError, TypeError, AttributeError):
        completion.damaged = True
    return completion


def token_count(tokens: Any, name: str) -> int | None:
    """Return a number of a server's ``usage``, ``None`` if it is not there."""
    value = tokens.get(name) if isinstance(tokens, Mapping) else None
    return value if isinstance(value, int) else None


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")  # To leave it out would lose a part of the answer.
    return value


def _excerpt(error: Any) -> str:
    text = error.get("message") if isinstance(error, Mapping) else error
    line = " ".join(str(text or error).split())
    return line if len(line) <= _EXCERPT_CHARACTERS else f"{line[:_EXCERPT_CHARACTERS]}..."
