"""Listing of the relay's queue, which is used for several rounds."""

import random
import time

from airflow_provider_baseten.webhook.relay_queue import QueueEntry, RelayQueue

# Age in seconds after which a listing is replaced although some of its entries are left. New deliveries wait at most
# that long behind a backlog. Listing a million files takes minutes, so it is not done more often.
_LISTING_SECONDS = 300.0


class QueueListing:
    """Entries of a queue, each of which is returned once, in random order.

    The order is random so that entries that always fail do not block the others. The queue is listed only when all
    entries were returned, or after five minutes.

    :param queue: the queue.
    """

    def __init__(self, queue: RelayQueue) -> None:
        self._queue = queue
        self._left: list[QueueEntry] = []
        self._listed_at = 0.0

    @property
    def is_used_up(self) -> bool:
        """Whether the queue is listed for the next entries."""
        return not self._left

    def take(self, most: int) -> list[QueueEntry]:
        """Return the next entries.

        :param most: maximum number of entries.
        :raises BasetenResultStoreError: the queue can't be read.
        """
        if not self._left or time.monotonic() - self._listed_at > _LISTING_SECONDS:
            self._left = []
            self._left = self._queue.entries()
            self._listed_at = time.monotonic()
            random.shuffle(self._left)
        taken, self._left = self._left[:most], self._left[most:]
        return taken
