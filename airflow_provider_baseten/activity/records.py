"""Records: what the pages in Airflow's UI show of a task. Each record is an XCom of its task instance.

Airflow deletes the XComs of a task instance when its next attempt starts, so a record belongs to the current attempt.
No record holds an input or an output of a model. Times are in seconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

# Longest message of an error in a record, in characters.
MAX_MESSAGE_CHARACTERS = 500

# Largest number of request ids in a record.
MAX_SHOWN_IDS = 20

# Largest number of reports in the history of a bulk job. It is even, so that the last report is never left out.
MAX_REPORTS = 60

# Status of a request that was just sent, as the task log names it.
QUEUED = "queued"

_VERSION = 1

# Largest number in a record. What has a larger or a negative number is not a record: the pages could not sum it up.
MAX_NUMBER = 10**15
# A point in time or a duration. The limit is in the year 5138, because dates end with the year 9999.
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e11)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Number = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_NUMBER)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Base of the records.

    :param target: what the task calls, in words, for example ``model abcd1234 (environment production)``.
    :param page: URL of the page of the model or chain; empty if there is none.
    :param version: version of the format. A reader ignores fields that it does not know.
    """

    key: ClassVar[str]

    target: str = ""
    page: str = ""
    version: int = _VERSION

    def as_value(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Numbers of latencies by range. Two lists are quicker to read than many pairs, of 200 jobs at a time.

    :param up_to: upper bound of each range in seconds.
    :param counts: number of latencies in each range.
    """

    up_to: list[Number] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)

    @property
    def ranges(self) -> list[tuple[float, int]]:
        """Upper bound and number of each range."""
        return [*zip(self.up_to, self.counts, strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a bulk job did over time.

    :param at: times of the reports.
    :param concurrency: maximum number of requests in flight at these times.
    :param rows_per_second: rates at these times.
    """

    at: list[Seconds] = field(default_factory=list)
    concurrency: list[Count] = field(default_factory=list)
    rows_per_second: list[Number] = field(default_factory=list)

    def with_report(self, at: float, concurrency: int, rows_per_second: float) -> "History":
        """Return the history with one more report. If there are too many, every second one is left out."""
        step = 2 if len(self.at) >= MAX_REPORTS else 1
        return History(
            at=[*self.at, at][::step],
            concurrency=[*self.concurrency, concurrency][::step],
            rows_per_second=[*self.rows_per_second, rows_per_second][::step],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Progress of a bulk job: the fields of :class:`~airflow_provider_baseten.batch.progress.Progress`."""

    rows: Count = 0
    total: Count | None = None
    at_least: Count = 0
    failed: Count = 0
    errors: dict[str, Count] = field(default_factory=dict)
    rows_per_second: Number = 0.0
    concurrency: Count = 0
    eta_seconds: Seconds | None = None
    latencies: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkJobRecord(Record):
    """A bulk job, or one shard of it.

    :param output_path: URI of the output folder.
    :param started_at: start of the run.
    :param updated_at: time of this record.
    :param ended: whether the run has ended, so that the numbers do not change any more.
    :param history: concurrency and rate over time.
    """

    key: ClassVar[str] = "baseten_bulk_job"

    output_path: str
    started_at: Seconds
    updated_at: Seconds
    progress: JobProgress
    ended: bool = False
    shard: Count = 0
    num_shards: Count = 1
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncRequestRecord(Record):
    """The async requests that a task waits for, or has waited for.

    :param request_ids: ids of the requests; at most 20.
    :param requests: number of requests.
    :param statuses: number of requests by status, in the words of the task log, for example ``in progress``.
    :param sent_at: when the task began to send or to wait.
    :param running_at: when the first request was seen to run; ``None`` if none was.
    :param updated_at: when the statuses were seen.
    :param deadline: end of the wait; ``None`` if it is not known.
    """

    key: ClassVar[str] = "baseten_async_request"

    request_ids: list[str]
    requests: Count
    statuses: dict[str, Count]
    sent_at: Seconds
    updated_at: Seconds
    running_at: Seconds | None = None
    deadline: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord(Record):
    """What a task that has succeeded has used.

    :param model: name of the model on its server, if the task names one.
    :param at: end of the task.
    :param requests: number of requests that the task sent.
    :param rows: number of rows with an outcome; ``None`` for a task without rows.
    :param tokens: numbers of tokens by kind.
    :param cost_usd: price of the tokens in US dollars; ``None`` if it is not known.
    """

    key: ClassVar[str] = "baseten_usage"

    at: Seconds
    model: str | None = None
    requests: Count = 0
    rows: Count | None = None
    tokens: dict[str, Count] = field(default_factory=dict)
    cost_usd: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord(Record):
    """The failure of a task.

    :param at: time of the failure.
    :param type: type of the error.
    :param message: message of the error, as in the log; at most 500 characters.
    :param request_id: id of the request, if it is known.
    :param status: HTTP status, if there was a response.
    """

    key: ClassVar[str] = "baseten_failure"

    at: Seconds
    type: str
    message: str
    request_id: str | None = None
    status: int | None = None


RecordT = TypeVar("RecordT", bound=Record)


def read_record(kind: type[RecordT], value: object) -> RecordT | None:
    """Return the record that an XCom holds; ``None`` if it is not such a record.

    :param kind: type of the record.
    :param value: value of the XCom, decoded from JSON.
    """
    if not isinstance(value, Mapping):
        return None
    try:
        return msgspec.convert(dict(value), type=kind)
    except (ValueError, msgspec.MsgspecError):  # MsgspecError is no ValueError before msgspec 0.21.
        return None


def decode_record(kind: type[RecordT], text: str) -> RecordT | None:
    """Return the record that the JSON text of an XCom holds; ``None`` if it is not such a record.

    :param kind: type of the record.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, msgspec.MsgspecError):
        return None


def keep_record(task_instance: Any, record: Record) -> None:
    """Replace the record of a task instance. It blocks until Airflow has the record.

    :param task_instance: task instance of a task, or the one that a trigger runs for.
    :raises Exception: Airflow's API does not respond.
    """
    from airflow_provider_baseten.compat import push_early

    push_early(task_instance, record.key, record.as_value())
