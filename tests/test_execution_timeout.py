"""What a task says whose ``execution_timeout`` passes while Baseten works for it."""

import asyncio
import threading
from datetime import timedelta

import pytest
from airflow.sdk import DAG
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenAsyncRequestSensor,
    BasetenBatchPredictOperator,
    BasetenChatCompletionOperator,
    BasetenEmbeddingOperator,
    BasetenPredictOperator,
    BasetenSyncRouteOperator,
)
from airflow_provider_baseten.compat import AirflowTaskTimeout
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.operators.submission import Submission
from tests.log_records import errors_of_tasks

KEY = "abcd1234.s3cr3t"
LIMIT = timedelta(seconds=2)
MODES = pytest.mark.parametrize("deferrable", [False, True])


@pytest.fixture
def baseten(connect, tmp_path):
    over = threading.Event()

    def slow(model_input):
        over.wait(30)
        return model_input

    async def begin(request):
        async def parts():
            yield b'data: {"choices": [{"delta": {"content": "He"}}]}\n\n'
            while not over.is_set():  # noqa: ASYNC110 - of another thread.
                await asyncio.sleep(0.05)

        return StreamingResponse(parts(), media_type="text/event-stream")

    server = Starlette(routes=[Route("/v1/chat/completions", begin, methods=["POST"])])
    models = {"slow": slow, "stream": server, "quick": lambda model_input: model_input}
    with Emulator(models=models, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        yield emulator
        over.set()
        emulator.release()


@pytest.fixture
def said(run_dag, capfd):
    """Run a task that is too slow, and return the only line in which it says so."""

    def run(dag, tries=1):
        run = run_dag(dag)
        assert run.state == "failed"
        printed = "".join(capfd.readouterr())
        assert "private-" not in printed
        errors = [error for error in errors_of_tasks(printed) if "The execution_timeout of 2 s has passed." in error]
        assert len(errors) == tries
        assert "AirflowTaskTimeout: The execution_timeout of 2 s has passed." in printed
        return errors[-1]

    return run


@pytest.mark.parametrize(
    ("operator", "subject", "arguments"),
    [
        (BasetenPredictOperator, "predict", {"model_input": "private-1"}),
        (BasetenPredictOperator, "predict", {"model_input": "private-1", "log_stream": True}),
        (
            BasetenSyncRouteOperator,
            "POST sync/v1/embeddings",
            {"route": "v1/embeddings", "method": "POST", "data": "private"},
        ),
        (BasetenChatCompletionOperator, "chat completion by m", {"prompt": "private-1", "model": "m", "stream": False}),
        (BasetenEmbeddingOperator, "embeddings", {"texts": "private-1", "model": "m"}),
    ],
    ids=["predict", "stream", "route", "chat", "embedding"],
)
def test_a_call_says_that_it_was_sent(baseten, said, operator, subject, arguments):
    baseten.inject(Fault(delay=20))
    with DAG(f"timeout_of_{subject.replace(' ', '_').replace('/', '_')}_{len(arguments)}") as dag:
        operator(task_id="ask", model_id="slow", execution_timeout=LIMIT, **arguments)
    line = said(dag)
    assert f"{subject} of model slow (environment production) was sent 2 s before" in line
    assert "it has no id before the response" in line
    assert "may still run and be billed" in line
    assert "The next attempt sends the request again." in line


def test_an_answer_that_has_begun_names_its_id(baseten, said):
    with DAG("timeout_of_stream") as dag:
        BasetenChatCompletionOperator(
            task_id="ask", model_id="stream", model="m", prompt="private-1", stream=True, execution_timeout=LIMIT
        )
    line = said(dag)
    (request,) = baseten.requests
    assert f"request id {request.request_id}" in line


def test_a_call_that_was_put_off_says_that_nothing_runs(baseten, said):
    baseten.inject(Fault(status=429, headers={"Retry-After": "30"}, times=9))
    with DAG("timeout_of_wait") as dag:
        BasetenPredictOperator(task_id="ask", model_id="slow", model_input="private-1", execution_timeout=LIMIT)
    assert "was not in flight at that moment, so nothing runs." in said(dag)


def test_a_deferred_predict(baseten, run_dag):
    operator = BasetenPredictOperator(
        task_id="ask", model_id="slow", model_input="private-1", execution_timeout=LIMIT, deferrable=True
    )
    with pytest.raises(
        BaseException,
        match=r"The execution_timeout of 2 s has passed\. The triggerer has stopped waiting for "
        r"predict of model slow .* may still run and be billed.*uses a response that has arrived",
    ):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, {})


@MODES
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "was cancelled before it began to run. The next attempt sends it again."),
        (
            {"cancel_on_timeout": False},
            "may still run and be billed. The next attempt waits for it again and sends nothing.",
        ),
    ],
    ids=["cancelled", "kept"],
)
def test_an_async_request(baseten, said, deferrable, options, words):
    baseten.hold()
    with DAG(f"timeout_of_async_{deferrable}_{'_'.join(options)}") as dag:
        BasetenAsyncPredictOperator(
            task_id="ask",
            model_id="slow",
            model_input="private-1",
            execution_timeout=LIMIT,
            deferrable=deferrable,
            **options,
        )
    line = said(dag)
    (request,) = baseten.async_requests.values()
    assert f"Async request {request.request_id} was sent and {words}" in line
    assert request.status == ("QUEUED" if options else "CANCELED")


def test_an_async_request_whose_output_is_read_by_the_resumed_task(baseten, said, monkeypatch):
    def hang(*_):
        raise AirflowTaskTimeout

    monkeypatch.setattr(Submission, "output", hang)
    with DAG("timeout_of_output") as dag:
        BasetenAsyncPredictOperator(
            task_id="ask", model_id="quick", model_input="private-1", execution_timeout=LIMIT, deferrable=True
        )
    line = said(dag)
    (request_id,) = baseten.async_requests
    assert f"Async request {request_id} was sent" in line
    assert "The next attempt waits for it again" in line


def test_the_submission_of_an_async_request(baseten, said):
    baseten.inject(Fault(action="async_predict", delay=20))
    with DAG("timeout_of_submission") as dag:
        BasetenAsyncPredictOperator(task_id="ask", model_id="slow", model_input="private-1", execution_timeout=LIMIT)
    line = said(dag)
    assert "async predict of model slow (environment production) was being sent: whether Baseten has queued it" in line
    assert "The next attempt sends it again." in line


def test_a_sensor(baseten, said):
    baseten.inject(Fault(action="async_request", delay=20))
    with DAG("timeout_of_sensor") as dag:
        BasetenAsyncRequestSensor(
            task_id="ask", model_id="slow", request_ids=["r1"], execution_timeout=LIMIT, timeout=60
        )
    assert "Nothing was sent. The async requests continue at Baseten" in said(dag)


def test_a_bulk_job(baseten, said, tmp_path):
    with DAG("timeout_of_batch") as dag:
        BasetenBatchPredictOperator(
            task_id="ask",
            model_id="slow",
            inputs=["private-1"] * 3,
            output_path=f"file://{tmp_path}/out",
            execution_timeout=LIMIT,
        )
    line = said(dag)
    assert f"Rows that have an outcome, if any, are in file://{tmp_path}/out" in line
    assert "may still run and be billed" in line
