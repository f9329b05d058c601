"""Errors as a task logs them, provoked against the emulator, as docs/troubleshooting.rst quotes them."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenBatchPredictOperator,
    BasetenChatCompletionOperator,
    BasetenPredictOperator,
    BasetenSyncRouteOperator,
    read_output,
)
from airflow_provider_baseten.compat import TaskDeferred
from airflow_provider_baseten.emulator import Emulator, Fault, Limits, Model
from airflow_provider_baseten.operators.failures import log_message
from airflow_provider_baseten.waiting import state

KEY = "abcd1234.emulator-key"
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
# What differs from run to run, and what the page has in its place.
_SHOWN = (
    (r"\b[0-9a-f]{32}\b", "4f1c..."),
    (r"-[0-9a-f]{6}\.jsonl", "-3f2a91.jsonl"),
    (r"127\.0\.0\.1:(?!1\b)\d+", "127.0.0.1:8700"),
)


class Provoker:
    """Runs tasks that fail, and keeps what they log.

    :param baseten: emulator that responds to them.
    :param folder: folder for stores and files.
    :param patch: sets environment variables.
    """

    def __init__(self, baseten: Emulator, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.baseten = baseten
        self.folder = folder
        self.patch = patch
        self.tasks = 0
        self.messages: list[str] = []

    def connect(self, **fields: Any) -> None:
        """Define the default connection."""
        extra = {"result_store": f"file://{self.folder}/results"} | fields.pop("extra", {})
        connection = {"conn_type": "baseten", "host": self.baseten.url, "password": KEY, "extra": extra} | fields
        self.patch.setenv("AIRFLOW_CONN_BASETEN_DEFAULT", json.dumps(connection))

    def context(self, try_number: int = 1) -> Any:
        """Return the context of an attempt of the current task."""
        identity = {"dag_id": "d", "run_id": "r", "task_id": f"t{self.tasks}", "map_index": -1, "max_tries": 1}
        return {"ti": SimpleNamespace(**identity, try_number=try_number, xcom_push=lambda key, value: None)}

    def run(self, operator: type[Any], **options: Any) -> None:
        """Run a task, and keep the message of its error."""
        self.tasks += 1
        self.keep(lambda: self.attempt(operator, **options))

    def attempt(self, operator: type[Any], try_number: int = 1, **options: Any) -> Any:
        """Make an attempt of the current task."""
        return operator(task_id=f"t{self.tasks}", **{"model_id": "abcd1234"} | options).execute(
            self.context(try_number)
        )

    def predict(self, **options: Any) -> None:
        self.run(BasetenPredictOperator, **{"model_input": {"text": "Wo ist mein Paket?"}} | options)

    def async_predict(self, **options: Any) -> None:
        given = {"model_input": {"text": "Wo ist mein Paket?"}, "poll_interval": 0.05, "timeout": 30}
        self.run(BasetenAsyncPredictOperator, **given | options)

    def status(self, status: int, error: str) -> None:
        """Keep the message of a predict whose response has this status."""
        self.baseten.inject(Fault(status=status, body={"error": error}))
        self.predict()

    def keep(self, call: Callable[[], Any]) -> None:
        """Keep the message of the error that a call raises."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the page says which.
            call()
        message = log_message(caught.value)
        for found, shown in ((f"file://{self.folder}", "s3://aws_default@bucket"), (str(self.folder), "/data")):
            message = message.replace(found, shown)
        for pattern, shown in _SHOWN:
            message = re.sub(pattern, shown, message)
        self.messages.append(" ".join(message.split()))


def provoke_errors(folder: Path) -> list[str]:
    """Return the messages of all errors that the page quotes, each on one line."""
    with _provoker(folder) as tasks:
        _of_connections(tasks)
        tasks.connect()
        _of_arguments(tasks)
        _of_statuses(tasks)
        _of_models(tasks)
        _of_responses(tasks)
        _of_networks(tasks)
        tasks.connect()
        _of_async_requests(tasks)
        tasks.connect()
        _of_stores(tasks)
        tasks.connect()
        _of_bulk_jobs(tasks)
        return tasks.messages


@contextmanager
def _provoker(folder: Path) -> Iterator[Provoker]:
    models = {"abcd1234": _model, "efgh5678": _model, "llms1234": Model(Starlette(routes=[_CHAT]))}
    limits = Limits(body_bytes=100_000, async_body_bytes=10_000, webhook_retry_seconds=0.01)
    with pytest.MonkeyPatch.context() as patch, Emulator(models=models, api_key=KEY, limits=limits) as baseten:
        patch.setattr("airflow_provider_baseten.client.retries.is_retryable", lambda error, request: False)
        patch.setattr(state, "GRACE", 0.3)
        patch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.1")
        patch.delenv("BASETEN_API_KEY", raising=False)
        yield Provoker(baseten, folder, patch)
        baseten.release()


def _model(model_input: Any) -> Any:
    if model_input == {"fail": True}:
        raise ValueError("tokenizer.json not found")
    return {"language": "de"}


async def _chat(request: Request) -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Ihr Paket"}, "finish_reason": "length"}
    return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


_CHAT = Route("/v1/chat/completions", _chat, methods=["POST"])


def _of_connections(tasks: Provoker) -> None:
    tasks.predict()
    tasks.predict(baseten_conn_id="baseten_staging")
    for fields in (
        {"password": ""},
        {"conn_type": "http"},
        {"extra": {"auth_shceme": "Api-Key"}},
        {"host": "baseten example"},
        {"password": "wrong-key"},
    ):
        tasks.connect(**fields)
        tasks.predict()


def _of_arguments(tasks: Provoker) -> None:
    for options in (
        {"model_id": None},
        {"model_id": "model-abcd1234"},
        {"modelid": "abcd1234"},
        {"model_input": None},
        {"model_input": {"day": date(2026, 1, 1)}},
    ):
        tasks.predict(**options)


def _of_statuses(tasks: Provoker) -> None:
    tasks.predict(model_id="zzzz9999")
    tasks.predict(environment="staging")
    tasks.run(BasetenSyncRouteOperator, model_id="llms1234", route="v1/rank")
    tasks.baseten.deactivate("efgh5678")
    tasks.predict(model_id="efgh5678")
    tasks.predict(model_input="x" * 100_000)
    tasks.status(402, "Payment required")
    tasks.status(403, "Forbidden")
    tasks.status(422, "text: field required")
    tasks.status(429, "Too many requests")
    tasks.status(500, "Internal server error")
    tasks.status(502, "Bad gateway")
    tasks.status(503, "Service unavailable")
    tasks.status(504, "Gateway timeout")
    tasks.status(529, "Overloaded")


def _of_models(tasks: Provoker) -> None:
    tasks.predict(model_input={"fail": True})
    tasks.run(BasetenChatCompletionOperator, model_id="llms1234", prompt="Wo ist mein Paket?")


def _of_responses(tasks: Provoker) -> None:
    for fault in (
        {"status": 200, "body": "<html>Log in</html>", "headers": HTML},
        {"status": 200, "body": '{"language": "d', "headers": JSON},
        {"status": 302, "body": "", "headers": {"Location": "https://login.example.com"}},
        {"reset": True},
    ):
        tasks.baseten.inject(Fault(**fault))
        tasks.predict()
    tasks.baseten.inject(Fault(delay=5))
    tasks.predict(timeout=1)


def _of_networks(tasks: Provoker) -> None:
    tasks.connect(host="http://127.0.0.1:1")
    tasks.predict()
    with tasks.patch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:1")
        tasks.connect(host="http://baseten.example.com")
        tasks.predict()


def _of_async_requests(tasks: Provoker) -> None:
    tasks.async_predict(model_input="x" * 10_000)
    tasks.async_predict(model_input={"fail": True}, inference_retry_config={"max_attempts": 1})
    tasks.baseten.hold()
    tasks.async_predict(timeout=1)
    tasks.baseten.release()

    tasks.baseten.inject(Fault(action="async_request", method="GET", status=404, times=None))
    tasks.async_predict()
    tasks.baseten.faults.clear()
    tasks.connect(extra={"webhook_endpoint": "http://127.0.0.1:1/baseten/webhooks/baseten_default"})
    for delivered in (200, 400):
        tasks.baseten.inject(Fault(action="webhook", status=delivered))
        tasks.async_predict()
    tasks.connect()

    tasks.baseten.inject(Fault(action="async_predict", after_model=True, reset=True))
    tasks.async_predict()
    tasks.keep(
        lambda: tasks.attempt(
            BasetenAsyncPredictOperator,
            try_number=2,
            model_input={"text": "Wo ist mein Paket?"},
            timeout=30,
            on_orphaned_request="fail",
        )
    )


def _of_stores(tasks: Provoker) -> None:
    tasks.connect(extra={"result_store": "file:///proc/baseten"})
    tasks.predict()
    tasks.connect()
    (tasks.folder / "other").mkdir()
    reference = {"uri": f"file://{tasks.folder}/other/x.json", "bytes": 1, "request_id": "1", "format": "json"}
    tasks.keep(lambda: read_output(reference | {"baseten_conn_id": "baseten_default", "signature": "0" * 64}))

    tasks.tasks += 1
    operator = BasetenPredictOperator(task_id=f"t{tasks.tasks}", model_id="abcd1234", model_input=1, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tasks.context())
    calls = tasks.folder / "results" / "calls"
    calls.rename(tasks.folder / "elsewhere")

    async def event_of(trigger: Any) -> Any:
        return (await anext(trigger.run())).payload

    event = asyncio.run(event_of(deferred.value.trigger))
    tasks.keep(lambda: operator.execute_complete(tasks.context(), event))


def _of_bulk_jobs(tasks: Provoker) -> None:
    out = f"file://{tasks.folder}/scores"
    tasks.run(BasetenBatchPredictOperator, input_path=f"file://{tasks.folder}/tickets.jsonl", output_path=out)
    tasks.run(BasetenBatchPredictOperator, inputs=[{"fail": True}] * 3, output_path=out)
    tasks.run(BasetenBatchPredictOperator, inputs=[{"text": "Hi"}], output_path=out)
    rows = [{"fail": True}, {"text": "Hi"}]
    tasks.run(BasetenBatchPredictOperator, inputs=rows, output_path=f"{out}_2", max_failure_ratio=0.1)
