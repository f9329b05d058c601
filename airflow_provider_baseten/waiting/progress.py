"""Progress of a wait: what one process knows about the requests, for the next process that continues the wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class WaitProgress:
    """Progress of a wait for async requests.

    :param doubtful_since: times at which requests began to look lost, in seconds since the epoch, by request id. A
        request looks lost if Baseten does not know it, or if it has succeeded but its result has not arrived.
    :param succeeded: ids of the requests whose status says that they have a result.
    :param began: start of the wait in seconds since the epoch; ``None`` if it has not begun.
    :param logged: state of the log, see :meth:`~airflow_provider_baseten.waiting.log.WaitLog.logged`.
    """

    doubtful_since: Mapping[str, float] = field(default_factory=dict)
    succeeded: frozenset[str] = frozenset()
    began: float | None = None
    logged: Mapping[str, Any] | None = None
