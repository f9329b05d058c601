"""Watch: what a task waits for in the management API. It reads the state, and decides whether the wait has ended."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.management.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of what a task waits for.

    :param text: the state in words, for the log.
    :param is_done: whether the wait has ended with success.
    :param error: error with which the wait has ended, ``None`` if it has not failed.
    :param result: facts for the result of the task, as JSON values; used when the wait has ended with success.
    """

    text: str
    is_done: bool = False
    error: BasetenError | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the wait has ended."""
        return self.is_done or self.error is not None


Looks = Callable[[float], Steps[State]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch(ABC):
    """What a task waits for. Its fields are JSON values, so that it can be passed to a trigger.

    :param began: start of the wait in seconds since the epoch.
    """

    #: Name of the class in the arguments of a trigger.
    kind: ClassVar[str]

    began: float

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of what is waited for, for the log."""

    @abstractmethod
    def call(self) -> Call[Any]:
        """Return the call that reads the state."""

    @abstractmethod
    def judge(self, found: Any, now: float) -> State:
        """Return the state. This method does no I/O.

        :param found: result of the call.
        :param now: seconds since the epoch.
        """

    def looks(self, log: Log) -> Looks:
        """Return the function that reads the state once, with the time in seconds since the epoch as its argument.

        A watch may override this with a procedure of several calls that remembers what it has seen.

        :param log: log of the task or the trigger.
        """

        def look(now: float) -> Steps[State]:
            return self.judge((yield self.call()), now)

        return look

    def missing(self, error: BasetenError) -> BasetenError:
        """Return the error for a call that Baseten answered with 404.

        :param error: the error of the call.
        """
        return error

    def stop_calls(self) -> list[Call[Any]]:
        """Return the calls that end the work that is waited for, by default none. A kill of the task sends them."""
        return []

    def as_fields(self) -> dict[str, Any]:
        """Return the watch as JSON values."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Self:
        """Restore a watch; fields that this version does not know are ignored."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known})


def restore_target(fields_of_target: Mapping[str, Any]) -> Target:
    """Restore a target from the fields of a watch."""
    return Target(**fields_of_target)
