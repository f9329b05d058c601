"""What a crash, a stop or a second run costs; against the emulator."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch import part_writer
from airflow_provider_baseten.batch.engine import GRACE_SECONDS
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenBatchError, BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.storage import write_retries
from airflow_provider_baseten.storage.storage_folder import StorageFolder
from tests.batch.conftest import KEY, lines_of, outputs_of, write_jsonl

RUN = """
import signal, sys, threading
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch import part_writer
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
url, input_path, output_path, part_rows = sys.argv[1:]
part_writer.PART_ROWS = int(part_rows)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
job = BatchJob(target=Target(model_id="echo"), input_path=input_path, output_path=output_path, max_concurrency=8)
client = Client(Credentials(api_key="abcd1234.s3cr3t", base_url=url))
print(run_batch(job, client=client, stop=stop).complete)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-c", RUN, *arguments], stdout=subprocess.PIPE, text=True)


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.processes
def test_killed_at_any_moment_every_row_comes_out_once(baseten, model, tmp_path, run):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    choose = random.Random(seed)
    rows, part_rows, in_flight = 1500, 100, 8
    path, out = write_jsonl(tmp_path / "in.jsonl", range(rows)), str(tmp_path / "out")
    kills = 0
    for _ in range(4):
        child = start(baseten.url, path, out, str(part_rows))
        until = len(model.seen) + choose.randrange(1, 350)
        wait_until(lambda child=child, until=until: len(model.seen) >= until or child.poll() is not None)
        child.kill()
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills
    manifest = run(input_path=path)
    assert outputs_of(manifest) == {row: {"echo": row} for row in range(rows)}
    repeated = sum(Counter(model.seen).values()) - rows
    assert repeated <= kills * (in_flight + part_rows)


@pytest.mark.processes
def test_sigterm_ends_a_run_within_five_seconds(baseten, model, tmp_path, run):
    path, out = write_jsonl(tmp_path / "in.jsonl", range(3000)), str(tmp_path / "out")
    child = start(baseten.url, path, out, "1000")
    wait_until(lambda: len(model.seen) >= 100)
    child.terminate()
    started = time.monotonic()
    assert child.communicate(timeout=30)[0] == "False\n"
    assert child.returncode == 0
    assert time.monotonic() - started < 5
    assert outputs_of(run(input_path=path)) == {row: {"echo": row} for row in range(3000)}
    assert len(model.seen) == 3000  # What was in flight was waited for.


def test_a_stop_does_not_wait_for_a_slow_model(tmp_path, run):
    started = threading.Event()

    def slow(model_input):
        if model_input == 9:
            started.set()
            time.sleep(8)
        return model_input

    with Emulator(models={"slow": slow}, api_key=KEY) as emulator:
        target = Target(model_id="slow")
        stop = threading.Event()
        threading.Thread(target=lambda: started.wait(10) and stop.set()).start()
        manifest = run(target=target, base_url=emulator.url, inputs=list(range(10)), stop=stop)
        assert started.is_set()
    assert not manifest.complete
    assert manifest.seconds < GRACE_SECONDS + 2
    assert outputs_of(manifest) == {row: row for row in range(9)}


def test_a_stop_does_not_wait_for_a_function_that_makes_rows(run):
    stop, release = threading.Event(), threading.Event()

    def rows():
        yield from range(150)
        stop.set()
        release.wait(30)

    started = time.monotonic()
    manifest = run(inputs=rows(), stop=stop)
    assert time.monotonic() - started < 5
    release.set()
    assert not manifest.complete


def test_a_run_that_is_stopped_before_it_begins_sends_nothing(run, baseten):
    stop = threading.Event()
    stop.set()
    assert not run(inputs=[1], stop=stop).complete
    assert not baseten.requests


class TestSecondRun:
    def test_a_complete_run_is_not_repeated(self, run, baseten, caplog):
        manifest = run(inputs=[1, 2])
        assert "already complete" not in caplog.text
        with caplog.at_level("INFO"):
            assert run(inputs=[1, 2]) == manifest
        assert "is already complete: nothing is sent." in caplog.text
        assert run(inputs=[1, 2], overwrite=True) == manifest
        assert len(baseten.requests) == 2

    def test_failed_rows_are_sent_again(self, run, model, tmp_path):
        model.broken = lambda row: row in (3, 4)
        first = run(inputs=list(range(10)))
        assert (first.succeeded, first.failed) == (8, 2)
        model.broken = lambda row: row == 4
        second = run(inputs=list(range(10)))
        assert (second.succeeded, second.failed, second.sent) == (9, 1, 2)
        assert outputs_of(second).keys() == {0, 1, 2, 3, 5, 6, 7, 8, 9}
        assert lines_of(*second.failed_parts).keys() == {4}
        assert not set(first.failed_parts) & {str(path) for path in (tmp_path / "out").iterdir()}

    def test_only_failed_rows(self, run, model):
        model.broken = lambda row: row in (3, 4)
        with pytest.raises(BasetenBatchError):
            run(inputs=list(range(400)), max_failed_rows=1, max_concurrency=1)
        seen = len(model.seen)
        model.broken = lambda row: False
        assert seen == 5
        manifest = run(inputs=list(range(400)), only_failed=True)
        assert sorted(model.seen[seen:]) == [3, 4]
        assert not manifest.complete
        rest = run(inputs=list(range(400)))
        assert rest.complete
        assert Counter(model.seen) == Counter([*range(400), 3, 4])

    def test_changed_options_and_input_are_refused_or_start_anew(self, run, tmp_path, model, baseten):
        path = write_jsonl(tmp_path / "in.jsonl", [1, 2])
        run(input_path=path)
        changes = [
            {"input_path": path, "output_filter": lambda output: 5},
            {"input_path": path, "keep_columns": []} | {"output_format": "parquet"},
            {"inputs": [1, 2]},
        ]
        for arguments in changes:
            with pytest.raises(BasetenInputError, match=r"belongs to a job with another input .* overwrite=True"):
                run(**arguments)
        write_jsonl(tmp_path / "in.jsonl", [3, 4, 5])
        with pytest.raises(BasetenInputError, match="belongs to a job"):
            run(input_path=path)
        assert sorted(model.seen) == [1, 2]
        manifest = run(input_path=path, overwrite=True)
        assert outputs_of(manifest) == {0: {"echo": 3}, 1: {"echo": 4}, 2: {"echo": 5}}
        left = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("part")}
        assert left == {part.rpartition("/")[2] for part in manifest.parts}

    def test_speed_and_credentials_do_not_make_another_job(self, run, tmp_path, baseten):
        path = write_jsonl(tmp_path / "in.jsonl", [1, 2])
        manifest = run(input_path=path)
        assert run(input_path=path, max_concurrency=2, requests_per_second=5, timeout=9, max_failed_rows=1) == manifest

    def test_another_callable_is_another_job(self, run):
        run(inputs=[1, 2], model_input=lambda row: {"a": row in {"x", "y"}})
        assert run(inputs=[1, 2], model_input=lambda row: {"a": row in {"x", "y"}}).rows == 2
        with pytest.raises(BasetenInputError):
            run(inputs=[1, 2], model_input=lambda row: {"b": row in {"x", "y"}})

    def test_a_crash_while_another_job_is_replaced_mixes_nothing(self, run, tmp_path, monkeypatch):
        """However many files were deleted: what is left is not taken for outputs of the new job."""
        run(inputs=[1, 2])
        left = len(list((tmp_path / "out").iterdir()))
        real = StorageFolder.remove
        for deleted in range(left):
            budget = [deleted]

            def remove(folder, name, budget=budget):
                if not budget[0]:
                    raise KeyboardInterrupt
                budget[0] -= 1
                real(folder, name)

            monkeypatch.setattr(StorageFolder, "remove", remove)
            with pytest.raises(KeyboardInterrupt):
                run(inputs=[8, 9], overwrite=True)
            monkeypatch.setattr(StorageFolder, "remove", real)
            assert outputs_of(run(inputs=[8, 9], overwrite=True)) == {0: {"echo": 8}, 1: {"echo": 9}}
            assert outputs_of(run(inputs=[1, 2], overwrite=True)) == {0: {"echo": 1}, 1: {"echo": 2}}

    def test_what_a_killed_run_has_half_written_is_cleared_away(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        half = tmp_path / "out" / ".part-00000-of-00001-000001-abcdef.jsonl.part"
        half.write_text("{")
        run(inputs=[1])
        assert not half.exists()

    def test_foreign_files_stay(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "part-notes.txt").write_text("mine")
        run(inputs=[1])
        run(inputs=[2], overwrite=True)
        assert (tmp_path / "out" / "part-notes.txt").read_text() == "mine"

    def test_a_run_that_fails_midway_keeps_what_it_has(self, run, baseten, model):
        baseten.inject(*[Fault(status=401, delay=0.5)])
        with pytest.raises(Exception, match="401"):
            run(inputs=list(range(100)))
        kept = len(model.seen)
        assert kept
        assert run(inputs=list(range(100))).succeeded == 100
        assert len(model.seen) == 100


class TestParts:
    def test_parts_have_a_thousand_rows(self, run):
        manifest = run(inputs=list(range(2300)))
        assert [len(lines_of(part)) for part in manifest.parts] == [1000, 1000, 300]
        assert list(lines_of(manifest.parts[0])) == sorted(lines_of(manifest.parts[0]))

    def test_an_old_part_is_closed(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(part_writer, "PART_SECONDS", 0.2)
        done = threading.Event()

        def model(model_input):
            if model_input == 1:
                done.wait(20)

        def look():
            wait_until(lambda: list((tmp_path / "out").glob("part-*.jsonl")))
            done.set()

        thread = threading.Thread(target=look)
        thread.start()
        with Emulator(models={"model": model}, api_key=KEY) as emulator:
            manifest = run(target=Target(model_id="model"), base_url=emulator.url, inputs=[0, 1])
        thread.join()
        assert len(manifest.parts) == 2

    def test_no_more_rows_are_at_stake_than_one_part_and_those_in_flight(self, run, model, tmp_path, monkeypatch):
        """While a part can't be written, no rows are sent that would be sent again after a crash."""
        monkeypatch.setattr(part_writer, "PART_ROWS", 20)
        out = tmp_path / "out"
        real, blocked, release = part_writer.OutputFolder.write, threading.Event(), threading.Event()

        def write(folder, *arguments, **options):
            blocked.set()
            release.wait(20)
            return real(folder, *arguments, **options)

        monkeypatch.setattr(part_writer.OutputFolder, "write", write)
        seen = []

        def look():
            blocked.wait(20)
            with suppress(AssertionError):  # The test sees it at its end.
                wait_until(lambda: len(model.seen) >= 20 + 8)
            time.sleep(0.3)  # In which nothing more is sent.
            seen.append(len(model.seen))
            release.set()

        thread = threading.Thread(target=look)
        thread.start()
        manifest = run(inputs=list(range(200)))
        thread.join()
        assert seen == [20 + 8]
        assert manifest.succeeded == 200
        assert out.exists()

    def test_a_disk_that_stays_full_ends_the_run_and_keeps_the_other_parts(self, run, model, monkeypatch, tmp_path):
        monkeypatch.setattr(part_writer, "PART_ROWS", 20)
        monkeypatch.setattr(write_retries, "WORKER_SECONDS", 0.5)
        disk = FullDisk(monkeypatch, parts_before=2)
        with pytest.raises(BasetenResultStoreError, match=r"could not be written .*No space left"):
            run(inputs=list(range(1000)))
        assert disk.refused > 1
        assert len(model.seen) <= 40 + 20 + 8
        disk.is_full = False
        assert run(inputs=list(range(1000))).succeeded == 1000
        assert len(model.seen) <= 1000 + 20 + 8

    @pytest.mark.parametrize("parts_before", [0, 2])
    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
    def test_what_is_paid_waits_for_a_disk_that_is_full(self, run, model, monkeypatch, parts_before, output_format):
        monkeypatch.setattr(part_writer, "PART_ROWS", 20)
        monkeypatch.setattr(write_retries, "FIRST_PAUSE_SECONDS", 0.01)
        disk = FullDisk(monkeypatch, parts_before, refusals=5)
        model.broken = lambda row: row == 30
        manifest = run(inputs=list(range(100)), output_format=output_format)
        assert disk.refused == 5
        assert (manifest.succeeded, manifest.failed) == (99, 1)
        assert len(model.seen) == 100

    def test_a_run_that_is_stopped_does_not_wait_for_the_disk(self, run, monkeypatch):
        monkeypatch.setattr(part_writer, "PART_ROWS", 20)
        stop = threading.Event()
        disk = FullDisk(monkeypatch, 0, on_refusal=stop.set)
        started = time.monotonic()
        with pytest.raises(BasetenResultStoreError):
            run(inputs=list(range(100)), stop=stop)
        assert time.monotonic() - started < 5
        assert disk.refused

    def test_parts_are_bounded_in_bytes(self, run, monkeypatch):
        monkeypatch.setattr(part_writer, "PART_BYTES", 10_000)
        manifest = run(inputs=["x" * 3000] * 40)
        assert outputs_of(manifest).keys() == set(range(40))
        assert max(Path(part).stat().st_size for part in manifest.parts) < 10_000 + 3100


class FullDisk:
    """Makes writing a part fail as on a full disk, at first or for good."""

    def __init__(self, monkeypatch, parts_before, refusals=None, on_refusal=lambda: None):
        self.refused = 0
        self.is_full = True
        real = Path.replace
        written = []

        def replace(path, target):
            if not path.name.startswith((".part-", "._failed-")):
                return real(path, target)
            if self.is_full and len(written) >= parts_before and self.refused != refusals:
                self.refused += 1
                on_refusal()
                raise OSError(28, "No space left on device")
            written.append(path)
            return real(path, target)

        monkeypatch.setattr(Path, "replace", replace)


def test_progress(run, monkeypatch, tmp_path):
    from airflow_provider_baseten.batch import engine

    monkeypatch.setattr(engine, "PROGRESS_SECONDS", 0.2)
    seen = []
    rows = list(range(1500))
    run(inputs=rows, on_progress=seen.append)
    files = []
    run(input_path=write_jsonl(tmp_path / "in.jsonl", rows), output_path=f"{tmp_path}/b", on_progress=files.append)
    assert seen
    assert files
    assert all(progress.total == 1500 and progress.concurrency == 8 for progress in seen)
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    assert any(progress.eta_seconds is not None for progress in files)
    assert all(progress.total == 1500 for progress in files)


@pytest.mark.processes
def test_no_airflow_is_loaded_for_local_files(tmp_path):
    code = RUN.replace("print(", "print(*sorted({name.partition('.')[0] for name in sys.modules})); (")
    path = write_jsonl(tmp_path / "in.jsonl", [1])
    with Emulator(models={"echo": lambda value: value}, api_key=KEY) as emulator:
        done = subprocess.run(
            [sys.executable, "-c", code, emulator.url, path, str(tmp_path / "out"), "10"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
    assert "orjson" in done.stdout
    assert "airflow" not in done.stdout.split()
