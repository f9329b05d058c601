"""`@task.llm_batch` of the common AI provider on Baseten, in a real Airflow against the emulator."""

import datetime
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from airflow.sdk import DAG, task
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.telemetry import metrics, spans
from tests.chat_server import ChatServer

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.ai.batch import state
from airflow.providers.common.ai.exceptions import LLMBatchLimitExceededError, LLMBatchModelMismatchError

from airflow_provider_baseten.integrations.common_ai_batch import BasetenBatchAdapter, BasetenBatchUnknownError

KEY = "abcd1234.s3cr3t"
NOW = {"retries": 1, "retry_delay": datetime.timedelta(0)}


class Animal(BaseModel):
    name: str
    legs: int


def answer(body):
    prompt = body["messages"][-1]["content"]
    if prompt == "refuse":
        return 422
    if prompt == "silent":
        return None
    if "response_format" in body:
        return prompt
    return prompt.upper()


@pytest.fixture
def server():
    return ChatServer(answer)


@pytest.fixture
def baseten(server, connect, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}/store")
    with Emulator(models={"chat": server}, model_apis={"org/Chat-1": server}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


@pytest.fixture
def batch(tmp_path):
    """Make the operator of a list of prompts."""

    def make(prompts, **arguments):
        options = {
            "llm_conn_id": "baseten_default",
            "model_id": "baseten:chat",
            "result_path": f"file://{tmp_path}/results",
        }

        @task.llm_batch(**options | arguments)
        def ask():
            return prompts

        return ask()

    return make


def rows(run):
    """What landed, by the index of the request."""
    uri = run.xcom("ask")["result_uri"].removeprefix("file://")
    lines = map(json.loads, Path(uri).read_text().splitlines())
    return {line["index"]: line for line in lines}


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
def test_each_prompt_is_one_request_and_one_row(baseten, server, run_dag, batch, deferrable):
    prompts = [f"prompt {index} {{{{ ds }}}}" for index in range(100)]
    with DAG(f"llm_batch_{deferrable}") as dag:
        batch(prompts, system_prompt="Be brief.", max_tokens=7, request_params={"top_p": 0.5}, deferrable=deferrable)
    run = run_dag(dag)
    assert run.state == "success"
    landed = rows(run)
    assert [landed[index]["output"] for index in range(100)] == [prompt.upper() for prompt in prompts]
    assert landed[0]["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert (landed[0]["finish_reason"], landed[0]["custom_id"].endswith("-0")) == ("stop", True)
    assert (run.xcom("ask")["terminal_reason"], run.xcom("ask")["counts"]["succeeded"]) == ("succeeded", 100)
    assert sorted(body["messages"][1]["content"] for body in server.bodies) == sorted(prompts)
    assert {(body["messages"][0]["content"], body["max_tokens"], body["top_p"]) for body in server.bodies} == {
        ("Be brief.", 7, 0.5)
    }


def test_answers_with_a_form_are_checked(baseten, server, run_dag, batch):
    good = '{"name": "ant", "legs": 6}'
    with DAG("llm_batch_form") as dag:
        batch([good, "no JSON", "silent"], output_type=Animal)
    landed = rows(run_dag(dag))
    assert landed[0]["output"] == {"name": "ant", "legs": 6}
    assert [landed[index]["status"] for index in range(3)] == ["success", "invalid_output", "error"]
    schema = server.bodies[0]["response_format"]["json_schema"]
    assert (schema["name"], set(schema["schema"]["properties"])) == ("Animal", {"name", "legs"})


def test_failed_requests_do_not_fail_the_others(baseten, run_dag, batch):
    with DAG("llm_batch_failures") as dag:
        batch(["a", "refuse", "b"])
    run = run_dag(dag)
    landed = rows(run)
    assert [landed[index]["output"] for index in range(3)] == ["A", None, "B"]
    assert (landed[1]["status"], landed[1]["error"]["type"]) == ("error", "BasetenInputError")
    assert landed[1]["error"]["request_id"] in {request.request_id for request in baseten.requests}
    assert run.xcom("ask")["counts"]["errored"] == 1


@pytest.mark.parametrize(
    ("model_id", "path", "model"),
    [
        ("baseten:chat", "/model-chat/environments/production/sync/v1/chat/completions", "baseten"),
        ("baseten:chat@development", "/model-chat/development/sync/v1/chat/completions", "baseten"),
        ("baseten:org/Chat-1", "/inference/v1/chat/completions", "org/Chat-1"),
    ],
)
def test_models(baseten, server, run_dag, batch, model_id, path, model):
    with DAG(f"llm_batch_{model_id.translate(str.maketrans(':@/', '___'))}") as dag:
        batch(["a"], model_id=model_id)
    assert rows(run_dag(dag))[0]["output"] == "A"
    assert [request.path for request in baseten.requests] == [path]
    assert server.bodies[0]["model"] == model


class TestPayOnce:
    def test_retry_sends_only_what_has_no_output(self, baseten, server, run_dag, batch):
        def refuse_the_key_after_50(body):
            if len(server.bodies) == 50:
                baseten.inject(Fault(action="sync", times=None, status=401))
            return body["messages"][-1]["content"].upper()

        server._answer = refuse_the_key_after_50
        prompts = [f"prompt {index}" for index in range(1000)]
        with DAG("llm_batch_retry") as dag:
            batch(prompts, on_retry_callback=lambda context: baseten.faults.clear(), **NOW)
        run = run_dag(dag)
        assert run.state == "success"
        assert run.xcom("ask")["counts"]["succeeded"] == 1000
        asked = [body["messages"][-1]["content"] for body in server.bodies]
        # What was in flight when the run broke off was sent again: not more than the requests at once.
        assert set(asked) == set(prompts)
        assert 1000 <= len(asked) <= 1000 + 64

    def test_time_limit_keeps_what_was_answered(self, baseten, server, run_dag, batch):
        def stall_after_50(body):
            if len(server.bodies) == 50:
                baseten.inject(Fault(action="sync", times=None, delay=120))
            return body["messages"][-1]["content"].upper()

        server._answer = stall_after_50
        with DAG("llm_batch_late") as dag:
            batch(
                [f"prompt {index}" for index in range(200)],
                execution_timeout=datetime.timedelta(seconds=5),
                on_retry_callback=lambda context: baseten.faults.clear(),
                **NOW,
            )
        run = run_dag(dag)
        assert run.state == "success"
        assert run.xcom("ask")["counts"]["succeeded"] == 200
        # Those that stalled never reached the model.
        assert 200 <= len(server.bodies) <= 200 + 64

    def test_attempt_that_died_before_its_batch_was_recorded(self, baseten, server, run_dag, batch, monkeypatch):
        crashes = iter([True])
        write = state.write_submitted

        def crash_once(*arguments, **options):
            if next(crashes, False):
                raise RuntimeError("the worker dies before it has written the id")
            write(*arguments, **options)

        monkeypatch.setattr(state, "write_submitted", crash_once)
        with DAG("llm_batch_orphan") as dag:
            batch(["a", "b"], on_orphaned_intent="fail", **NOW)
        run = run_dag(dag)
        assert run.state == "success"
        assert len(server.bodies) == 2

    def test_landing_that_failed_is_repeated_without_a_request(self, baseten, server, run_dag, batch, monkeypatch):
        crashes = iter([True])
        results = BasetenBatchAdapter.iter_results

        def crash_once(self, batch_id):
            if next(crashes, False):
                raise RuntimeError("the worker dies while it lands the results")
            return results(self, batch_id)

        monkeypatch.setattr(BasetenBatchAdapter, "iter_results", crash_once)
        with DAG("llm_batch_landing") as dag:
            batch(["a", "b"], **NOW)
        assert rows(run_dag(dag))[1]["output"] == "B"
        assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompts": []}, "at least one request"),
        ({"prompts": [{"prompt": "a", "model": "baseten:other"}]}, "names the model other"),
        ({"prompts": [{"prompt": "a", "model": "openai:gpt"}]}, "does not resolve"),
        ({"prompts": ["a"], "model_id": "baseten:a b"}, "model_id"),
        ({"prompts": ["a"], "model_id": "baseten:nope"}, "returned 404"),
    ],
)
def test_bad_input(baseten, server, run_dag, batch, capfd, arguments, words):
    with DAG(f"llm_batch_bad_{words.replace(' ', '_')}") as dag:
        batch(**arguments)
    assert run_dag(dag).states == {"ask": "failed"}
    assert words in capfd.readouterr().out
    assert server.bodies == []


def test_prompts_are_not_logged(baseten, run_dag, batch, capfd):
    with DAG("llm_batch_private") as dag:
        batch(["private-a", {"prompt": "private-b"}])
    run = run_dag(dag)
    seen = "".join(capfd.readouterr()) + str(run.rendered) + str(run.xcoms)
    assert run.state == "success"
    assert "private-" not in seen
    assert KEY not in seen


class TestAdapter:
    @pytest.fixture
    def stored(self, monkeypatch, tmp_path):
        """Makes a batch that is complete of lines of its only part; returns its results."""

        def make(*lines):
            monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
            folder = tmp_path / "llm_batches" / "0-1"
            folder.mkdir(parents=True)
            (folder / "part.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            manifest = {"fingerprint": "f", "parts": [f"file://{folder}/part.jsonl"]}
            (folder / "_manifest.json").write_text(json.dumps(manifest))
            return list(BasetenBatchAdapter(api_key=KEY).iter_results("0-1"))

        return make

    def test_limits(self, monkeypatch):
        adapter = BasetenBatchAdapter(api_key=KEY)
        monkeypatch.setattr(BasetenBatchAdapter, "max_requests", 2)
        monkeypatch.setattr(BasetenBatchAdapter, "max_payload_bytes", 1000)
        from airflow.providers.common.ai.batch.output_schema import build_output_spec

        options = {"model": "chat", "output_spec": build_output_spec(str), "idempotency_key": "0" * 16}
        adapter.validate_requests([{"prompt": "a"}] * 2, **options)
        with pytest.raises(LLMBatchLimitExceededError, match="at most 2 requests"):
            adapter.validate_requests([{"prompt": "a"}] * 3, **options)
        with pytest.raises(LLMBatchLimitExceededError, match="at most 1,000 bytes"):
            adapter.validate_requests([{"prompt": "a" * 1000}], **options)
        with pytest.raises(LLMBatchModelMismatchError):
            adapter.validate_requests([{"prompt": "a", "model": "baseten:chat@staging"}], **options)

    @pytest.mark.parametrize(
        ("output", "words"),
        [
            ({"error": {"message": "context length exceeded"}}, "context length exceeded"),
            ({"choices": []}, "not a chat completion"),
            ({"choices": [{"message": {"content": "half"}, "finish_reason": "abort"}]}, "abort"),
            ({"choices": [{"message": {"content": None, "reasoning": "hm"}, "finish_reason": "stop"}]}, "reasoning"),
            (None, "not a chat completion"),
        ],
    )
    def test_answers_with_status_200_that_are_no_success(self, stored, output, words):
        (item,) = stored({"row": 0, "output": output})
        assert (item.provider_status, item.raw) == ("errored", None)
        assert words in item.error["message"]

    def test_answers_of_any_form(self, stored):
        choices = [{"message": {"content": [{"type": "text", "text": "a"}, "b\ud83d"]}, "finish_reason": ["x"]}]
        usage = {"prompt_tokens": -1, "completion_tokens": "7"}
        refused = [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]
        found = stored(
            {"row": 0, "output": {"choices": choices, "usage": usage, "model": 7}},
            {"row": 1, "output": {"choices": refused, "usage": 7}},
        )
        assert [(item.provider_status, item.raw) for item in found] == [("success", "ab\ufffd"), ("success", None)]
        assert found[0].usage == {"input_tokens": 0, "output_tokens": 0}
        assert (found[0].model, found[1].usage) == (None, None)

    def test_parameters_are_checked_as_json(self):
        from airflow.providers.common.ai.batch.output_schema import build_output_spec

        adapter = BasetenBatchAdapter(api_key=KEY)
        options = {"model": "chat", "output_spec": build_output_spec(str), "idempotency_key": "0" * 16}
        adapter.validate_requests([{"prompt": "a"}], request_params={"logit_bias": {7: 1}, "seed": 2**70}, **options)
        with pytest.raises(BasetenInputError, match="Request 0"):
            adapter.validate_requests([{"prompt": "a"}], request_params={"stop": {"x"}}, **options)

    @pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b'{"other": 1}'])
    def test_damaged_batch_counts_as_forgotten(self, monkeypatch, tmp_path, manifest):
        monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
        folder = tmp_path / "llm_batches" / "0-1"
        folder.mkdir(parents=True)
        (folder / "_manifest.json").write_bytes(manifest)
        with pytest.raises(BasetenBatchUnknownError, match="damaged"):
            BasetenBatchAdapter(api_key=KEY).get_batch("0-1")

    def test_batch_that_is_not_in_the_store_counts_as_forgotten(self, baseten):
        adapter = BasetenBatchAdapter(api_key=KEY, base_url=baseten.url)
        for ask in (adapter.get_batch, adapter.iter_results):
            with pytest.raises(BasetenBatchUnknownError, match="result_store") as caught:
                ask("0-1")
            assert caught.value.status_code == 404

    def test_connection_without_a_key(self):
        with pytest.raises(BasetenAuthError, match="no password"):
            BasetenBatchAdapter(api_key=None, base_url=None)

    def test_outcomes_of_every_form_are_read(self, baseten, tmp_path):
        """Half an emoji, content in parts, numbers without bounds; and no answer is told as a part of an error."""
        folder = tmp_path / "store" / "llm_batches" / "0-1"
        folder.mkdir(parents=True)
        manifest = {"fingerprint": "f", "parts": [f"{folder}/part"], "failed_parts": [f"{folder}/_failed"]}
        (folder / "_manifest.json").write_text(json.dumps(manifest))
        lines = [
            r'{"row":0,"output":{"choices":[{"message":{"content":"half \ud83d"}}],"usage":{"prompt_tokens":1e400}}}',
            '{"row":1,"output":{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}}',
        ]
        (folder / "part").write_text("\n".join(lines))
        (folder / "_failed").write_text('{"row":2,"error":{"type":"BasetenResponseError","response":"private"}}\n')
        adapter = BasetenBatchAdapter(api_key=KEY, base_url=baseten.url)
        results = list(adapter.iter_results("0-1"))
        assert [result.raw for result in results] == ["half \ufffd", "ab", None]
        assert results[0].usage == {"input_tokens": 0, "output_tokens": 0}
        assert results[2].error == {"type": "BasetenResponseError"}
        (folder / "part").write_text("{")
        with pytest.raises(BasetenResultStoreError, match="is damaged"):
            list(adapter.iter_results("0-1"))
        (folder / "_manifest.json").write_text("{")
        with pytest.raises(BasetenBatchUnknownError, match="deleted or are damaged"):
            adapter.iter_results("0-1")


def test_a_batch_is_in_the_metrics_and_in_the_trace(baseten, server, run_dag, batch, monkeypatch):
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("tests"))
    counted = Counter()
    monkeypatch.setattr(metrics, "_count", lambda name, number, tags: counted.update({name: number}))
    with DAG("llm_batch_observed") as dag:
        batch([f"prompt {number}" for number in range(20)])
    assert run_dag(dag).state == "success"
    assert counted["baseten.requests.success"] == 20
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.attributes["baseten.rows"]) == ("bulk chat chat", 20)
    (header,) = {request.headers.get("traceparent") for request in baseten.requests if request.action == "sync"}
    assert header.split("-")[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
