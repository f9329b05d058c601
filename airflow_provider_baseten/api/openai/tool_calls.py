"""Tool calls of a chat model, assembled from the parts in which servers send them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypedDict

from airflow_provider_baseten.api import exact_json, texts

# Placeholders that servers send for empty arguments, sometimes before the real arguments.
_PLACEHOLDERS = frozenset({"", "{}", "null"})


class ToolCall(TypedDict):
    """A call requested by the model.

    :param id: identifies the call when its result is sent back.
    :param name: name of the function.
    :param arguments: the arguments as the model wrote them: a string that is usually, but not always, valid JSON.
    """

    id: str | None
    name: str
    arguments: str


@dataclass(slots=True)
class _Call:
    index: int | None
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Whether the arguments received so far are a complete JSON object."""
        last = self.arguments[-1] if self.arguments else ""
        return last.rstrip().endswith("}") and decode_arguments(_join(self.arguments)) is not None

    def add(self, part: "_Call") -> None:
        self.id = self.id or part.id
        # Servers send the name once, in pieces, or completely in every part. A name that starts with the known name is
        # a repetition and replaces it; any other name is the next piece.
        self.name = part.name if part.name.startswith(self.name) else self.name + part.name
        self.arguments += part.arguments


class ToolCalls:
    """Tool calls of one message, in the order of their indexes; in the order of arrival if any call has no index.

    Servers send a call in parts. The index and the id of a part show to which call it belongs. But some servers omit
    the index or the id, give several calls the same index or id, or repeat the name or the arguments.

    So each part is compared with one earlier call. This call must have the part's index; a missing index matches any
    index. Of the calls that match, the last one with the part's id is taken, or the last one of all if none has this
    id. If no call matches, the part begins a new call.

    If the part or the earlier call has no name, the part continues that call. Otherwise the part begins a new call if
    the names, the ids or the arguments show that the earlier call has ended.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Any) -> None:
        """Append a complete call.

        :raises TypeError: a field is of an unexpected type.
        :raises ValueError: the arguments can't be encoded as JSON.
        """
        if part := _parse_part(call):
            part.index = None
            self._calls.append(part)

    def add_part(self, part: Any) -> None:
        """Add a part to its call, or begin a new call with it. The part may be a complete call.

        :raises TypeError: a field is of an unexpected type.
        :raises ValueError: the arguments can't be encoded as JSON.
        """
        if (new := _parse_part(part)) is None:
            return
        call = self._call_of(new)
        if call is None:
            self._calls.append(new)
        else:
            call.add(new)

    def whole(self) -> list[ToolCall]:
        """Return the tool calls, each joined from the parts received so far."""
        calls = self._calls
        if all(call.index is not None for call in calls):
            calls = sorted(calls, key=lambda call: call.index or 0)
        return [ToolCall(id=call.id, name=call.name, arguments=_join(call.arguments)) for call in calls]

    def _call_of(self, part: _Call) -> _Call | None:
        calls = [call for call in self._calls if part.index is None or call.index in (part.index, None)]
        named = [call for call in calls if part.id is not None and call.id == part.id]
        last = (named or calls)[-1:]
        return last[0] if last and not _begins_another(part, last[0]) else None


def _begins_another(part: _Call, last: _Call) -> bool:
    """Return whether a part begins a new call instead of continuing the last one."""
    if not part.name or not last.name:
        return False
    has_new_id = part.id is not None and last.id not in (None, part.id)
    if last.is_closed:
        if has_new_id or part.name != last.name:
            return True
        is_known = part.index is not None or part.id is not None
        # The part repeats the last call if it has no arguments, or if it has the same arguments. It also repeats the
        # last call if one of the two has the complete arguments, and the other one has only a placeholder.
        is_repeated = not part.arguments or _join([*last.arguments, *part.arguments]) in (
            _join(last.arguments),
            _join(part.arguments),
        )
        return not (is_known and is_repeated)
    if any(last.arguments):
        return part.name != last.name or (has_new_id and part.index is None)
    return has_new_id or (part.index is None and part.id is None and last.id is None)


def decode_arguments(arguments: str) -> dict[str, Any] | None:
    """Return the arguments of a call as a dictionary, ``None`` if they are not a JSON object.

    An empty text and ``null`` stand for empty arguments. For them the result is an empty dictionary.
    """
    value: Any = arguments
    for _ in range(2):  # Some servers encode the arguments twice.
        if isinstance(value, str):
            value = {} if value.strip() in _PLACEHOLDERS else _decode(value)
    return value if isinstance(value, dict) else None


def _decode(text: str) -> Any:
    try:
        return texts.readable_value(exact_json.decode(texts.readable(text).encode()))
    except ValueError:
        return None


def _join(parts: list[str]) -> str:
    """Return the arguments of a call, joined from their parts.

    If the joined text is not a JSON object, repeated parts and placeholders for empty arguments are left out. If that
    does not help, the text with all parts is returned.
    """
    text = "".join(parts)
    if len(parts) < 2 or decode_arguments(text) is not None:
        return text
    real = [part for part in parts if part.strip() not in _PLACEHOLDERS]
    if not real:
        return "{}"
    grows = all(after.startswith(before) for before, after in pairwise(real))
    candidates = ["".join(real), *(real[-1:] if grows or "".join(real[:-1]) == real[-1] else [])]
    return next((candidate for candidate in candidates if decode_arguments(candidate) is not None), text)


def _parse_part(value: Any) -> _Call | None:
    """Return a part of a call, ``None`` if it is empty.

    :raises TypeError: a field is of an unexpected type; ignoring it would lose a part of the completion.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError("a tool call is not an object")
    function = value.get("function") or value
    if not isinstance(function, Mapping):
        raise TypeError("a function is not an object")
    name, arguments, call_id = function.get("name") or "", function.get("arguments"), value.get("id")
    if isinstance(arguments, dict):
        arguments = str(exact_json.encode(texts.readable_value(arguments)), "utf-8")
    if not isinstance(name, str) or not isinstance(arguments, str | None) or not isinstance(call_id, str | int | None):
        raise TypeError("a field of a tool call is of an unexpected type")
    if not name and not arguments and not call_id:
        return None
    call_id = texts.readable(str(call_id)) if call_id not in (None, "") else None
    return _Call(_index(value.get("index")), call_id, name, [arguments] if arguments else [])


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        value = int(value) if len(value) < 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
