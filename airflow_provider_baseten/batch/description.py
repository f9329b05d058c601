"""Description of Python objects by their content. Equal content has the same description in every Python version.

A function or class of the user is described by its source, defaults and closure, and by the constants, functions and
classes that its source refers to. A function whose source is not available is described by its bytecode, which differs
between Python versions. A function or class of Python or of an installed package is described by its name. Other
objects are described by the state that pickle would store.
"""

import copyreg
import functools
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

from airflow_provider_baseten.batch import source_code

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes)
_COLLECTIONS = (list, tuple, set, frozenset, dict)

# Immutable types. A global variable whose value has such a type counts as a constant.
_VALUES = (Decimal, Fraction, date, time, timedelta, tzinfo, UUID, PurePath, re.Pattern, range, Enum)

# Type of the functions that functools.cache and functools.lru_cache return.
_Cached = type(functools.cache(repr))


class NotDescribableError(ValueError):
    """An object can't be described. The error message names the object's type."""


def describe(value: Any) -> str:
    """Return the description of an object.

    :raises NotDescribableError: the object is, or refers to, something like an open file or a lock.
    """
    try:
        return json.dumps(_Describer().of(value))
    except RecursionError:
        raise NotDescribableError(f"{type(value).__name__} is nested too deeply or holds itself") from None


class _Describer:
    """Describes an object and the objects that it refers to.

    A function or class that occurs again is described by the number of its first occurrence.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind in _CONSTANTS:
            return [kind.__name__, _constant(value)]
        if kind in _COLLECTIONS:
            return [kind.__name__, self._items(value)]
        match value:
            case FunctionType():
                return self._once(value, self._function)
            case type():
                return self._once(value, self._class)
            case MethodType():
                return ["method", self.of(value.__func__), self.of(value.__self__)]
            case _Cached():
                return ["cached", self.of(value.__wrapped__), self.of(value.cache_parameters())]
            case functools.partial():
                return ["partial", self.of(value.func), self.of(value.args), self.of(value.keywords)]
            case ModuleType():
                return ["module", value.__name__]
            case Enum():
                return ["member", self.of(kind), value.name]
            case PurePath():
                return ["path", str(value)]
        return self._object(value)

    def _items(self, value: Any) -> list[Any]:
        if isinstance(value, dict):
            return sorted(([self.of(key), self.of(item)] for key, item in value.items()), key=json.dumps)
        items = [self.of(item) for item in value]
        return items if isinstance(value, list | tuple) else sorted(items, key=json.dumps)

    def _once(self, value: Any, describe: Callable[[Any], Any]) -> Any:
        if (number := self._numbers.get(id(value))) is not None:
            return ["again", number]
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return describe(value)

    def _function(self, function: FunctionType) -> Any:
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closure = {name: self._cell(cell) for name, cell in cells}
        if source_code.is_installed(code.co_filename):
            return ["function", function.__module__, function.__qualname__, closure]
        body: Any
        if (node := source_code.node_of_code(code)) is not None:
            body = [source_code.normalized(node), self._surroundings(node, function.__globals__)]
        else:
            body = [_instructions(code), self._globals(_names(code), function.__globals__)]
        return ["function", body, self.of(function.__defaults__), self.of(function.__kwdefaults__), closure]

    def _cell(self, cell: CellType) -> Any:
        try:
            return self.of(cell.cell_contents)
        except NotDescribableError:
            raise
        except ValueError:
            return ["empty"]

    def _class(self, kind: type) -> Any:
        if source_code.is_installed(source_code.file_of_class(kind)):
            return ["class", kind.__module__, kind.__qualname__]
        bases = [self.of(base) for base in kind.__bases__]
        if (node := source_code.node_of_class(kind)) is not None:
            namespace = vars(sys.modules[kind.__module__])
            return ["class", source_code.normalized(node), bases, self._surroundings(node, namespace)]
        members = (getattr(member, "__func__", member) for member in vars(kind).values())
        functions = [member for member in members if isinstance(member, FunctionType)]
        own = {f.__name__: self.of(f) for f in functions if f.__code__.co_filename != "<string>"}
        return ["class", kind.__qualname__, bases, own]

    def _surroundings(self, node: source_code.Node, namespace: Mapping[str, Any]) -> Any:
        names, paths = source_code.used_names(node)
        found = self._globals(names, namespace)
        for *modules, name in sorted(paths):
            inside: Mapping[str, Any] | None = namespace
            for module in modules:
                inside = None if inside is None else _own_module(inside.get(module))
            if inside is not None:
                found |= {".".join([*modules, key]): item for key, item in self._globals({name}, inside).items()}
        return found

    def _globals(self, names: set[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the constants, functions and classes with these names; leave out other objects, such as caches."""
        # Names like __file__ are left out, because their values differ from machine to machine.
        found = {name: namespace[name] for name in sorted(names) if name in namespace and not name.startswith("__")}
        return {name: self.of(value) for name, value in found.items() if _is_constant(value)}

    def _object(self, value: Any) -> Any:
        try:
            own = copyreg.dispatch_table.get(type(value))
            parts: Any = value.__reduce_ex__(4) if own is None else own(value)
        except Exception:
            raise NotDescribableError(f"an object of type {type(value).__name__}") from None
        if isinstance(parts, str):
            return ["named", type(value).__module__, parts]
        # pickle reduces an object to a function, its arguments, the state, and iterators over the object's items. The
        # iterators are described as lists.
        return ["object", *(self.of(list(part) if hasattr(part, "__next__") else part) for part in parts)]


def _constant(value: Any) -> Any:
    match value:
        case int() if not isinstance(value, bool):
            return hex(value)
        case float() if math.isnan(value):
            return "nan"
        case bytes():
            return value.hex()
        case str():
            return value
    return repr(value)


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | functools.partial | _Cached | type)


def _is_constant(value: Any) -> bool:
    """Return whether a value is immutable, a function, a class, or a collection of such values."""
    if isinstance(value, dict):
        return type(value) is dict and all(_is_constant(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value) in _COLLECTIONS and all(map(_is_constant, value))
    return type(value) in _CONSTANTS or isinstance(value, _VALUES) or _is_code(value)


def _own_module(value: Any) -> Mapping[str, Any] | None:
    """Return the namespace of a module that the user wrote, ``None`` for other values."""
    if isinstance(value, ModuleType) and not source_code.is_installed(getattr(value, "__file__", None)):
        return vars(value)
    return None


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def _instructions(code: CodeType) -> Any:
    """Return the bytecode, names and constants of a function whose source is not available."""
    constants = [_instructions(part) if isinstance(part, CodeType) else _sorted_repr(part) for part in code.co_consts]
    return [code.co_code.hex(), [*code.co_names], [*code.co_varnames], constants]


def _sorted_repr(constant: Any) -> str:
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else ascii(constant)
