"""Startups: the starts of the replicas of a deployment, and statistics of them."""

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_provider_baseten.emulator.clock import Clock

StartupPhase = Literal[
    "SCHEDULING", "IMAGE_PULL", "WEIGHT_DOWNLOAD", "CONTAINER_CREATE", "CONTAINER_START", "READINESS"
]
# Status of the deployment -> the phase in which a startup is meanwhile.
_PHASES: dict[str, StartupPhase] = {"BUILDING": "IMAGE_PULL", "DEPLOYING": "SCHEDULING", "LOADING_MODEL": "READINESS"}
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Startup:
    """One start of a replica.

    :param id: id of the attempt.
    :param replica_id: id of the replica.
    :param begin: time in seconds since the epoch.
    :param end: time at which the replica was ready, or at which the start failed.
    :param phases: phase -> its duration in seconds.
    :param outcome: ``SUCCESS`` or ``FAILED``.
    """

    id: str
    replica_id: str
    begin: float
    end: float
    phases: dict[StartupPhase, float]
    outcome: Literal["SUCCESS", "FAILED"]

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.end - self.begin


class Startups:
    """The most recent startups of a deployment.

    :param deployment_id: id of the deployment.
    :param clock: source of time.
    """

    def __init__(self, deployment_id: str, clock: Clock) -> None:
        self._deployment_id = deployment_id
        self._clock = clock
        self._numbers = itertools.count(1)
        self.attempts: deque[Startup] = deque(maxlen=_KEPT)

    def add(self, begin: float, statuses: Mapping[str, float], *, is_success: bool) -> None:
        """Add a startup that ends now.

        :param begin: time in seconds since the epoch.
        :param statuses: status of the deployment -> its duration in seconds.
        :param is_success: whether the replica became ready.
        """
        number = next(self._numbers)
        self.attempts.append(
            Startup(
                id=f"{self._deployment_id}-s{number}",
                replica_id=f"{self._deployment_id}-r{number}",
                begin=begin,
                end=self._clock.now(),
                phases={_PHASES[status]: seconds for status, seconds in statuses.items()},
                outcome="SUCCESS" if is_success else "FAILED",
            )
        )

    def add_cold_start(self, begin: float, end: float | None) -> None:
        """Add the cold start of a replica, the end ``None`` if the replica was stopped before it was ready."""
        self.add(begin, {"LOADING_MODEL": self._clock.now() - begin}, is_success=end is not None)


def percentile(values: Sequence[float], percentage: float) -> float | None:
    """Return a percentile, the smallest value that is not exceeded by ``percentage`` of the values.

    :param values: the values; ``None`` is returned if there are none.
    :param percentage: from 0 to 100.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percentage / 100) - 1)] if ordered else None
