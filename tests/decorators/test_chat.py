"""@task.baseten_chat in a real Airflow, against a server that answers like OpenAI's."""

import json

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError
from tests.chat_server import ChatServer
from tests.decorators.conftest import KEY

CALL = {"model_id": "chat", "model": "echo"}


@pytest.fixture
def baseten(connect):
    echo = ChatServer(lambda body: json.dumps(body["messages"]))
    with Emulator(models={"chat": echo}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


def test_messages_and_prompts_mapped_and_not(baseten, run_dag):
    @task.baseten_chat(**CALL, response_format={"type": "json_object"})
    def messages(text):
        return [{"role": "system", "content": "{{ ds }}"}, {"role": "user", "content": text}]

    @task.baseten_chat(**CALL)
    def prompt(text):
        return f"{{{{ {text} }}}}"

    with DAG("chat_inputs") as dag:
        messages("hello")
        prompt.expand(text=["a", "b"])
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("messages") == [{"role": "system", "content": "{{ ds }}"}, {"role": "user", "content": "hello"}]
    # The answer is a text; the test's model writes what it was sent as JSON, and XCom reads it.
    sent = [run.xcom("prompt", map_index=index) for index in (0, 1)]
    assert sent == [[{"role": "user", "content": f"{{{{ {text} }}}}"}] for text in "ab"]
    assert run.xcom("messages", "usage")["completion_tokens"] == 4
    assert [request.route for request in baseten.requests] == ["/v1/chat/completions"] * 3


@pytest.mark.parametrize("value", [[], [{"content": "x"}], 7])
def test_what_is_no_conversation_is_not_sent(baseten, run_dag, value):
    @task.baseten_chat(**CALL)
    def ask():
        return value

    with DAG(f"chat_bad_{type(value).__name__}_{bool(value)}") as dag:
        ask()
    assert run_dag(dag).states == {"ask": "failed"}
    assert baseten.requests == []


def test_conversation_is_not_shown(baseten, run_dag, capfd):
    @task.baseten_chat(**CALL)
    def ask(text):
        return f"private-{text}"

    with DAG("chat_private") as dag:
        ask("private-argument")
    run = run_dag(dag)
    assert run.state == "success"
    assert "private-" not in "".join(capfd.readouterr()) + str(run.rendered)


def test_prompt_belongs_into_the_function():
    def ask():
        return "y"

    for field in ("messages", "prompt"):
        with pytest.raises(BasetenInputError, match="messages"), DAG("d"):
            task.baseten_chat(**CALL, **{field: "x"})(ask)()
