"""Chat completions: the reply of a chat model, streamed or not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from airflow_provider_baseten.api import exact_json, texts
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.openai.event_stream import Event, EventStream
from airflow_provider_baseten.api.openai.tool_calls import ToolCalls
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenResponseError

_END = "[DONE]"
_EXCERPT_CHARACTERS = 300

# Names under which servers send the model's reasoning. Such a name is a field of a message, or the type of a content
# part.
_REASONING = frozenset({"reasoning_content", "reasoning", "reasoning_details", "thinking"})

# Errors that Python raises when a value of a response has an unexpected type.
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)

# Types of events whose data is a part of the completion. Events of other types, such as ``ping``, may hold anything.
_ORDINARY_EVENTS = frozenset({"", "message"})

# Values that servers send as the finish reason while the model has not finished.
_NO_REASON = frozenset({"", "null", "none"})


class Usage(TypedDict):
    """Token counts and finish reason of a completion; a value is ``None`` if the server does not report it.

    :param prompt_tokens: tokens of the input.
    :param completion_tokens: tokens of the output.
    :param cached_tokens: input tokens that were found in the server's cache.
    :param reasoning_tokens: output tokens that were used for reasoning.
    :param finish_reason: why the model stopped: ``stop``, ``length``, ``tool_calls``, ``content_filter``...
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    finish_reason: str | None


@dataclass(slots=True)
class Completion:
    """A chat completion as received so far.

    :param texts: parts of the message's text, in the order in which they arrived.
    :param refusal: text of the model's refusal.
    :param calls: tool calls of the message.
    :param has_reasoning: whether reasoning was received that the server keeps separate from the message's text.
    :param has_other_content: whether the message holds content that is not text, for example audio.
    :param finish_reason: why the model stopped.
    :param tokens: the server's ``usage``, as received.
    :param is_ended: whether the end was received: a finish reason, a complete message, or the final event of a stream.
    :param error: the server's error message, if any.
    :param is_damaged: whether a part of the completion could not be read.
    """

    texts: list[str] = field(default_factory=list)
    refusal: str = ""
    calls: ToolCalls = field(default_factory=ToolCalls)
    has_reasoning: bool = False
    has_other_content: bool = False
    finish_reason: str | None = None
    tokens: Any = None
    is_ended: bool = False
    error: str | None = None
    is_damaged: bool = False

    @property
    def text(self) -> str:
        """The whole text of the message."""
        return texts.readable("".join(self.texts))

    @property
    def usage(self) -> Usage:
        """Token counts and finish reason."""
        tokens = self.tokens if isinstance(self.tokens, Mapping) else {}
        return Usage(
            prompt_tokens=token_count(tokens, "prompt_tokens"),
            completion_tokens=token_count(tokens, "completion_tokens"),
            cached_tokens=token_count(tokens.get("prompt_tokens_details"), "cached_tokens"),
            reasoning_tokens=token_count(tokens.get("completion_tokens_details"), "reasoning_tokens"),
            finish_reason=self.finish_reason,
        )

    def add(self, choice: Mapping[str, Any], message: Mapping[str, Any], *, whole: bool = False) -> None:
        """Append the content and the finish reason of a choice.

        :param whole: whether ``message`` is a complete message with complete tool calls. By default it is a delta.
        :raises Exception: a value is of an unexpected type; the exception is one of ``_UNREADABLE``.
        """
        if error := choice.get("error"):
            self.error = excerpt(error)
        if message.get("content") or message.get("tool_calls"):
            self.is_ended = False  # Content after a finish reason shows that the model had not stopped.
        self._add_content(message.get("content"))
        self._add_content(message.get("refusal"), refused=True)
        add_call = self.calls.add if whole else self.calls.add_part
        for call in message.get("tool_calls") or ():
            add_call(call)
        # function_call is the predecessor of tool_calls; some servers send both.
        if (function := message.get("function_call")) and not message.get("tool_calls"):
            add_call({"index": 0, "function": function})
        if not _REASONING.isdisjoint(message):
            self.has_reasoning = self.has_reasoning or any(message.get(name) for name in _REASONING)
        self.has_other_content = self.has_other_content or bool(message.get("audio"))
        self._finish(choice.get("finish_reason"))

    def _add_content(self, content: Any, *, refused: bool = False) -> None:
        match content:
            case None:
                return
            case str() if refused:
                self.refusal += content
            case str():
                self.texts.append(content)
            case list():
                for part in content:
                    self._add_content(part, refused=refused)
            case {"type": "refusal", "refusal": text}:
                self._add_content(text, refused=True)
            case {"type": str(kind)} if kind in _REASONING:
                self.has_reasoning = True
            case {"text": text}:
                self._add_content(text, refused=refused)
            case _:
                self.has_other_content = True

    def _finish(self, reason: Any) -> None:
        named = reason.get("type") if isinstance(reason, Mapping) else reason
        if named and str(named).strip().lower() not in _NO_REASON:
            self.finish_reason = excerpt(named)
            self.is_ended = True


class CompletionStream:
    """Assembles a completion from the bytes of a stream of server-sent events."""

    def __init__(self) -> None:
        self.completion = Completion()
        self.events = 0
        self._stream = EventStream()
        self._is_over = False
        # Index of the choice that is read. Any other choice is ignored, because a request asks for only one.
        self._index: Any = None
        self._has_deltas = False

    def feed(self, chunk: bytes) -> str:
        """Read the next bytes of the stream.

        :returns: the text that these bytes add to the message.
        """
        known = len(self.completion.texts)
        for event in self._stream.feed(chunk):
            self._read(event, is_whole=True)
        return "".join(self.completion.texts[known:])

    def close(self) -> Completion:
        """Read the last event if no empty line came after it, and return the completion."""
        for event in self._stream.close():
            self._read(event, is_whole=False)
        return self.completion

    def _read(self, event: Event, *, is_whole: bool) -> None:
        for document in _documents(event):
            if self._is_over:
                return
            if document.strip() == _END:
                self.completion.is_ended = self._is_over = True
                return
            self.events += 1
            try:
                self._read_chunk(_decode(document), is_error=event.name == "error")
            except _UNREADABLE:
                if event.name == "error":
                    self.completion.error = excerpt(document) or "no message"
                elif is_whole and event.name in _ORDINARY_EVENTS:
                    self.completion.is_damaged = True

    def _read_chunk(self, chunk: Any, *, is_error: bool) -> None:
        self.completion.error = server_error(chunk) or (excerpt(chunk) if is_error else None) or self.completion.error
        self.completion.tokens = chunk.get("usage") or self.completion.tokens
        for choice in chunk.get("choices") or ():
            if choice is not None and self._is_first(choice.get("index")):
                self.completion.add(choice, self._delta(choice))

    def _is_first(self, index: Any) -> bool:
        if self._index is None:
            self._index = index
        return index is None or index == self._index

    def _delta(self, choice: Mapping[str, Any]) -> Any:
        if (delta := choice.get("delta")) is not None:
            self._has_deltas = True
            return delta
        message = choice.get("message") or {}
        # Some servers repeat the whole message at the end of the stream.
        return {} if self._has_deltas and message.get("content") == "".join(self.completion.texts) else message


def _documents(event: Event) -> list[str]:
    """Return the JSON documents in the data of an event, usually a single one.

    Some servers omit the empty lines between events. Their events arrive here as one event with a document per line.
    """
    if event.name == "error":
        return [event.data]
    if not event.data or event.data.isspace():
        return []
    if "\n" in event.data:
        try:
            _decode(event.data)
        except (ValueError, RecursionError):
            return [line for line in event.data.split("\n") if line.strip()]
    return [event.data]


def _decode(document: str) -> Any:
    # Some servers send the arguments of a tool call as an object, whose numbers must keep every digit. A document
    # without arguments is decoded by the faster decoder.
    return exact_json.decode(document.encode()) if '"arguments"' in document else json.loads(document)


def parse_completion(body: Any) -> Completion | None:
    """Return a completion that was not streamed, ``None`` if the body is not a completion.

    If the body is an error of the server, the result is a completion with this error.

    :param body: the decoded body of the response.
    """
    if not isinstance(body, Mapping):
        return None
    completion = Completion(tokens=body.get("usage"), error=server_error(body))
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message", choice.get("delta")) if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return completion if completion.error else None
    try:
        completion.add(choice, message, whole=True)
    except _UNREADABLE:
        completion.is_damaged = True
    # A choice with a `message` is always complete. One with a `delta` but no finish reason comes from a stream that was
    # cut off.
    completion.is_ended = completion.is_ended or "message" in choice
    return completion


def read_completion(response: Response) -> Completion:
    """Return the completion in a response, streamed or not.

    :raises BasetenResponseError: the body is not a chat completion.
    """
    body = response.read()
    try:
        completion = parse_completion(exact_json.decode(body))
    except ValueError:
        stream = CompletionStream()
        stream.feed(body)
        completion = stream.close()
        if not (stream.events or completion.is_ended or (not body and not response.is_json)):
            completion = None
    if completion is not None:
        return completion
    raise BasetenResponseError(
        f"{response.request.subject} returned {response.status}, but not a chat completion: check that the "
        f"model has an OpenAI-compatible server{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )


def server_error(body: Mapping[str, Any]) -> str | None:
    """Return the error message in a response or in an event of a stream, ``None`` if there is none.

    :param body: the decoded JSON. It may hold an error instead of an output, or together with an output.
    """
    if error := body.get("error") or body.get("errors"):
        return excerpt(error)
    # Older servers send the fields of the error at the top level of the body, instead of under the key "error".
    if "error" in (body.get("object"), body.get("type")):
        return excerpt(body)
    if body.get("choices") or body.get("usage"):
        return None
    return excerpt(body.get("detail") or body.get("message"))


def token_count(tokens: Any, name: str) -> int | None:
    """Return a count from a server's ``usage``, ``None`` if it is missing or is not a count."""
    value = tokens.get(name) if isinstance(tokens, Mapping) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def excerpt(value: Any) -> str | None:
    """Return a server's message as one line of bounded length, ``None`` if it is empty.

    :param value: a string, an object with a ``message``, or any other JSON value.
    """
    if not value:
        return None
    message = value.get("message") if isinstance(value, Mapping) else value
    try:
        text = str(message or value)[: 4 * _EXCERPT_CHARACTERS]
    except (ValueError, RecursionError):
        text = "something too large or too deep to show"
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _EXCERPT_CHARACTERS else f"{line[:_EXCERPT_CHARACTERS]}..."
