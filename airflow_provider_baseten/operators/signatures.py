"""Signatures and docstrings of classes and functions with ``**kwargs``, completed.

This module adds the arguments that ``**kwargs`` passes on to a base class or an operator, so that
``inspect.signature``, ``help()`` and the reference documentation show them. Type checkers and editors read the
arguments from the ``TypedDict`` that annotates ``**kwargs``. A test checks that signature and ``TypedDict`` have the
same arguments.
"""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from airflow.sdk import BaseOperator

Documented = TypeVar("Documented", bound=Callable[..., Any])

_KWARGS = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any)

# A parameter in a docstring, with its continuation lines.
_PARAMETER = re.compile(r"^:param (\w+):.*(?:\n[ \t]+\S.*)*\n?", re.MULTILINE)


class SignatureMixin:
    """Mixin of operators. It adds the arguments of the base classes to the signature and docstring of each subclass."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the signature and the docstring of a subclass."""
        super().__init_subclass__(**kwargs)
        _complete(cls, [base for base in cls.__bases__ if base is not BaseOperator], without=())


def takes_arguments_of(operator: type, *, without: Collection[str]) -> Callable[[Documented], Documented]:
    """Return a decorator for a function or class that passes its keyword arguments to an operator.

    The decorator adds the arguments of the operator to the signature and the docstring.

    :param operator: class of the operator.
    :param without: names of arguments that are not added. ``task_id`` is never added.
    """

    def complete(documented: Documented) -> Documented:
        _complete(documented, [operator], {"task_id", *without})
        return documented

    return complete


def _complete(documented: Any, sources: Sequence[type], without: Collection[str]) -> None:
    """Add the arguments of the classes in ``sources`` to the signature and docstring of a class or function."""
    own = vars(documented).get("__init__") if isinstance(documented, type) else documented
    parameters = {} if own is None else dict(inspect.signature(own).parameters)
    parameters.pop("self", None)
    parameters.pop("kwargs", None)
    for source in sources:
        for name, parameter in inspect.signature(source).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in without:
                parameters.setdefault(name, parameter)
    ordered = sorted(parameters.values(), key=lambda parameter: parameter.name != "task_id")
    documented.__signature__ = inspect.Signature([*ordered, _KWARGS])
    docstring = vars(documented).get("__doc__") if isinstance(documented, type) else documented.__doc__
    if docstring:
        others = [source.__doc__ or "" for source in sources if issubclass(source, SignatureMixin)]
        documented.__doc__ = _docstring(docstring, others, parameters)


def _docstring(own: str, others: Sequence[str], names: Collection[str]) -> str:
    """Return the docstring ``own``, completed.

    Parameters in ``names`` that ``own`` does not document are added from the docstrings ``others``.
    """
    text = inspect.cleandoc(own)
    found = {match[1]: match for match in _PARAMETER.finditer(text) if match[1] != "kwargs"}
    extra: dict[str, str] = {}
    for other in others:
        extra |= {m[1]: m[0].rstrip() for m in _PARAMETER.finditer(inspect.cleandoc(other)) if m[1] not in extra}
    added = "\n".join(field for name, field in extra.items() if name in names and name not in found)
    if not added:
        return text
    end = max((match.end() for match in found.values()), default=len(text))
    return f"{text[:end].rstrip()}{'' if found else chr(10)}\n{added}\n{text[end:]}".rstrip()
