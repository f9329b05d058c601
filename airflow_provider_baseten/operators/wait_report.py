"""Wait report: the async requests that a task waits for, in the record that the pages in Airflow's UI show."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_baseten.activity.records import MAX_SHOWN_IDS, AsyncRequestRecord
from airflow_provider_baseten.operators.activity_report import described_target, report

if TYPE_CHECKING:
    from airflow.sdk import Context


class WaitReport:
    """Report of a wait on a worker. Call it with the number of requests by status, whenever the statuses change.

    While a task is deferred, its trigger reports.

    :param operator: operator of the task.
    :param context: context of the task.
    :param request_ids: ids of the requests.
    :param sent_at: when the task began to send or to wait, in seconds since the epoch.
    :param running_at: when the first request was seen to run; ``None`` if it was not.
    :param deadline: end of the wait in seconds since the epoch; ``None`` if the wait has ended.
    """

    def __init__(
        self,
        operator: Any,
        context: "Context",
        request_ids: Sequence[str],
        *,
        sent_at: float,
        running_at: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self._operator = operator
        self._task_instance = context["ti"]
        self._record = AsyncRequestRecord(
            **described_target(operator),
            request_ids=[*request_ids][:MAX_SHOWN_IDS],
            requests=len(request_ids),
            statuses={},
            sent_at=sent_at,
            updated_at=sent_at,
            running_at=running_at,
            deadline=deadline,
        )

    @classmethod
    def after_deferral(cls, operator: Any, context: "Context", event: Mapping[str, Any]) -> Self:
        """Return the report of a wait that a trigger has ended.

        :param event: event of the trigger.
        """
        sent_at = time.time() - (event.get("seconds") or 0.0)
        return cls(operator, context, [*event["outcomes"]], sent_at=sent_at, running_at=event.get("running_at"))

    def __call__(self, statuses: Mapping[str, int], running_at: float | None = None) -> None:
        """Keep the number of requests by status.

        :param running_at: when the first request was seen to run; ``None`` if nothing new is known.
        """
        self._record = replace(
            self._record,
            statuses=dict(statuses),
            running_at=running_at or self._record.running_at,
            updated_at=time.time(),
        )
        report(self._operator, lambda: (self._task_instance, self._record))
