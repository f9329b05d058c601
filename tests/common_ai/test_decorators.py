"""The decorators of the common AI provider on Baseten, each in a DAG: one request for each turn of a model."""

import json
import os

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Emulator, Upstream
from tests.chat_server import tool_call

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.sql.config import DataSourceConfig
from pydantic import BaseModel
from pydantic_ai import FunctionToolset, NativeOutput

from tests.common_ai.conftest import KEY, SLUG

CHAT = "/inference/v1/chat/completions"
MODEL = "/model-chat/environments/production/sync/v1/chat/completions"


class Animal(BaseModel):
    name: str
    legs: int


def final(body, /, **arguments):
    """A call of the tool with which pydantic-ai asks for structured output."""
    return tool_call(body["tools"][-1]["function"]["name"], **arguments)


def test_llm(baseten, sent, server, run_dag):
    with DAG("llm") as dag:

        @task.llm(llm_conn_id="llm", system_prompt="Be brief.", model_settings={"max_tokens": 7, "temperature": 0.5})
        def ask():
            return "Say hello."

        ask()
    assert run_dag(dag).xcom("ask") == "hello"
    assert sent() == [CHAT]
    (body,) = server.bodies
    assert (body["model"], body["max_tokens"], body["temperature"]) == (SLUG, 7, 0.5)
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "Say hello."]


def test_llm_with_structured_output_on_a_server_of_one_model(baseten, sent, server, run_dag):
    server._answer = lambda body: final(body, name="ant", legs=6)
    with DAG("llm_structured") as dag:

        @task.llm(llm_conn_id="llm", model_id="chat", output_type=Animal, serialize_output=True)
        def ask():
            return "Which animal?"

        ask()
    assert run_dag(dag).xcom("ask") == {"name": "ant", "legs": 6}
    assert sent() == [MODEL]
    assert server.bodies[0]["model"] == "baseten"


def test_llm_asks_again_for_output_that_does_not_fit(baseten, sent, server, run_dag):
    server._answer = lambda body: final(body, name="ant", legs=6 if len(server.bodies) == 2 else "many")
    with DAG("llm_again") as dag:

        @task.llm(llm_conn_id="llm", output_type=Animal, serialize_output=True)
        def ask():
            return "Which animal?"

        ask()
    assert run_dag(dag).xcom("ask") == {"name": "ant", "legs": 6}
    assert sent() == [CHAT, CHAT]


@pytest.mark.parametrize("durable", [False, True])
def test_agent_with_a_tool(baseten, sent, server, run_dag, durable):
    calls = []

    def weather(city: str) -> str:
        calls.append(city)
        return f"{city}: rain"

    server._answer = lambda body: (
        tool_call("weather", city="Oslo") if len(server.bodies) == 1 else body["messages"][-1]["content"]
    )
    with DAG(f"agent_{durable}") as dag:

        @task.agent(
            llm_conn_id="llm",
            system_prompt="You know the weather.",
            toolsets=[FunctionToolset([weather], id="weather")],
            durable=durable,
        )
        def ask():
            return "How is the weather in Oslo?"

        ask()
    assert run_dag(dag).xcom("ask") == "Oslo: rain"
    assert sent() == [CHAT, CHAT]
    assert calls == ["Oslo"]


def test_llm_branch(baseten, sent, server, run_dag):
    def choose(body):
        options = json.dumps(body["tools"])
        assert "parcels" in options
        assert "invoices" in options
        (name,) = body["tools"][-1]["function"]["parameters"]["properties"]
        return final(body, **{name: "invoices"})

    server._answer = choose
    with DAG("llm_branch") as dag:

        @task.llm_branch(llm_conn_id="llm")
        def route():
            return "My invoice is wrong."

        @task
        def parcels(): ...

        @task
        def invoices(): ...

        route() >> [parcels(), invoices()]
    assert run_dag(dag).states == {"route": "success", "parcels": "skipped", "invoices": "success"}
    assert sent() == [CHAT]


def test_llm_sql(baseten, sent, server, run_dag):
    server._answer = lambda body: "SELECT id FROM users"
    with DAG("llm_sql") as dag:

        @task.llm_sql(llm_conn_id="llm", schema_context="Table: users\nColumns: id INT")
        def query():
            return "All users"

        query()
    assert run_dag(dag).xcom("query").split() == ["SELECT", "id", "FROM", "users"]
    assert sent() == [CHAT]
    assert "Table: users" in server.bodies[0]["messages"][0]["content"]


def test_llm_file_analysis(baseten, sent, server, run_dag, tmp_path):
    (tmp_path / "app.log").write_text("ERROR: no disk space\n")
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with DAG("llm_file_analysis") as dag:

        @task.llm_file_analysis(llm_conn_id="llm", file_path=f"file://{tmp_path}/", multi_modal=True)
        def analyze():
            return "What went wrong?"

        analyze()
    assert run_dag(dag).xcom("analyze") == "hello"
    assert sent() == [CHAT]
    content = json.dumps(server.bodies[0]["messages"][-1]["content"])
    assert "no disk space" in content
    assert "data:image/png;base64," in content


def test_llm_schema_compare(baseten, sent, server, run_dag, tmp_path):
    sources = []
    for name, header in (("old", "id,name"), ("new", "id,full_name")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text(f"{header}\n1,Ada\n")
        sources.append(DataSourceConfig(conn_id="", table_name=name, uri=f"file://{tmp_path}/{name}/", format="csv"))
    server._answer = lambda body: final(body, compatible=False, mismatches=[], summary="name became full_name")
    with DAG("llm_schema_compare") as dag:

        @task.llm_schema_compare(llm_conn_id="llm", data_sources=sources)
        def compare():
            return "What breaks?"

        compare()
    result = run_dag(dag).xcom("compare")
    assert (result["compatible"], result["summary"]) == (False, "name became full_name")
    assert sent() == [CHAT]
    assert "full_name" in json.dumps(server.bodies[0]["messages"])


def test_llm_batch_with_the_same_connection(baseten, sent, run_dag, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}/store")
    with DAG("llm_batch_same") as dag:

        @task.llm_batch(llm_conn_id="llm", model_id=f"baseten:{SLUG}", result_path=f"file://{tmp_path}/results")
        def ask():
            return ["a", "b"]

        ask()
    assert run_dag(dag).xcom("ask")["counts"]["succeeded"] == 2
    assert sent() == [CHAT, CHAT]


class TestRealModel:
    """Gemma 3 270M behind llama.cpp: enough for texts, and for output whose form the server holds."""

    @pytest.fixture
    def llm(self, llm_url, connect_llm):
        with Emulator(models={"llm": Upstream(llm_url)}, api_key=KEY) as emulator:
            connect_llm(host=emulator.url, model="llm")
            yield emulator

    def test_decorators(self, llm, run_dag, tmp_path):
        (tmp_path / "app.log").write_text("ERROR: no disk space\n")
        few = {"max_tokens": 8, "temperature": 0}
        with DAG("real_llm") as dag:

            @task.llm(llm_conn_id="llm", model_settings=few)
            def text():
                return "Say hello."

            @task.agent(llm_conn_id="llm", system_prompt="Be brief.", agent_params={"model_settings": few})
            def agent():
                return "Say hello."

            @task.llm_file_analysis(llm_conn_id="llm", file_path=f"file://{tmp_path}/app.log", model_settings=few)
            def analyze():
                return "What went wrong?"

            @task.llm(
                llm_conn_id="llm",
                output_type=NativeOutput(Animal),
                serialize_output=True,
                model_settings={"max_tokens": 300, "temperature": 0},
            )
            def count():
                return "How many legs has an ant?"

            text() >> agent() >> analyze() >> count()
        run = run_dag(dag)
        assert run.state == "success"
        assert all(run.xcom(task_id) for task_id in ("text", "agent", "analyze"))
        assert run.xcom("count").keys() == {"name", "legs"}
        assert len(llm.requests) == 4
