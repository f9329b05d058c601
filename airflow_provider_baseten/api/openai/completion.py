"""The answer of a chat model, at once or in a stream."""

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

# Where servers put the model's reasoning: fields of a message, and kinds of parts of its content.
_REASONING = frozenset({"reasoning_content", "reasoning", "reasoning_details", "thinking"})

# What a value that is not of its type raises where it is read.
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)

# Events whose data is a part of the answer; others, such as ``ping``, may hold anything.
_ORDINARY_EVENTS = frozenset({"", "message"})

# What servers write for a reason where there is none.
_NO_REASON = frozenset({"", "null", "none"})


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


@dataclass(slots=True)
class Completion:
    """An answer as it came, or as far as it has come.

    :param texts: of the message, in the parts in which they came.
    :param refusal: what the model says instead when it refuses.
    :param calls: what it wants to call.
    :param reasons: whether the server sends the model's reasoning apart from its text.
    :param other: whether the message holds something that is no text, for example audio.
    :param finish_reason: why the model stopped.
    :param tokens: the server's ``usage``, as it came.
    :param ended: whether it has its end: a finish reason, or the mark at the end of a stream.
    :param error: what the server says went wrong.
    :param damaged: whether a part of it could not be read.
    """

    texts: list[str] = field(default_factory=list)
    refusal: str = ""
    calls: ToolCalls = field(default_factory=ToolCalls)
    reasons: bool = False
    other: bool = False
    finish_reason: str | None = None
    tokens: Any = None
    ended: bool = False
    error: str | None = None
    damaged: bool = False

    @property
    def text(self) -> str:
        """The whole text of the message."""
        return texts.readable("".join(self.texts))

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

    def add(self, choice: Mapping[str, Any], message: Mapping[str, Any], *, whole: bool = False) -> None:
        """Append a choice with its message, or a part of one.

        :raises Exception: one of ``_UNREADABLE``: something in it is not of its type.
        """
        if error := choice.get("error"):
            self.error = excerpt(error)
        if message.get("content") or message.get("tool_calls"):
            self.ended = False  # The reason to stop that came before was none.
        self._add_content(message.get("content"))
        self._add_content(message.get("refusal"), refused=True)
        add_call = self.calls.add if whole else self.calls.add_part
        for call in message.get("tool_calls") or ():
            add_call(call)
        # What servers sent before there were tools, and some send beside them.
        if (function := message.get("function_call")) and not message.get("tool_calls"):
            add_call({"index": 0, "function": function})
        if not _REASONING.isdisjoint(message):
            self.reasons = self.reasons or any(message.get(name) for name in _REASONING)
        self.other = self.other or bool(message.get("audio"))
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
                self.reasons = True
            case {"text": text}:
                self._add_content(text, refused=refused)
            case _:
                self.other = True

    def _finish(self, reason: Any) -> None:
        named = reason.get("type") if isinstance(reason, Mapping) else reason
        if named and str(named).strip().lower() not in _NO_REASON:
            self.finish_reason = excerpt(named)
            self.ended = True


class CompletionStream:
    """Puts an answer together from the bytes of a stream of server-sent events."""

    def __init__(self) -> None:
        self.completion = Completion()
        self.events = 0
        self._stream = EventStream()
        self._is_over = False
        self._index: Any = None  # Of the choice that is read: one answer is asked for.
        self._has_deltas = False

    def feed(self, chunk: bytes) -> str:
        """Read more bytes.

        :returns: the text that they add to the answer.
        """
        known = len(self.completion.texts)
        for event in self._stream.feed(chunk):
            self._read(event, is_whole=True)
        return "".join(self.completion.texts[known:])

    def close(self) -> Completion:
        """Return the answer, after the last bytes."""
        for event in self._stream.close():
            self._read(event, is_whole=False)
        return self.completion

    def _read(self, event: Event, *, is_whole: bool) -> None:
        for document in _documents(event):
            if self._is_over:
                return
            if document.strip() == _END:
                self.completion.ended = self._is_over = True
                return
            self.events += 1
            try:
                self._read_answer(_decoded(document), is_error=event.name == "error")
            except _UNREADABLE:
                if event.name == "error":
                    self.completion.error = excerpt(document) or "without a word"
                elif is_whole and event.name in _ORDINARY_EVENTS:
                    self.completion.damaged = True

    def _read_answer(self, answer: Any, *, is_error: bool) -> None:
        self.completion.error = server_error(answer) or (excerpt(answer) if is_error else None) or self.completion.error
        self.completion.tokens = answer.get("usage") or self.completion.tokens
        for choice in answer.get("choices") or ():
            if choice is not None and self._is_first(choice.get("index")):
                self.completion.add(choice, self._part(choice))

    def _is_first(self, index: Any) -> bool:
        if self._index is None:
            self._index = index
        return index is None or index == self._index

    def _part(self, choice: Mapping[str, Any]) -> Any:
        if (delta := choice.get("delta")) is not None:
            self._has_deltas = True
            return delta
        message = choice.get("message") or {}
        # Some servers end with the whole message.
        return {} if self._has_deltas and message.get("content") == "".join(self.completion.texts) else message


def _documents(event: Event) -> list[str]:
    """Return what an event holds: one JSON text, or one a line from servers that forget the empty line of an event."""
    if event.name == "error":
        return [event.data]
    if not event.data or event.data.isspace():
        return []
    if "\n" in event.data:
        try:
            _decoded(event.data)
        except (ValueError, RecursionError):
            return [line for line in event.data.split("\n") if line.strip()]
    return [event.data]


def _decoded(document: str) -> Any:
    # Only the arguments of a call, which some servers send as an object, hold numbers whose every digit counts.
    return exact_json.decode(document.encode()) if '"arguments"' in document else json.loads(document)


def whole_completion(answer: Any) -> Completion | None:
    """Return an answer that came at once, ``None`` if it is not that of a chat model.

    :param answer: the decoded body; an error of the server is an answer too.
    """
    if not isinstance(answer, Mapping):
        return None
    completion = Completion(tokens=answer.get("usage"), error=server_error(answer))
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message", choice.get("delta")) if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return completion if completion.error else None
    try:
        completion.add(choice, message, whole=True)
    except _UNREADABLE:
        completion.damaged = True
    # Where there is a part instead of a message, a stream was cut after it, unless the part has a reason to stop.
    completion.ended = completion.ended or "message" in choice
    return completion


def read_completion(response: Response) -> Completion:
    """Return what a chat model answered.

    :raises BasetenResponseError: the body is not that of a chat completion.
    """
    body = response.read()
    try:
        whole = whole_completion(exact_json.decode(body))
    except ValueError:
        stream = CompletionStream()
        stream.feed(body)
        whole = stream.close()
        if not (stream.events or whole.ended or (not body and not response.is_json)):
            whole = None
    if whole is not None:
        return whole
    raise BasetenResponseError(
        f"{response.request.subject} answered {response.status}, but not with a chat completion: check that the "
        f"model has an OpenAI-compatible server{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )


def server_error(answer: Mapping[str, Any]) -> str | None:
    """Return what a server says went wrong, in the place of an answer or beside it; ``None`` if it says nothing."""
    if error := answer.get("error") or answer.get("errors"):
        return excerpt(error)
    # Older servers send the error itself, in place of an object that has one.
    if "error" in (answer.get("object"), answer.get("type")):
        return excerpt(answer)
    if answer.get("choices") or answer.get("usage"):
        return None
    return excerpt(answer.get("detail") or answer.get("message"))


def token_count(tokens: Any, name: str) -> int | None:
    """Return a number of a server's ``usage``, ``None`` if it is not there or is no number of tokens."""
    value = tokens.get(name) if isinstance(tokens, Mapping) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def excerpt(words: Any) -> str | None:
    """Return what a server says as one bounded line, ``None`` for nothing."""
    if not words:
        return None
    said = words.get("message") if isinstance(words, Mapping) else words
    try:
        text = str(said or words)[: 4 * _EXCERPT_CHARACTERS]
    except (ValueError, RecursionError):
        text = "something too large or too deep to show"
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _EXCERPT_CHARACTERS else f"{line[:_EXCERPT_CHARACTERS]}..."
