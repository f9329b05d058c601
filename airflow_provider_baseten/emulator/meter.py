"""Meter of what Baseten would charge for: minutes of replicas, requests that ran a model, minutes of training jobs."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.emulator.clock import Clock

_MINUTE = 60


@dataclass(slots=True)
class _Interval:
    """Time with a constant number of replicas; ``end`` is ``None`` while it lasts."""

    start: float
    end: float | None
    count: int

    def seconds(self, start: float, end: float) -> float:
        """Return the replica seconds between ``start`` and ``end``."""
        own_end = end if self.end is None else min(self.end, end)
        return max(0.0, own_end - max(self.start, start)) * self.count


class Meter:
    """Meter of an emulator, which measures on the clock of the emulator. The methods can be called from any thread.

    Replicas count from the beginning of their start until they are stopped. Baseten's documentation bills deploying and
    scaling too; that a replica counts while it starts is this emulator's reading of it.

    :param clock: source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._intervals: dict[tuple[str, str], list[_Interval]] = {}
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._jobs: dict[str, _Interval] = {}

    def replica_minutes(
        self, id_: str, deployment_id: str | None = None, *, start: float = 0.0, end: float | None = None
    ) -> float:
        """Return the minutes for which replicas have run. Two replicas in one minute are two minutes.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all of the model or chain.
        :param start: begin of the time, in seconds since the epoch.
        :param end: end of the time, by default now.
        """
        until = self._clock.now() if end is None else min(end, self._clock.now())
        with self._lock:
            intervals = [i for key, own in self._intervals.items() if _matches(key, id_, deployment_id) for i in own]
        return sum(interval.seconds(start, until) for interval in intervals) / 60

    def paid_requests(
        self, id_: str, deployment_id: str | None = None, *, start: float = 0.0, end: float | None = None
    ) -> int:
        """Return the number of requests that reached a model, each attempt of an async request included.

        :param id_: id of the model or chain, or slug of a model of the Model APIs.
        :param deployment_id: id of the deployment, by default all of the model or chain.
        :param start: begin of the time, in seconds since the epoch; only whole minutes are distinguished.
        :param end: end of the time, by default now.
        """
        until = self._clock.now() if end is None else end
        with self._lock:
            counts = [(key, count) for key, count in self._requests.items() if _matches(key, id_, deployment_id)]
        return sum(count for (_, _, minute), count in counts if start // _MINUTE <= minute <= until // _MINUTE)

    def training_minutes(self, job_id: str, *, start: float = 0.0, end: float | None = None) -> float:
        """Return the minutes for which a training job has run, times the number of its nodes.

        :param job_id: id of the job.
        :param start: begin of the time, in seconds since the epoch.
        :param end: end of the time, by default now.
        """
        until = self._clock.now() if end is None else min(end, self._clock.now())
        with self._lock:
            interval = self._jobs.get(job_id)
        return 0.0 if interval is None else interval.seconds(start, until) / 60

    def deployments(self) -> list[tuple[str, str]]:
        """Return id of the model or chain and id of the deployment of everything that has had replicas."""
        with self._lock:
            return list(self._intervals)

    def set_replicas(self, id_: str, deployment_id: str, count: int) -> None:
        """Record that from now on a deployment has ``count`` replicas, those that are starting included."""
        now = self._clock.now()
        with self._lock:
            intervals = self._intervals.setdefault((id_, deployment_id), [])
            if intervals and intervals[-1].end is None:
                if intervals[-1].count == count:
                    return
                intervals[-1].end = now
            if count:
                intervals.append(_Interval(now, None, count))

    def count_request(self, id_: str, deployment_id: str) -> None:
        """Record a request that reaches a model."""
        with self._lock:
            self._requests[id_, deployment_id, int(self._clock.now() // _MINUTE)] += 1

    def start_job(self, job_id: str, nodes: int) -> None:
        """Record that a training job begins to run."""
        with self._lock:
            self._jobs[job_id] = _Interval(self._clock.now(), None, nodes)

    def stop_job(self, job_id: str) -> None:
        """Record that a training job runs no longer."""
        with self._lock:
            if (interval := self._jobs.get(job_id)) is not None and interval.end is None:
                interval.end = self._clock.now()


def _matches(key: Sequence[Any], id_: str, deployment_id: str | None) -> bool:
    return key[0] == id_ and deployment_id in {None, key[1]}
