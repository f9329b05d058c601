"""`cost_limit` of a run: the prices of Baseten, the turn after which it ends a run, and what can't be limited."""

import datetime
import os
from decimal import Decimal

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenOutputError,
)
from tests.chat_server import tool_call

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from pydantic_ai import FunctionToolset
from pydantic_ai.exceptions import UsageLimitExceeded
from pydantic_ai.usage import UsageLimits

from tests.common_ai.conftest import SLUG, UNPRICED

CHAT = "/inference/v1/chat/completions"
PRICE = "/v1/model_apis/org%2FChat-1"
# 3 tokens of input and 4 of output a turn, at 0.5 and 2 USD a million.
TURN = Decimal("0.0000095")
PRICES = {"cost_per_million_input_tokens": 1, "cost_per_million_output_tokens": "10"}


def run(limit, *, model=None, conn_id="llm", fallbacks=None):
    hook = PydanticAIHook.get_hook(conn_id, hook_params={"model_id": model, "fallback_conn_ids": fallbacks})
    limits = UsageLimits(cost_limit=None if limit is None else Decimal(limit))
    return hook.create_agent(instructions="x").run_sync("hi", usage_limits=limits)


def add_agent(limit, **arguments):
    """An agent whose model calls a tool in each turn up to the fourth."""

    @task.agent(
        llm_conn_id="llm",
        toolsets=[FunctionToolset([look], id="look")],
        usage_limits={"cost_limit": limit},
        **arguments,
    )
    def ask():
        return "hi"

    return ask()


def look() -> str:
    return "nothing"


@pytest.fixture
def four_turns(server):
    server._answer = lambda body: tool_call("look") if len(body["messages"]) < 7 else "done"


def test_run_ends_after_the_turn_that_exceeds_the_limit(baseten, four_turns, sent, run_dag, capfd):
    with DAG("limit_exceeded") as dag:
        add_agent(str(TURN * 2))  # Exactly two turns: the third exceeds it.
    assert run_dag(dag).state == "failed"
    assert sent() == [PRICE, CHAT, CHAT, CHAT]
    assert "Exceeded the `cost_limit`" in capfd.readouterr().out


def test_run_below_the_limit_ends_with_its_cost(baseten, four_turns, sent, run_dag, capfd):
    with DAG("limit_kept") as dag:
        add_agent("1")
    finished = run_dag(dag)
    assert finished.xcom("ask") == "done"
    assert sent() == [PRICE, CHAT, CHAT, CHAT, CHAT]
    assert f"{TURN * 4:f}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("counts_over_attempts", "turns"),
    [
        # The second and the third attempt send nothing, since the first has spent the whole limit.
        pytest.param(True, 3, marks=pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="from Airflow 3.3 on")),
        (False, 9),
    ],
)
def test_limit_over_the_attempts_of_a_task(
    baseten, four_turns, sent, run_dag, monkeypatch, counts_over_attempts, turns
):
    if not counts_over_attempts:  # Airflow 3.1 and 3.2
        monkeypatch.setattr("airflow.providers.common.ai.mixins.usage_budget.AIRFLOW_V_3_3_PLUS", False)
    with DAG(f"limit_of_attempts_{counts_over_attempts}") as dag:
        add_agent(str(TURN * 2), retries=2, retry_delay=datetime.timedelta(0))
    finished = run_dag(dag)
    assert finished.state == "failed"
    assert finished.tries["ask", -1] == 3
    assert sent().count(CHAT) == turns


def test_nothing_is_looked_up_without_a_limit(baseten, sent):
    run(None)
    assert sent() == [CHAT]


def test_price_is_looked_up_once(baseten, sent):
    hook = PydanticAIHook.get_hook("llm", hook_params={"model_id": None})
    for _ in range(2):
        hook.create_agent(instructions="x").run_sync("hi", usage_limits=UsageLimits(cost_limit=Decimal(1)))
    assert sent() == [PRICE, CHAT, CHAT]


@pytest.mark.parametrize("limit", ["1", None])
def test_prices_of_the_connection(baseten, connect_llm, sent, limit):
    connect_llm(host=baseten.url, model="chat", **PRICES)
    assert run(limit).usage.cost == Decimal("0.000043")
    assert [path.split("/")[1] for path in sent()] == ["model-chat"]


def test_prices_of_the_connection_replace_those_of_baseten(baseten, connect_llm, sent):
    connect_llm(host=baseten.url, model=SLUG, **PRICES)
    assert run("1").usage.cost == Decimal("0.000043")
    assert sent() == [CHAT]


def test_stream_has_the_same_cost(baseten, sent):
    agent = PydanticAIHook.get_hook("llm", hook_params={}).create_agent(instructions="x")
    limits = UsageLimits(cost_limit=Decimal(1))
    with agent.run_stream_sync("hi", usage_limits=limits) as result:
        assert list(result.stream_text())[-1] == "hello"
        assert result.usage.cost == TURN
    with (
        pytest.raises(UsageLimitExceeded),
        agent.run_stream_sync("hi", usage_limits=UsageLimits(cost_limit=TURN / 2)) as result,
    ):
        list(result.stream_text())
    assert sent() == [PRICE, CHAT, CHAT]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "chat"}, BasetenInputError, "charges model chat .* by the minute"),
        ({"model": "chat@development"}, BasetenInputError, "by the minute"),
        ({"model": UNPRICED}, BasetenInputError, f"names none for {UNPRICED}"),
        ({"model": "org/nope"}, BasetenNotFoundError, "price of org/nope, which can't be read: .* returned 404"),
        ({"model": SLUG, "password": "invoke.key"}, BasetenAuthError, "returned 403.*management_api_key"),
        ({"model": SLUG, "password": "wrong.key"}, BasetenAuthError, "returned 401"),
    ],
)
def test_nothing_is_sent_without_a_price(baseten, connect_llm, server, fields, error, words):
    connect_llm(host=baseten.url, **fields)
    with pytest.raises(error, match=words) as caught:
        run("1")
    assert "enter cost_per_million_input_tokens and cost_per_million_output_tokens in connection 'llm'" in str(
        caught.value
    )
    assert server.bodies == []


def test_second_key_reads_the_price(baseten, connect_llm):
    connect_llm(host=baseten.url, model=SLUG, password="invoke.key", management_api_key="abcd1234.s3cr3t")
    assert run("1").usage.cost == TURN


def test_dedicated_server_gets_no_price_of_a_model_api_with_the_same_name(baseten, server, monkeypatch):
    """The server says that its model is one of Baseten's own, for which pydantic-ai has a list price."""
    name = "deepseek-ai/DeepSeek-V4-Pro"

    real = type(server).__call__

    async def answer(scope, receive, send):
        async def renamed(message):
            if body := message.get("body"):
                message = {**message, "body": body.replace(b'"model": "baseten"', f'"model": "{name}"'.encode())}
            if headers := message.get("headers"):
                message = {**message, "headers": [pair for pair in headers if pair[0] != b"content-length"]}
            await send(message)

        await real(server, scope, receive, renamed)

    monkeypatch.setattr(type(server), "__call__", lambda self, *arguments: answer(*arguments))
    agent = PydanticAIHook.get_hook("llm", hook_params={"model_id": "chat"}).create_agent(instructions="x")
    result = agent.run_sync("hi")
    assert (result.usage.cost, result.response.model_name) == (None, "chat")
    with agent.run_stream_sync("hi") as stream:
        list(stream.stream_text())
        assert (stream.usage.cost, stream.response.model_name) == (None, "chat")


def test_chain_has_all_its_prices_before_anything_is_sent(baseten, connect_llm, server, sent):
    connect_llm("second", host=baseten.url, model="chat")
    with pytest.raises(BasetenInputError, match="in connection 'second'"):
        run("1", fallbacks=["second"])
    assert server.bodies == []
    connect_llm("second", host=baseten.url, model="chat", **PRICES)
    baseten.inject(Fault(action="model_apis", status=503))
    assert run("1", fallbacks=["second"]).usage.cost == Decimal("0.000043")


def test_response_without_tokens_ends_a_run_with_a_limit(baseten, server, monkeypatch):
    import tests.chat_server

    whole = tests.chat_server._completion
    monkeypatch.setattr(tests.chat_server, "_completion", lambda *given: {**whole(*given), "usage": None})
    with pytest.raises(BasetenOutputError, match="does not say how many tokens"):
        run("1")
    agent = PydanticAIHook.get_hook("llm", hook_params={}).create_agent(instructions="x")
    with (
        pytest.raises(BasetenOutputError, match="does not say how many tokens"),
        agent.run_stream_sync("hi", usage_limits=UsageLimits(cost_limit=Decimal(1))) as result,
    ):
        list(result.stream_text())
    assert len(server.bodies) == 2
    assert run(None).output == "hello"


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_response_with_half_of_its_tokens_ends_a_run_with_a_limit(baseten, monkeypatch, field):
    import tests.chat_server

    whole = tests.chat_server._completion
    monkeypatch.setattr(
        tests.chat_server,
        "_completion",
        lambda *given: (completion := whole(*given)) | {"usage": {**completion["usage"], field: 0}},
    )
    with pytest.raises(BasetenOutputError, match="does not say how many tokens"):
        run("1")


def test_response_that_the_server_broke_off_counts_in_a_chain(baseten, connect_llm, monkeypatch, sent):
    import tests.chat_server

    whole = tests.chat_server._completion

    def broken(model, answer):
        completion = whole(model, answer)
        if model == SLUG:
            completion["choices"][0]["finish_reason"] = "abort"
        return completion

    monkeypatch.setattr(tests.chat_server, "_completion", broken)
    connect_llm("second", host=baseten.url, model="chat", **PRICES)
    second = Decimal("0.000043")
    assert run("1", fallbacks=["second"]).usage.cost == TURN + second
    with pytest.raises(UsageLimitExceeded):
        run(str(second), fallbacks=["second"])
    assert [path.split("/")[1] for path in sent()] == ["v1", "inference", "model-chat"] * 2
