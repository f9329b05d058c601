"""Deliveries that the relay keeps in the queue because something fails, such as a result store."""

from collections import Counter
from collections.abc import Iterable, Mapping

from airflow_provider_baseten.webhook.relay_queue import QueueEntry

# Maximum number of deliveries with the same cause that a round tries again. The others wait until one of these is
# stored, so that an outage costs few requests, however many deliveries wait for its end.
_MAX_TRIED = 20


class KeptDeliveries:
    """Names of the files that were kept, each with its cause."""

    def __init__(self) -> None:
        self._causes: dict[str, str] = {}

    def split(self, entries: Iterable[QueueEntry]) -> tuple[list[QueueEntry], Counter[str]]:
        """Return the entries to try in this round, and the number of the others by cause."""
        due: list[QueueEntry] = []
        tried: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for entry in entries:
            cause = self._causes.get(entry.name)
            if cause is not None and tried[cause] >= _MAX_TRIED:
                waiting[cause] += 1
                continue
            if cause is not None:
                tried[cause] += 1
            due.append(entry)
        return due, waiting

    def update(self, entries: Iterable[QueueEntry], tried: Iterable[QueueEntry], failed: Mapping[str, str]) -> None:
        """Record the end of a round. If an entry with a cause did not fail, all entries with this cause are due again.

        :param entries: all entries of the queue.
        :param tried: entries that the round has tried.
        :param failed: the causes of those that failed, by name.
        """
        ended = {self._causes.get(entry.name) for entry in tried if entry.name not in failed}
        lasting = {*failed.values()} - ended
        causes = {**{name: cause for name, cause in self._causes.items() if cause in lasting}, **failed}
        self._causes = {entry.name: causes[entry.name] for entry in entries if entry.name in causes}
