"""Trigger waiter: the async requests that a trigger waits for, and events that wake the trigger."""

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_baseten.waiting.state import Observation, Outcome
from airflow_provider_baseten.waiting.waiter import Waiter

if TYPE_CHECKING:
    from airflow_provider_baseten.exceptions import BasetenError


class TriggerWaiter(Waiter):
    """The async requests that one trigger waits for, while a poller of its event loop observes them.

    Parameters are those of :class:`~airflow_provider_baseten.waiting.waiter.Waiter`.
    """

    #: Start of the wait in this trigger, in seconds of the monotonic clock.
    joined_at: float = 0.0
    #: Whether the result store must be read once more before the wait may end at its deadline.
    needs_store_read: bool = False
    #: Reason why the wait can't continue.
    error: "BasetenError | None" = None

    @cached_property
    def ended(self) -> asyncio.Event:
        """Event that is set when each request has an outcome, or the wait can't continue."""
        return asyncio.Event()

    @cached_property
    def changed(self) -> asyncio.Event:
        """Event that is set when a status has changed or the wait has ended."""
        return asyncio.Event()

    def note(self, request_id: str, seen: Observation) -> bool:
        """Pass an observation to the log, and wake the trigger if the status of the request has changed."""
        is_new = super().note(request_id, seen)
        if is_new:
            self.changed.set()
            self.on_change()
        return is_new

    def settle(self, request_id: str, outcome: Outcome) -> None:
        """End the wait for one request. After the last request, end the whole wait."""
        super().settle(request_id, outcome)
        if not self.open:
            self.end()

    def end(self, error: "BasetenError | None" = None) -> None:
        """End the wait, even if some requests have no outcome yet.

        :param error: error that stops the wait, by default none. Only the first error is kept.
        """
        self.error = self.error or error
        self.ended.set()
        self.changed.set()
