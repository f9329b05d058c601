"""Environment variables of one model, which the other models of the process do not see."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_NONE: dict[str, str] = {}
_own: ContextVar[dict[str, str]] = ContextVar("own_environment", default=_NONE)


class EnvironmentVariables:
    """The environment variables of a Truss.

    While the model is loaded they stand in the process's environment, so that libraries and programs that it starts
    find them; models are loaded one after the other. Later they are seen by what runs for a request: coroutines and
    threads of the emulator, not programs and threads that the model starts then.

    :param variables: name -> value; booleans become ``true`` and ``false`` as in Truss.
    """

    def __init__(self, variables: Mapping[Any, Any]) -> None:
        self._variables = {str(name): _text(value) for name, value in variables.items()}
        self._now = dict(self._variables)

    @contextmanager
    def of_process(self) -> Iterator[None]:
        """Put the variables into the process's environment; what the block makes of them is kept for later."""
        before = {name: os.environ.get(name) for name in self._variables}
        os.environ.update(self._variables)
        try:
            yield
        finally:
            self._now = {name: os.environ[name] for name in self._variables if name in os.environ}
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    @contextmanager
    def own(self) -> Iterator[None]:
        """Let the variables be seen in the block, and by the tasks and threads that it starts."""
        if self._now and type(os.environ) is not _LayeredEnviron:
            os.environ.__class__ = _LayeredEnviron
        token = _own.set(self._now)
        try:
            yield
        finally:
            _own.reset(token)


class _LayeredEnviron(type(os.environ)):  # type: ignore[misc]
    """The process's environment below the variables of the model that asks."""

    def __getitem__(self, name: str) -> str:
        own = _own.get()
        return own[name] if name in own else str(super().__getitem__(name))

    def __setitem__(self, name: str, value: str) -> None:
        if name in (own := _own.get()):
            own[name] = value
        else:
            super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if name in (own := _own.get()):
            del own[name]
        else:
            super().__delitem__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*super().__iter__(), *_own.get()]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
