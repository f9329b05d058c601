"""Chat completions of a real language model, in a real Airflow and with the official SDK."""

import asyncio
import json
import logging
from typing import Literal

import openai
import pytest
from airflow.sdk import DAG
from pydantic import BaseModel

from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from tests.openai.support import KEY

SLUG = "google/gemma-3-270m"
MESSAGES = [{"role": "user", "content": "Is this urgent? My parcel is lost."}]
FEW = {"max_tokens": 4, "temperature": 0}


class Ticket(BaseModel):
    urgent: bool
    topic: Literal["parcel", "invoice"]


def chat(task_id, **arguments):
    return BasetenChatCompletionOperator(task_id=task_id, **({"model_id": "llm", "messages": MESSAGES} | arguments))


def test_text_stream_and_usage(llm, run_dag, caplog):
    with DAG("llm_text") as dag:
        whole = chat("whole", options=FEW, on_incomplete="warn")
        streamed = chat("streamed", options=FEW, on_incomplete="warn", stream=True)
        slug = chat("slug", model_id=None, model_apis=True, model=SLUG, options=FEW, on_incomplete="warn", stream=True)
        whole >> streamed >> slug
    with caplog.at_level(logging.INFO):
        run = run_dag(dag)
    assert run.state == "success"
    texts = {run.xcom(task_id) for task_id in ("whole", "streamed", "slug")}
    assert len(texts) == 1
    assert texts.pop()
    for task_id in ("whole", "streamed", "slug"):
        usage = run.xcom(task_id, "usage")
        assert (usage["completion_tokens"], usage["finish_reason"]) == (4, "length")
        assert usage["prompt_tokens"] > 10
    assert run.xcom("streamed", "usage")["cached_tokens"] > 0
    assert [request.action for request in llm.requests] == ["sync", "sync", "model_apis", f"model_apis/{SLUG}"]
    assert {run.xcom(task_id, "request_id") for task_id in run.states} == {r.request_id for r in llm.requests[:3]}


def test_structured_output(llm, run_dag):
    schema = Ticket.model_json_schema()
    with DAG("llm_schema") as dag:
        model = chat("model", response_format=Ticket, options={"max_tokens": 60, "temperature": 0})
        plain = chat("schema", response_format=schema, options={"max_tokens": 60, "temperature": 0}, stream=True)
        model >> plain
    run = run_dag(dag)
    assert run.state == "success"
    Ticket.model_validate(run.xcom("model"))
    assert run.xcom("schema") == run.xcom("model")
    assert run.xcom("model", "usage")["finish_reason"] == "stop"


def test_answer_that_stops_at_its_limit_fails_and_is_still_accounted(llm, run_dag, capfd):
    with DAG("llm_limit") as dag:
        chat("limit", response_format=Ticket, options={"max_tokens": 2})
    run = run_dag(dag)
    assert run.states == {"limit": "failed"}
    assert run.xcom("limit", "usage")["completion_tokens"] == 2
    assert "return_value" not in run.keys("limit")
    assert "stopped at its length limit after 2 tokens" in "".join(capfd.readouterr())
    assert len(llm.requests) == 1


def test_snippet_of_the_documentation(llm):
    client = openai.OpenAI(api_key=KEY, base_url=f"{llm.url}/model-llm/environments/production/sync/v1")
    response = client.chat.completions.create(
        model="baseten",
        messages=[{"role": "user", "content": "What is a parcel?"}],
        stream=True,
        max_tokens=4,
    )
    chunks = list(response)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"


class TestClientOfTheHook:
    def test_deployment(self, llm):
        with BasetenHook().openai_client(Target(model_id="llm")) as client:
            answer = client.chat.completions.create(model="baseten", messages=MESSAGES, **FEW)
        assert answer.usage.completion_tokens == 4

    def test_model_apis(self, llm):
        async def ask():
            async with await BasetenHook().async_client() as baseten, baseten.openai(ModelApis()) as client:
                slugs = [model.id async for model in client.models.list()]
                stream = await client.chat.completions.create(model=slugs[0], messages=MESSAGES, stream=True, **FEW)
                return slugs, [chunk async for chunk in stream]

        slugs, chunks = asyncio.run(ask())
        assert slugs == [SLUG]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def test_schema_through_the_sdk(self, llm):
        with BasetenHook().openai_client(Target(model_id="llm")) as client:
            answer = client.chat.completions.parse(
                model="baseten", messages=MESSAGES, response_format=Ticket, max_tokens=60, temperature=0
            )
        assert isinstance(answer.choices[0].message.parsed, Ticket)
        assert json.loads(answer.choices[0].message.content) == answer.choices[0].message.parsed.model_dump()

    def test_unknown_slug(self, llm):
        with BasetenHook().openai_client(model_apis=True) as client, pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="org/nothing", messages=MESSAGES)
        assert "not enabled" in caught.value.response.text
