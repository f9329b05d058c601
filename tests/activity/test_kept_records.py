"""Tasks keep records of what they do: usage, async requests and failures, in each way a task can run."""

import json
import time

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

pytestmark = pytest.mark.airflow

KEY = "abcd1234.s3cr3t"
TARGET = "model abc (environment production)"


def usage(prompt, completion=None):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + (completion or 0)}
    return {kind: count for kind, count in counts.items() if count is not None}


def answer(path, body):
    if path.endswith("/embeddings"):
        vectors = [{"index": index, "embedding": [0.5, 0.5]} for index, _ in enumerate(body["input"])]
        return {"data": vectors, "usage": usage(3 * len(vectors))}
    message = {"role": "assistant", "content": "private answer"}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage(5, 2)}


async def llm(scope, receive, send):
    """A custom server with two routes of OpenAI's API."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    reply = json.dumps(answer(scope["path"], json.loads(body))).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


@pytest.fixture
def baseten(connect):
    with Emulator(models={"abc": lambda value: value, "llm": llm}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


class TestUsage:
    def used(self, run, task_id, map_index=-1):
        return run.records[task_id, map_index, "baseten_usage"]

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_of_a_predict_is_one_request(self, baseten, run_dag, deferrable):
        before = time.time()
        with DAG(f"usage_predict_{deferrable}") as dag:
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input="private", deferrable=deferrable)
        used = self.used(run_dag(dag), "predict")
        assert before <= used.pop("at") <= time.time()
        assert used == {
            "target": TARGET,
            "page": f"{baseten.url}/v1/models/abc",
            "model": None,
            "requests": 1,
            "rows": None,
            "tokens": {},
            "cost_usd": None,
            "version": 1,
        }

    def test_has_the_tokens_of_a_chat_and_of_embeddings(self, baseten, run_dag):
        with DAG("usage_tokens") as dag:
            BasetenChatCompletionOperator(task_id="chat", model_id="llm", model="small", prompt="private prompt")
            BasetenEmbeddingOperator(task_id="one", model_id="llm", texts=["a", "b"])
            BasetenEmbeddingOperator(task_id="many", model_id="llm", texts=["a", "b", "c"], texts_per_request=1)
        run = run_dag(dag)
        chat, one, many = (self.used(run, name) for name in ("chat", "one", "many"))
        assert (chat["model"], chat["tokens"]) == ("small", {"prompt_tokens": 5, "completion_tokens": 2})
        assert (one["requests"], one["tokens"]) == (1, {"prompt_tokens": 6, "total_tokens": 6})
        assert (many["requests"], many["rows"], many["tokens"]) == (3, 3, {"prompt_tokens": 9, "total_tokens": 9})
        assert "private" not in str(run.records)

    def test_of_a_sharded_job_is_counted_by_its_shards_alone(self, baseten, run_dag, tmp_path):
        with DAG("usage_shards") as dag:
            BasetenBatchPredictGroup(
                "score", model_id="abc", inputs=[*range(10)], num_shards=2, output_path=str(tmp_path)
            )
        run = run_dag(dag)
        assert run.state == "success"
        used = {place[:2]: value["requests"] for place, value in run.records.items() if place[2] == "baseten_usage"}
        assert used == {("score.predict", 0): 5, ("score.predict", 1): 5}

    def test_of_a_job_that_was_complete_is_not_counted_again(self, baseten, run_dag, tmp_path):
        with DAG("usage_complete") as dag:
            first = BasetenBatchPredictOperator(
                task_id="first", model_id="abc", inputs=[1, 2], output_path=str(tmp_path)
            )
            again = BasetenBatchPredictOperator(
                task_id="again", model_id="abc", inputs=[1, 2], output_path=str(tmp_path)
            )
            first >> again
        run = run_dag(dag)
        assert run.state == "success"
        assert self.used(run, "first")["requests"] == 2
        assert ("again", -1, "baseten_usage") not in run.records

    def test_of_a_task_that_has_failed_is_not_kept(self, baseten, run_dag):
        baseten.inject(Fault(status=500))
        with DAG("usage_failed") as dag:
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input=1)
        assert {place[2] for place in run_dag(dag).records} == {"baseten_failure"}


class TestAsyncRequests:
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_have_their_status_from_the_sending_to_the_end(self, baseten, run_dag, deferrable):
        before = time.time()
        with DAG(f"async_record_{deferrable}") as dag:
            BasetenAsyncPredictOperator(
                task_id="wait", model_id="abc", model_input="private", deferrable=deferrable, poll_interval=0.2
            )
        run = run_dag(dag)
        assert run.state == "success"
        record = run.records["wait", -1, "baseten_async_request"]
        assert record["request_ids"] == [run.xcom("wait", "request_id")]
        assert record["requests"] == 1
        assert record["statuses"] == {"succeeded; no webhook was named, so no output was delivered": 1}
        assert before <= record["sent_at"] <= record["updated_at"] <= time.time()
        assert record["target"] == TARGET
        assert "private" not in str(run.records)

    def test_of_a_sensor_are_counted_by_status(self, baseten, run_dag):
        ids = [BasetenHook().async_predict(Target(model_id="abc"), row) for row in range(30)]
        with DAG("sensor_record") as dag:
            BasetenAsyncRequestSensor(
                task_id="wait", request_ids=ids, model_id="abc", expects_delivery=False, poke_interval=0.2
            )
        run = run_dag(dag)
        assert run.state == "success"
        record = run.records["wait", -1, "baseten_async_request"]
        assert record["requests"] == 30
        assert record["request_ids"] == ids[:20]
        assert record["statuses"] == {"succeeded": 30}


class TestFailures:
    def test_are_kept_with_their_request_and_a_short_message(self, baseten, run_dag):
        baseten.inject(Fault(status=400, body={"error": "x" * 3000}))
        with DAG("failure_record") as dag:
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input="private")
        run = run_dag(dag)
        failure = run.records["predict", -1, "baseten_failure"]
        assert failure["status"] == 400
        assert failure["target"] == TARGET
        assert len(failure["message"]) <= 500
        assert failure["type"].startswith("Baseten")
        assert "private" not in str(failure)

    def test_after_a_deferral_are_kept_too(self, baseten, run_dag):
        baseten.inject(Fault(status=400, body={"error": "no"}))
        with DAG("failure_deferred") as dag:
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input=1, deferrable=True)
        assert run_dag(dag).records["predict", -1, "baseten_failure"]["status"] == 400

    def test_of_an_argument_are_kept_too(self, baseten, run_dag):
        with DAG("failure_argument") as dag:
            BasetenPredictOperator(task_id="predict", model_id="{{ 'not an id!' }}", model_input=1)
        failure = run_dag(dag).records["predict", -1, "baseten_failure"]
        assert (failure["type"], failure["target"]) == ("BasetenInputError", "")


class TestCost:
    @pytest.mark.parametrize(("prices", "cost"), [({"org/llm": (0.5, 2.0)}, 0.0000065), ({}, None)])
    def test_of_a_model_api_comes_from_its_price(self, connect, run_dag, prices, cost):
        with Emulator(model_apis={"org/llm": llm}, model_prices=prices, api_key=KEY) as emulator:
            connect(host=emulator.url, password=KEY)
            with DAG(f"cost_{cost is not None}") as dag:
                BasetenChatCompletionOperator(task_id="chat", model_apis=True, model="org/llm", prompt="hi")
            run = run_dag(dag)
            calls = [request.action for request in emulator.requests]
        assert run.records["chat", -1, "baseten_usage"]["cost_usd"] == cost
        assert calls == ["model_apis", "model_apis/org/llm"]

    def test_is_unknown_if_the_management_api_is_away(self, connect, run_dag):
        with Emulator(model_apis={"org/llm": llm}, api_key=KEY) as emulator:
            connect(host=emulator.url, password=KEY, extra={"management_url": "http://127.0.0.1:1"})
            with DAG("cost_away") as dag:
                BasetenChatCompletionOperator(task_id="chat", model_apis=True, model="org/llm", prompt="hi")
            run = run_dag(dag)
        assert run.state == "success"
        assert run.records["chat", -1, "baseten_usage"]["cost_usd"] is None
