"""Signatures and docstrings of what hands further keyword arguments on: they name these arguments too.

``inspect.signature``, ``help()`` and the reference show them. Type checkers and editors read the ``TypedDict`` that is
unpacked in the signature instead; a test holds the two against each other.
"""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from airflow.sdk import BaseOperator

Thing = TypeVar("Thing", bound=Callable[..., Any])

_FURTHER = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any)

# A parameter in a docstring, with the lines that it goes on in.
_PARAMETER = re.compile(r"^:param (\w+):.*(?:\n[ \t]+\S.*)*\n?", re.MULTILINE)


class SignatureMixin:
    """Mixed into an operator: signature and docstring of each subclass name the arguments of its bases."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete both."""
        super().__init_subclass__(**kwargs)
        _complete(cls, [base for base in cls.__bases__ if base is not BaseOperator], without=())


def takes_arguments_of(operator: type, *, without: Collection[str]) -> Callable[[Thing], Thing]:
    """Return a decorator for a function or class that hands its keyword arguments on to an operator.

    :param operator: its class.
    :param without: names of the arguments that are not handed on; ``task_id`` is not either.
    """

    def complete(thing: Thing) -> Thing:
        _complete(thing, [operator], {"task_id", *without})
        return thing

    return complete


def _complete(thing: Any, sources: Sequence[type], without: Collection[str]) -> None:
    """Complete signature and docstring of a class or function with the arguments of the classes in ``sources``."""
    own = vars(thing).get("__init__") if isinstance(thing, type) else thing
    parameters = {} if own is None else dict(inspect.signature(own).parameters)
    parameters.pop("self", None)
    parameters.pop("kwargs", None)
    for source in sources:
        for name, parameter in inspect.signature(source).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in without:
                parameters.setdefault(name, parameter)
    ordered = sorted(parameters.values(), key=lambda parameter: parameter.name != "task_id")
    thing.__signature__ = inspect.Signature([*ordered, _FURTHER])
    own_documentation = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    if own_documentation:
        documented = [source.__doc__ or "" for source in sources if issubclass(source, SignatureMixin)]
        thing.__doc__ = _documentation(own_documentation, documented, parameters)


def _documentation(own: str, others: Sequence[str], names: Collection[str]) -> str:
    """Return a docstring in which the parameters of others follow its own."""
    text = inspect.cleandoc(own)
    found = {match[1]: match for match in _PARAMETER.finditer(text) if match[1] != "kwargs"}
    further: dict[str, str] = {}
    for other in others:
        further |= {m[1]: m[0].rstrip() for m in _PARAMETER.finditer(inspect.cleandoc(other)) if m[1] not in further}
    added = "\n".join(field for name, field in further.items() if name in names and name not in found)
    if not added:
        return text
    end = max((match.end() for match in found.values()), default=len(text))
    return f"{text[:end].rstrip()}{'' if found else chr(10)}\n{added}\n{text[end:]}".rstrip()
