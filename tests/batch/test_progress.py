"""Progress of a run: how many rows there are, and how long the rest takes."""

import csv
import gzip
import random
import threading

import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_provider_baseten.activity.records import BulkJobRecord, JobProgress
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.formats import input_format_of
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.input_files import find
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.previous_runs import PreviousRuns
from airflow_provider_baseten.batch.progress import Progress
from airflow_provider_baseten.batch.progress_meter import ProgressMeter
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row_count import RowCount, is_cheap
from airflow_provider_baseten.batch.row_source import open_source
from airflow_provider_baseten.batch.run_stats import Latencies, OutcomeStats, RequestStats
from airflow_provider_baseten.exceptions import BasetenBatchError
from airflow_provider_baseten.operators.batch_progress import updated_record
from tests.batch.conftest import write_jsonl

JSONL = [b"1\n2\n3\n", b"1\n\n  \n2", b"\xef\xbb\xbf1\n", b"\n\n", b"1\r\n\r\n2\r\n", b'{"a": "\xe2\x80\xa8"}\n' * 3]
CSV = [b"a,b\n1,2\n", b'\n\na\n"x\ny"\n\n2\n', b"sep=;\na;b\n1;2\n3;4", b'a\n"open\n1\n2\n', b'a,b\n1,"""\n""",\n2,3\n']


def counted(path):
    [file] = find(str(path))
    read = sum(1 for _ in input_format_of(file).rows(file, ReadProgress(), None))
    assert sum(input_format_of(file).counts(file)) == read
    return read


class TestCount:
    @pytest.mark.parametrize("content", JSONL)
    def test_json_lines(self, tmp_path, content):
        (tmp_path / "a.jsonl").write_bytes(content)
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
        assert counted(tmp_path / "a.jsonl") == counted(tmp_path / "a.jsonl.gz")

    @pytest.mark.parametrize("content", CSV)
    def test_csv(self, tmp_path, content):
        (tmp_path / "a.csv").write_bytes(content)
        counted(tmp_path / "a.csv")

    def test_parquet(self, tmp_path):
        pyarrow.parquet.write_table(pa.table({"a": range(2500)}), tmp_path / "a.parquet", row_group_size=700)
        assert counted(tmp_path / "a.parquet") == 2500

    def test_lines_over_the_ends_of_blocks(self, tmp_path):
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")  # noqa: T201
        chance = random.Random(seed)
        lines = [b"1" * chance.choice([0, 1, 100, 100_000, 300_000]) for _ in range(100)]
        (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
        assert counted(tmp_path / "a.jsonl") == sum(map(bool, lines))
        with (tmp_path / "a.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[chance.choice(["a", "\n", '"', "\n\n", ""]) * 3, 1] for _ in range(5000)])
        assert counted(tmp_path / "a.csv") == 4999

    def test_much_text_that_would_be_fetched_twice_is_not_counted(self):
        def file(uri, size):
            return InputFile(uri, size, "", open)

        large = 1 << 30
        assert is_cheap([file("/a.jsonl", large), file("file:///a.csv", large), file("s3://b/a.parquet", large)])
        assert is_cheap([file("s3://b/a.jsonl", 1000)])
        assert not is_cheap([file("s3://b/a.jsonl.gz", large)])

    def test_a_damaged_file_and_a_closed_count_give_no_total(self, tmp_path, monkeypatch):
        path = write_jsonl(tmp_path / "a.jsonl", range(5))
        (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"1\n" * 1000)[:-20])
        damaged = RowCount([*find(path), *find(str(tmp_path / "b.jsonl.gz"))], None)
        closed = RowCount(find(path), None, at_least=3)
        closed.close()
        for count, at_least in ((damaged, 5), (closed, 5)):
            count.start()
            count.wait(10)
            assert (count.total, count.at_least) == (None, at_least)


class TestKnownRows:
    def source(self, tmp_path, **arguments):
        job = BatchJob(target=Target(model_id="abc"), output_path=tmp_path / "out", **arguments)
        return open_source(BatchPlan.of(job))

    def test_of_a_list_a_range_and_whatever_is_short(self, tmp_path):
        for inputs, total in (([1] * 500, 500), (range(500), 500), (iter(range(500)), None), (iter(range(50)), 50)):
            assert self.source(tmp_path, inputs=inputs).total == total
        assert self.source(tmp_path, input_path=write_jsonl(tmp_path / "a.jsonl", range(99))).total == 99
        source = self.source(tmp_path, input_path=write_jsonl(tmp_path / "a.jsonl", range(500)))
        assert (source.total, source.at_least) == (None, 100)


def meter(tmp_path, inputs, **arguments):
    job = BatchJob(target=Target(model_id="abc"), output_path=tmp_path / "out", inputs=inputs, **arguments)
    stats = RequestStats(), OutcomeStats()
    return ProgressMeter(job, open_source(BatchPlan.of(job)), PreviousRuns(), *stats, began=0.0), stats


def answer(stats, rows):
    requests, outcomes = stats
    outcomes.outcomes["success"] += rows
    requests.responses += rows


class TestTimeLeft:
    def at(self, meter, now, rows_read=600, all_read=False):
        return meter.progress(now, concurrency=16, rows_read=rows_read, all_read=all_read)

    def test_it_is_told_after_the_first_answer_from_answered_rows(self, tmp_path):
        progress, stats = meter(tmp_path, [1] * 600)
        _, outcomes = stats
        outcomes.outcomes["BasetenInputError"] = outcomes.unsent = 100  # Broken rows, which take no time.
        assert self.at(progress, 10.0).eta_seconds is None
        answer(stats, 10)
        seen = self.at(progress, 20.0)
        assert (seen.rows, seen.total, seen.eta_seconds) == (110, 600, 980.0)

    def test_it_is_steady_where_answers_are_rare(self, tmp_path):
        progress, stats = meter(tmp_path, [1] * 600)
        left = []
        for step in range(1, 100):
            if step % 2:
                answer(stats, 1)
            left.append(self.at(progress, 10.0 * step).eta_seconds)
        assert None not in left
        assert all(0.6 * 20 * 580 < seconds < 1.4 * 20 * 600 for seconds in left[6:30])

    def test_it_follows_a_rate_that_changes(self, tmp_path):
        progress, stats = meter(tmp_path, [1] * 100_000)
        for step in range(1, 20):
            answer(stats, 10 if step < 10 else 1000)
            seen = self.at(progress, 10.0 * step)
        assert seen.eta_seconds == pytest.approx((100_000 - seen.rows) / 100)

    def test_rows_without_a_length(self, tmp_path):
        progress, stats = meter(tmp_path, iter(range(10_000)))
        answer(stats, 10)
        seen = self.at(progress, 10.0, rows_read=522)
        assert (seen.total, seen.at_least, seen.eta_seconds) == (None, 522, None)
        seen = self.at(progress, 20.0, rows_read=600, all_read=True)
        assert (seen.total, seen.at_least) == (600, 600)
        assert seen.eta_seconds is not None

    def test_a_shard(self, tmp_path):
        progress, stats = meter(tmp_path, [1] * 601, num_shards=3, shard=1)
        answer(stats, 100)
        seen = self.at(progress, 10.0, rows_read=150)
        assert (seen.total, seen.eta_seconds) == (200, 10.0)

    def test_only_rows_that_have_failed_are_left(self, tmp_path):
        progress, stats = meter(tmp_path, [1] * 600, only_failed=True)
        for row in range(100):
            (progress._previous.done if row < 70 else progress._previous.failed).add(row)
        progress._previous.failed.add(3)  # Done by a later run.
        answer(stats, 10)
        seen = self.at(progress, 10.0)
        assert (seen.rows, seen.total, seen.eta_seconds) == (80, 100, 20.0)


def test_a_file_that_is_read_ahead_has_its_total_and_no_early_end(run, tmp_path, monkeypatch, model):
    """All of a small file is read before its first row is answered."""
    from airflow_provider_baseten.batch import engine

    monkeypatch.setattr(engine, "PROGRESS_SECONDS", 0.2)
    seen, go_on, stop = [], threading.Event(), threading.Event()
    model.broken = lambda row: not go_on.wait(30)

    def on_progress(progress):
        seen.append(progress)
        if len(seen) == 3:
            go_on.set()
        if len(seen) > 3 and progress.eta_seconds is not None:
            stop.set()

    path = write_jsonl(tmp_path / "in.jsonl", range(600))
    run(input_path=path, on_progress=on_progress, requests_per_second=20, stop=stop)
    assert [(p.rows, p.total, p.eta_seconds) for p in seen[:3]] == [(0, 600, None)] * 3
    assert seen[-1].total == 600
    assert seen[-1].eta_seconds > 10


class TestHistogram:
    def test_counts_each_latency_once_in_few_ranges(self):
        latencies = Latencies()
        seconds = [0.00005, 0.001, 0.02, 0.02, 0.5, 3.0, 900.0]
        for value in seconds:
            latencies.add(value)
        ranges = latencies.histogram()
        assert len(ranges) <= 24
        assert [bound for bound, _ in ranges] == sorted({bound for bound, _ in ranges})
        for up_to, expected in ((0.01, 2), (0.2, 4), (60.0, 6), (1e9, 7)):
            assert sum(count for bound, count in ranges if bound <= up_to) <= expected
        assert sum(count for _, count in ranges) == 7

    def test_of_equal_latencies_is_one_range(self):
        latencies = Latencies()
        for _ in range(5):
            latencies.add(0.2)
        ((bound, count),) = latencies.histogram()
        assert (count, 0.2 <= bound < 0.22) == (5, True)

    def test_of_nothing_is_empty(self):
        assert Latencies().histogram() == []


def test_the_last_report_is_made_at_the_end(run):
    seen = []
    run(inputs=[1, 2], on_progress=seen.append)
    assert [(progress.is_last, progress.rows) for progress in seen] == [(True, 2)]


def test_the_last_report_is_made_if_the_run_fails(run, model):
    seen = []
    model.broken = lambda row: True
    with pytest.raises(BasetenBatchError):
        run(inputs=[1], on_progress=seen.append, max_failed_rows=0)
    assert [(progress.is_last, progress.failed) for progress in seen] == [(True, 1)]


def test_the_history_of_a_record_stays_short_and_covers_the_whole_run():
    made = BulkJobRecord(output_path="out", started_at=0.0, updated_at=0.0, progress=JobProgress())
    for second in range(10_000):
        progress = Progress(
            rows=second,
            total=None,
            at_least=second,
            failed=0,
            errors={},
            rows_per_second=1.0,
            concurrency=second,
            eta_seconds=None,
        )
        made = updated_record(made, progress, float(second))
        assert len(made.history.at) <= 60
    times = made.history.at
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.0, 9999.0)
    assert times == made.history.concurrency
    assert len(times) == len(made.history.rows_per_second)
    assert made.progress.rows == 9999
