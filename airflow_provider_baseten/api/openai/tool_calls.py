"""Tool calls of a chat model, put together from the parts in which servers send them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypedDict

from airflow_provider_baseten.api import exact_json, texts

# What servers write for arguments where there are none, sometimes before the real ones.
_NO_ARGUMENTS = frozenset({"", "{}", "null"})


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
class _Call:
    index: int | None
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Whether its arguments are a whole object."""
        last = self.arguments[-1] if self.arguments else ""
        return last.rstrip().endswith("}") and decoded_object(_joined(self.arguments)) is not None

    def add(self, part: "_Call") -> None:
        self.id = self.id or part.id
        # A name comes at once, in pieces, or with every part; a piece continues what there is, a repetition begins so.
        self.name = part.name if part.name.startswith(self.name) else self.name + part.name
        self.arguments += part.arguments


class ToolCalls:
    """Calls of one message, in the order of their index, or else of their appearance.

    Servers leave out the index or give each call the same one, leave out ids or repeat them, and repeat the name or the
    arguments. A part belongs to the call that its index and its id name; where they are missing or say nothing, to the
    last call, unless the part begins another one: it has a name, and the last call is whole or has another name.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Any) -> None:
        """Append a whole call.

        :raises TypeError: a member is not of its type.
        :raises ValueError: the arguments have no form in JSON.
        """
        if part := _part(call):
            part.index = None
            self._calls.append(part)

    def add_part(self, part: Any) -> None:
        """Append a part of a call, which may be the whole.

        :raises TypeError: a member is not of its type.
        :raises ValueError: the arguments have no form in JSON.
        """
        if (new := _part(part)) is None:
            return
        call = self._call_of(new)
        if call is None:
            self._calls.append(new)
        else:
            call.add(new)

    def whole(self) -> list[ToolCall]:
        """Return the calls, as far as they have come."""
        calls = self._calls
        if all(call.index is not None for call in calls):
            calls = sorted(calls, key=lambda call: call.index or 0)
        return [ToolCall(id=call.id, name=call.name, arguments=_joined(call.arguments)) for call in calls]

    def _call_of(self, part: _Call) -> _Call | None:
        calls = [call for call in self._calls if part.index is None or call.index in (part.index, None)]
        named = [call for call in calls if part.id is not None and call.id == part.id]
        last = (named or calls)[-1:]
        return last[0] if last and not _begins_another(part, last[0]) else None


def _begins_another(part: _Call, last: _Call) -> bool:
    """Tell whether a part begins a call, or continues the last one with its index or id."""
    if not part.name or not last.name:
        return False
    has_new_id = part.id is not None and last.id not in (None, part.id)
    if last.is_closed:
        if has_new_id or part.name != last.name:
            return True
        is_known = part.index is not None or part.id is not None
        # The same call again, or a call after a placeholder for its arguments.
        again = not part.arguments or _joined([*last.arguments, *part.arguments]) in (
            _joined(last.arguments),
            _joined(part.arguments),
        )
        return not (is_known and again)
    if any(last.arguments):
        return part.name != last.name or (has_new_id and part.index is None)
    return has_new_id or (part.index is None and part.id is None and last.id is None)


def decoded_object(arguments: str) -> dict[str, Any] | None:
    """Return arguments as a dictionary, an empty one where there are none; ``None`` if they are not a JSON object."""
    value: Any = arguments
    for _ in range(2):  # Some servers encode the text of the arguments once more.
        if isinstance(value, str):
            value = {} if value.strip() in _NO_ARGUMENTS else _decoded(value)
    return value if isinstance(value, dict) else None


def _decoded(text: str) -> Any:
    try:
        return texts.readable_value(exact_json.decode(texts.readable(text).encode()))
    except ValueError:
        return None


def _joined(parts: list[str]) -> str:
    """Join the parts of arguments; where that makes no object, without placeholders and repetitions."""
    text = "".join(parts)
    if len(parts) < 2 or decoded_object(text) is not None:
        return text
    real = [part for part in parts if part.strip() not in _NO_ARGUMENTS]
    if not real:
        return "{}"
    grows = all(after.startswith(before) for before, after in pairwise(real))
    candidates = ["".join(real), *(real[-1:] if grows or "".join(real[:-1]) == real[-1] else [])]
    return next((candidate for candidate in candidates if decoded_object(candidate) is not None), text)


def _part(value: Any) -> _Call | None:
    """Return a part of a call, ``None`` if it says nothing.

    :raises TypeError: a member is not of its type: to leave it out would lose a part of the answer.
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
        raise TypeError("a member of a tool call is not of its type")
    if not name and not arguments and not call_id:
        return None
    call_id = texts.readable(str(call_id)) if call_id not in (None, "") else None
    return _Call(_index(value.get("index")), call_id, name, [arguments] if arguments else [])


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        value = int(value) if len(value) < 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
