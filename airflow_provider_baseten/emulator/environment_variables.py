"""Environment variables of one model, hidden from the other models in the process."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_NONE: dict[str, str] = {}
_context_variables: ContextVar[dict[str, str]] = ContextVar("environment_variables", default=_NONE)


class EnvironmentVariables:
    """Environment variables of a Truss.

    While the model is being loaded, the variables are set for the whole process, so that libraries and child processes
    of the model get them. Models are loaded one at a time, so the variables of two models do not mix.

    While a request is handled, only the emulator's own coroutines and threads for the request see the variables. Child
    processes and threads that the model starts at that time do not see them.

    :param variables: name -> value. Booleans become ``true`` and ``false``, as in Truss.
    """

    def __init__(self, variables: Mapping[Any, Any]) -> None:
        self._variables = {str(name): _text(value) for name, value in variables.items()}
        self._current = dict(self._variables)

    @contextmanager
    def set_in_process(self) -> Iterator[None]:
        """Set the variables for the whole process during the block.

        If the block changes one of the variables, ``set_in_context`` uses the changed value.
        """
        before = {name: os.environ.get(name) for name in self._variables}
        os.environ.update(self._variables)
        try:
            yield
        finally:
            self._current = {name: os.environ[name] for name in self._variables if name in os.environ}
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    @contextmanager
    def set_in_context(self) -> Iterator[None]:
        """Set the variables for the block, and for tasks and emulator threads that the block starts."""
        if self._current and type(os.environ) is not _LayeredEnviron:
            os.environ.__class__ = _LayeredEnviron
        token = _context_variables.set(self._current)
        try:
            yield
        finally:
            _context_variables.reset(token)


class _LayeredEnviron(type(os.environ)):  # type: ignore[misc]
    """``os.environ`` in which the variables of the current ``contextvars`` context override those of the process."""

    def __getitem__(self, name: str) -> str:
        own = _context_variables.get()
        return own[name] if name in own else str(super().__getitem__(name))

    def __setitem__(self, name: str, value: str) -> None:
        if name in (own := _context_variables.get()):
            own[name] = value
        else:
            super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if name in (own := _context_variables.get()):
            del own[name]
        else:
            super().__delitem__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*super().__iter__(), *_context_variables.get()]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
