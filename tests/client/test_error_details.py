"""What errors say of the server's words: nothing of the input, and nothing at all where the connection says so."""

import asyncio
import json

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenAsyncRequestError, BasetenError, BasetenModelError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.storage.result_store import ResultStore

KEY = "abcd1234.s3cr3t"
SECRET = "Anna has 4111 on her card"
ONCE = RequestRetries(max_attempts=1)


def quoting(status):
    return Fault(status=status, times=None, body=lambda body: {"error": f"no good: {body.decode()}"})


@pytest.fixture(params=[True, False], ids=["details", "no_details"])
def details(request, connect, tmp_path):
    def connected(host, **extra):
        connect(host=host, password=KEY, extra={"log_error_details": request.param} | extra)
        return request.param

    return connected


@pytest.fixture
def baseten():
    with Emulator(models={"m": lambda model_input: model_input}, api_key=KEY) as emulator:
        emulator.inject(quoting(422))
        yield emulator


def check(text, with_details):
    assert "Anna" not in text
    assert "4111" not in text
    assert ("no good" in text) == with_details
    assert ("[input]" in text) == with_details


def test_blocking_and_async_calls(baseten, details):
    expected = details(baseten.url)
    hook = BasetenHook(request_retries=ONCE)
    with pytest.raises(BasetenError) as blocking:
        hook.predict(Target(model_id="m"), {"text": SECRET})

    async def call():
        async with await hook.async_client() as client:
            await client.predict(Target(model_id="m"), {"text": SECRET})

    with pytest.raises(BasetenError) as not_blocking:
        asyncio.run(call())
    check(str(blocking.value), expected)
    assert str(blocking.value).partition(" (request id")[0] == str(not_blocking.value).partition(" (request id")[0]


@pytest.mark.parametrize("with_details", [True, False])
def test_failure_records_of_bulk_jobs(baseten, tmp_path, with_details):
    job = BatchJob(
        target=Target(model_id="m"),
        inputs=[{"text": SECRET}],
        output_path=str(tmp_path / "out"),
        request_retries=ONCE,
    )
    manifest = run_batch(job, client=Client(Credentials(api_key=KEY, base_url=baseten.url, error_details=with_details)))
    with open(manifest.failed_parts[0], encoding="utf-8") as lines:  # noqa: PTH123
        check(json.loads(lines.readline())["error"]["message"], with_details)


def test_errors_in_answers_of_a_chat_model(baseten, details):
    baseten.faults.clear()
    baseten.inject(quoting(200))
    expected = details(baseten.url)
    operator = BasetenChatCompletionOperator(task_id="t", model_id="m", prompt=SECRET)
    with BasetenHook().client() as client:
        response = client.send(operator.build_request())
    with pytest.raises(BasetenModelError) as error:
        operator.read_response(response)
    check(str(error.value), expected)


def test_errors_that_a_webhook_brings(baseten, details, tmp_path):
    expected = details(baseten.url, result_store=f"file://{tmp_path}")
    delivery = {"request_id": "r1", "data": None, "errors": [{"code": "X", "message": f"no good: {SECRET}"}]}
    ResultStore(f"file://{tmp_path}").write("r1.json", json.dumps(delivery).encode())
    operator = BasetenAsyncPredictOperator(
        task_id="t", model_id="m", model_input={"text": SECRET}, webhook_endpoint="http://localhost/x"
    )
    endpoint = operator.webhook_endpoint
    results = operator._open_results(BasetenHook(), endpoint, operator.build_request(endpoint).body)
    with pytest.raises(BasetenAsyncRequestError) as error:
        results.output("r1")
    check(str(error.value), expected)


@pytest.mark.parametrize("with_details", [True, False])
def test_the_place_where_a_callable_raised_is_named_with_both_settings(baseten, tmp_path, with_details):
    baseten.faults.clear()
    job = BatchJob(
        target=Target(model_id="m"),
        inputs=[{"text": SECRET}],
        output_path=str(tmp_path / "out"),
        output_filter=lambda output: int(SECRET),
    )
    manifest = run_batch(job, client=Client(Credentials(api_key=KEY, base_url=baseten.url, error_details=with_details)))
    with open(manifest.failed_parts[0], encoding="utf-8") as lines:  # noqa: PTH123
        message = json.loads(lines.readline())["error"]["message"]
    assert "by output_filter, which raised ValueError in <lambda> (test_error_details.py, line " in message
    assert SECRET not in message
