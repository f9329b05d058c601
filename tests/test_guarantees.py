"""Rows of docs/guarantees.rst that no other test holds: what is sent again after a crash, a clear and a second run."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenChatCompletionOperator,
    BasetenEmbeddingOperator,
    BasetenPredictOperator,
    BasetenRetryPolicy,
    BasetenSyncRouteOperator,
)
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.emulator import Emulator, Fault, Model
from airflow_provider_baseten.exceptions import BasetenError, BasetenOrphanedRequestError, BasetenTimeoutError
from tests.docs_blocks.answers import SERVER

KEY = "abcd1234.s3cr3t"
CALLS = pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (BasetenPredictOperator, {"model_input": {"text": "private"}}),
        (BasetenSyncRouteOperator, {"route": "v1/rank", "method": "POST", "json": {"text": "private"}}),
        (BasetenChatCompletionOperator, {"prompt": "private"}),
        (BasetenEmbeddingOperator, {"texts": "private"}),
    ],
    ids=["predict", "route", "chat", "embedding"],
)


class Killed(BaseException):
    """Stands for the death of a worker: no code of the package handles it."""


def context(day=1, **changes):
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2, "try_number": 1}
    ti = SimpleNamespace(**identity | changes, xcom_push=lambda key, value: None)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime(2026, 1, day, tzinfo=UTC))}


@pytest.fixture
def baseten(connect, tmp_path):
    with Emulator(models={"server": Model(SERVER)}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        yield emulator


@CALLS
def test_a_blocking_call_whose_worker_died_is_sent_again(baseten, operator, arguments, monkeypatch):
    def send_and_die(self, request, *rest, real=Client.send):
        real(self, request, *rest)
        raise Killed

    def task():
        return operator(task_id="t", model_id="server", **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "send", send_and_die)
        with pytest.raises(Killed):
            task().execute(context())
    assert task().execute(context(try_number=2)) is not None
    assert len(baseten.requests) == 2


@CALLS
@pytest.mark.parametrize("change", [{"max_tries": 3, "try_number": 2}, {"day": 2}], ids=["clear", "run made again"])
def test_a_blocking_call_is_sent_again(baseten, operator, arguments, change):
    for given in ({}, change):
        operator(task_id="t", model_id="server", **arguments).execute(context(**given))
    assert len(baseten.requests) == 2


def submit(**changes):
    return BasetenAsyncPredictOperator(
        task_id="t", model_id="server", model_input=1, wait_for_completion=False, on_orphaned_request="fail"
    ).execute(context(**changes))


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_submission_that_may_have_been_accepted_is_left_to_the_policy(baseten, status):
    baseten.inject(Fault(action="async_predict", status=status))
    with pytest.raises(BasetenError) as caught:
        submit()
    assert (caught.value.status, caught.value.may_have_run) == (status, True)
    with pytest.raises(BasetenOrphanedRequestError):
        submit(try_number=2)
    assert len(baseten.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 503, 529])
def test_a_submission_that_was_not_accepted_is_sent_again(baseten, status):
    baseten.inject(Fault(action="async_predict", status=status))
    assert submit() in baseten.async_requests
    assert len(baseten.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_submission_that_is_refused_is_no_orphan(baseten, status):
    baseten.inject(Fault(action="async_predict", status=status))
    with pytest.raises(BasetenError) as caught:
        submit()
    assert BasetenRetryPolicy().decide(caught.value).action == "fail"
    assert submit(try_number=2) in baseten.async_requests  # As after a clear.


def test_an_async_request_that_runs_beyond_the_timeout_is_waited_for_again(connect, tmp_path):
    began, go_on = threading.Event(), threading.Event()
    own = tmp_path / "own.json"

    def slow(model_input):
        began.set()
        go_on.wait(30)
        own.write_text(json.dumps(model_input))

    def attempt(number):
        task = BasetenAsyncPredictOperator(
            task_id="t",
            model_id="slow",
            model_input=7,
            result_path=own.as_uri(),
            timeout=2 if number == 1 else 30,
            poll_interval=0.1,
        )
        return task.execute(context(try_number=number))

    with Emulator(models={"slow": slow}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        with pytest.raises(BasetenTimeoutError):
            attempt(1)
        assert began.is_set()
        go_on.set()
        attempt(2)
        assert len(emulator.async_requests) == 1


def test_two_runs_of_one_bulk_job_at_once_send_every_row_twice(tmp_path):
    rows = 10
    seen: list[int] = []
    all_there = threading.Event()
    manifests = []

    def model(model_input):
        seen.append(model_input)
        if len(seen) == 2 * rows:
            all_there.set()
        assert all_there.wait(30)
        return model_input

    with Emulator(models={"echo": model}, api_key=KEY) as emulator:

        def run():
            job = BatchJob(
                target=Target(model_id="echo"),
                inputs=list(range(rows)),
                output_path=str(tmp_path / "out"),
                max_concurrency=rows,
            )
            manifests.append(run_batch(job, client=Client(Credentials(api_key=KEY, base_url=emulator.url))))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        run()  # The job is complete, and nothing is sent any more.
    assert len(seen) == 2 * rows
    for manifest in manifests:
        lines = [line for part in manifest.parts for line in Path(part).read_text().splitlines()]
        assert [json.loads(line)["row"] for line in lines] == list(range(rows))
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
