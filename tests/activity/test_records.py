"""Records are read back as they were kept; one of another version or a damaged one hides nothing else."""

import json
from dataclasses import replace

import pytest

from airflow_provider_baseten.activity.records import (
    AsyncRequestRecord,
    BulkJobRecord,
    FailureRecord,
    Histogram,
    History,
    JobProgress,
    Record,
    UsageRecord,
    read_record,
)

RECORDS = [
    BulkJobRecord(
        target="model abc (environment production)",
        page="https://app.baseten.co/models/abc/overview",
        output_path="s3://bucket/out",
        started_at=1.0,
        updated_at=2.5,
        progress=JobProgress(
            rows=3, total=None, errors={"BasetenModelError": 1}, latencies=Histogram(up_to=[0.1, 0.2], counts=[2, 1])
        ),
        history=History(at=[2.0], concurrency=[16], rows_per_second=[3.5]),
    ),
    AsyncRequestRecord(request_ids=["r1"], requests=1, statuses={"queued": 1}, sent_at=1.0, updated_at=2.0),
    UsageRecord(at=3.0, model="m", requests=1, tokens={"prompt_tokens": 7}),
    FailureRecord(at=4.0, type="BasetenModelError", message="The model failed.", request_id="r1", status=500),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.key)
class TestReading:
    def test_returns_what_was_kept(self, record: Record) -> None:
        assert read_record(type(record), json.loads(json.dumps(record.as_value()))) == record

    def test_ignores_fields_of_a_later_version(self, record: Record) -> None:
        later = {**record.as_value(), "version": 2, "new": [1]}
        assert read_record(type(record), later) == replace(record, version=2)

    @pytest.mark.parametrize("value", [None, [], "text", {}, {"version": "one"}])
    def test_returns_nothing_for_something_else(self, record: Record, value: object) -> None:
        assert read_record(type(record), value) is None


@pytest.mark.parametrize("number", [-1, 1e18, 1e300, 10**400, float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("record", "field"),
    [
        *((RECORDS[0], field) for field in ("started_at", "updated_at", "shard", "num_shards")),
        *((RECORDS[1], field) for field in ("requests", "sent_at", "running_at", "updated_at", "deadline")),
        *((RECORDS[2], field) for field in ("at", "requests", "rows", "cost_usd")),
        (RECORDS[3], "at"),
    ],
)
def test_what_has_a_number_that_no_page_can_show_is_not_a_record(record: Record, field: str, number: float) -> None:
    assert read_record(type(record), record.as_value() | {field: number}) is None


def test_each_kind_has_a_key_of_its_own() -> None:
    assert len({record.key for record in RECORDS}) == len(RECORDS)
