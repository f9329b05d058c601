"""What BasetenChatCompletionOperator makes of answers that no real model gives on demand."""

import json
import logging
import re

import pytest
from airflow.sdk import DAG
from pydantic import BaseModel

from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.storage.outputs import read_output
from tests.openai.support import USAGE, event, tool_call, whole

MESSAGES = [{"role": "user", "content": "private-question"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
END = "data: [DONE]\n\n"
COUNTED = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "cached_tokens": 3,
    "reasoning_tokens": 2,
    "finish_reason": "stop",
}


class Ticket(BaseModel):
    urgent: bool


def chat(task_id="chat", **arguments):
    return BasetenChatCompletionOperator(
        task_id=task_id, **({"model_id": "chat", "messages": MESSAGES, "retries": 0} | arguments)
    )


@pytest.fixture
def ask(scripted, run_dag, capfd):
    """Runs one chat against a model that gives one answer; returns the run, what was logged, and the emulator."""

    def run(answer, *faults, **arguments):
        emulator = scripted(answer)
        emulator.inject(*faults)
        with DAG("ask") as dag:
            chat(**arguments)
        return run_dag(dag), "".join(capfd.readouterr()), emulator

    return run


def test_request_as_it_is_sent(ask):
    run, _, emulator = ask(
        whole('{"urgent": true}'),
        messages=[{"role": "system", "content": "{{ ti.task_id }}"}],
        model="adapter",
        response_format=Ticket,
        tools=TOOLS,
        tool_choice="auto",
        options={"max_tokens": 9, "temperature": 0},
        stream=True,
        headers={"X-Mine": "1"},
    )
    assert run.state == "success"
    (body,) = emulator.scripted.bodies
    assert body == {
        "model": "adapter",
        "messages": [{"role": "system", "content": "chat"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Ticket", "schema": Ticket.model_json_schema(), "strict": True},
        },
        "tools": TOOLS,
        "tool_choice": "auto",
        "max_tokens": 9,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    (request,) = emulator.requests
    assert (request.route, request.headers["x-mine"]) == ("/v1/chat/completions", "1")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            {"error": {"message": "context length exceeded", "code": 400}},
            "BasetenModelError",
            "context length exceeded",
        ),
        ({"detail": "no model of that name"}, "BasetenModelError", "no model of that name"),
        ({"choices": []}, "BasetenResponseError", "not a chat completion"),
        (whole(None), "BasetenOutputError", "is empty"),
        (whole("", reasoning_content="private-thought"), "BasetenOutputError", "only reasoning"),
        (whole("private-half", "abort"), "BasetenModelError", "finish reason abort"),
        (whole(None, tool_calls=[tool_call("weather", "{}")]), "BasetenOutputError", "was given none"),
        (
            [event({"content": "private-half"}, ""), event({"content": "private"}, "null")],
            "BasetenUnavailable",
            "was cut",
        ),
        (["event: error\ndata: out of memory\n\n"], "BasetenModelError", "out of memory"),
    ],
)
@pytest.mark.parametrize("on_incomplete", ["fail", "warn"])
def test_answers_with_status_200_that_are_no_success(ask, answer, error, words, on_incomplete):
    run, logged, emulator = ask(answer, stream=isinstance(answer, list), on_incomplete=on_incomplete)
    assert run.states == {"chat": "failed"}
    assert error in logged
    assert words in logged
    assert "private-" not in logged
    assert [request.method for request in emulator.requests].count("POST") == 1


def test_halves_of_a_character_in_log_and_answer(ask):
    parts = [event({"content": "a\ud83d"}), event({"content": "\ude00\nb\ud83d"}), event({}, "stop"), END]
    run, logged, _ = ask(parts, stream=True, log_stream=True)
    assert run.xcom("chat") == "a\U0001f600\nb\ufffd"
    assert "a\U0001f600" in logged


def test_prompt_mapped_over_model_apis(scripted, run_dag):
    emulator = scripted(whole("yes"))
    with DAG("mapped") as dag:
        BasetenChatCompletionOperator.partial(
            task_id="chat", model_apis=True, model="org/chat", response_format={"type": "text"}
        ).expand(prompt=["a", "b"])
    run = run_dag(dag)
    assert [run.xcom("chat", map_index=index) for index in (0, 1)] == ["yes", "yes"]
    sent = [body["messages"] for body in emulator.scripted.bodies]
    assert sorted(messages[0]["content"] for messages in sent) == ["a", "b"]
    assert {body["model"] for body in emulator.scripted.bodies} == {"org/chat"}
    # The price is read once for each task.
    paths = {"/inference/v1/chat/completions", "/v1/model_apis/org%2Fchat"}
    assert {request.path for request in emulator.requests} == paths


def test_pydantic_class_in_a_mapped_task(scripted, run_dag):
    scripted(whole('{"urgent": true}'))
    with DAG("mapped_class") as dag:
        BasetenChatCompletionOperator.partial(task_id="chat", model_id="chat", response_format=Ticket).expand(
            messages=[MESSAGES]
        )
    assert run_dag(dag).xcom("chat", map_index=0) == {"urgent": True}


def test_usage_with_cached_and_reasoning_tokens(ask):
    run, _, emulator = ask(whole("fine"))
    assert run.xcom("chat") == "fine"
    assert run.xcom("chat", "usage") == COUNTED
    assert run.xcom("chat", "request_id") == emulator.requests[0].request_id


def test_server_that_tells_no_usage(ask):
    answer = whole("fine")
    del answer["usage"]
    run, _, _ = ask(answer)
    assert run.xcom("chat", "usage") == dict.fromkeys(COUNTED) | {"finish_reason": "stop"}


class TestStream:
    def test_text_usage_and_progress_without_the_text(self, ask):
        parts = [
            ": keep-alive\n\n",
            event({"role": "assistant", "content": None}),
            event({"content": "private-"}),
            event({"content": "answer\nü"}),
            event({}, "stop"),
            event(usage=USAGE),
            END,
        ]
        run, logged, _ = ask(parts, stream=True)
        assert run.xcom("chat") == "private-answer\nü"
        assert run.xcom("chat", "usage") == COUNTED
        assert "In total 5 events with 16 characters" in logged
        assert "private-" not in logged

    def test_text_in_the_log_when_asked(self, ask):
        parts = [event({"content": "one\nt"}), event({"content": "wo\nthree"}), event({}, "stop"), END]
        _, logged, _ = ask(parts, stream=True, log_stream=True)
        lines = [line for line in ("one", "two", "three") if f" {line} " in logged]
        assert lines == ["one", "two", "three"]

    def test_parts_that_are_split_anywhere(self, ask):
        text = "".join([event({"content": "grün"}), event({"content": "ste"}, "stop"), event(usage=USAGE), END])
        run, _, _ = ask([*text.replace("\n", "\r\n")], stream=True)
        assert run.xcom("chat") == "grünste"
        assert run.xcom("chat", "usage") == COUNTED

    def test_tool_calls_in_parts(self, ask):
        parts = [
            event({"tool_calls": [tool_call("weather", "")]}),
            event({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
            event({"tool_calls": [{"index": 0, "function": {"arguments": '"Ulm"}'}}]}),
            event({}, "tool_calls"),
            END,
        ]
        run, _, _ = ask(parts, stream=True, tools=TOOLS)
        call = {"id": "call-1", "name": "weather", "arguments": {"city": "Ulm"}}
        assert run.xcom("chat") == {"content": None, "tool_calls": [call]}

    def test_server_that_does_not_stream(self, ask):
        run, _, _ = ask(whole("fine"), stream=True)
        assert run.xcom("chat") == "fine"

    def test_stream_that_ends_without_its_end(self, ask):
        run, logged, emulator = ask([event({"content": "priv"}), event(usage=USAGE)], stream=True)
        assert run.states == {"chat": "failed"}
        assert "BasetenUnavailableError" in logged
        assert "the stream ended before its final event" in logged
        assert run.xcom("chat", "usage") == COUNTED | {"finish_reason": None}
        assert [request.method for request in emulator.requests].count("POST") == 1

    def test_empty_stream(self, ask):
        run, logged, _ = ask([], stream=True)
        assert run.states == {"chat": "failed"}
        assert "the stream ended before its final event" in logged

    def test_connection_that_is_cut_after_the_usage(self, ask):
        parts = [event({"content": "priv"}, usage=USAGE), event({"content": "ate" * 200})]
        cut = Fault(target="chat", truncate_after=len(parts[0]) + 20)
        run, logged, emulator = ask(parts, cut, stream=True)
        assert run.states == {"chat": "failed"}
        assert "connection was lost" in logged
        assert run.xcom("chat", "usage") == COUNTED | {"finish_reason": None}
        assert [request.method for request in emulator.requests].count("POST") == 1

    def test_error_of_the_server_in_the_middle(self, ask):
        run, logged, _ = ask([event({"content": "x"}), event(error={"message": "out of memory"}), END], stream=True)
        assert run.states == {"chat": "failed"}
        assert "BasetenModelError" in logged
        assert "error of the server: out of memory" in logged

    def test_part_that_is_not_readable(self, ask):
        run, logged, _ = ask([event({"content": "x"}), "data: {oops\n\n", event({}, "stop"), END], stream=True)
        assert run.states == {"chat": "failed"}
        assert "can't be read" in logged


SCHEMA = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}


class TestPaidAnswerThatIsNotUsable:
    """The task fails with a typed error that quotes nothing of the answer; the usage is kept, nothing is sent again."""

    @pytest.mark.parametrize(
        ("answer", "arguments", "words"),
        [
            (whole("private-text"), {"response_format": SCHEMA}, "it is not JSON"),
            (whole('{"urgent": "private-text"}'), {"response_format": SCHEMA}, r"\$.urgent breaks 'type'"),
            (whole('{"urgent": "private-text"}'), {"response_format": Ticket}, r"\$.urgent is not a boolean"),
            (whole("private-text"), {"response_format": Ticket}, "it is not JSON"),
            (whole("[private-text"), {"response_format": {"type": "json_object"}}, "it is not JSON"),
            (
                whole(None, tool_calls=[tool_call("weather", '{"city": private-text')]),
                {"tools": TOOLS},
                "tool weather with arguments that are not a JSON object",
            ),
            (
                whole(None, tool_calls=[tool_call("private-text", "{}")]),
                {"tools": TOOLS},
                r"that it was not given \(given: weather\)",
            ),
            (whole("private-text", "length"), {}, "length limit after 5 tokens"),
            (whole("private-text", "content_filter"), {}, "content filter"),
            (whole(None, refusal="private-text"), {}, "refused by the model"),
        ],
    )
    def test_fails(self, ask, answer, arguments, words):
        run, logged, emulator = ask(answer, **arguments)
        assert run.states == {"chat": "failed"}
        assert "BasetenOutputError" in logged
        assert re.search(words, logged)
        assert "private-" not in logged
        assert run.xcom("chat", "usage")["completion_tokens"] == 5
        assert run.keys("chat") == {"usage", "request_id"}
        assert [request.method for request in emulator.requests].count("POST") == 1

    @pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
    def test_warning_instead_when_asked(self, ask, finish_reason):
        run, logged, _ = ask(whole("private-half", finish_reason), on_incomplete="warn")
        assert run.xcom("chat") == "private-half"
        assert run.xcom("chat", "usage")["finish_reason"] == finish_reason
        assert "warning" in logged
        assert "private-" not in logged

    def test_words_of_a_refusal_when_asked(self, ask):
        run, logged, _ = ask(whole(None, refusal="private-no"), on_incomplete="warn")
        assert run.xcom("chat") == "private-no"
        assert "refused by the model" in logged
        assert "private-" not in logged

    def test_something_else_than_a_chat_completion(self, ask):
        run, logged, _ = ask({"predictions": []})
        assert run.states == {"chat": "failed"}
        assert "BasetenResponseError" in logged
        assert "not a chat completion" in logged
        assert run.keys("chat") == {"request_id"}


def test_unknown_slug(ask):
    run, logged, emulator = ask(whole("x"), model_id=None, model_apis=True, model="org/other")
    assert run.states == {"chat": "failed"}
    assert "BasetenNotFoundError: chat completion by org/other of Model APIs returned 404" in logged
    assert [request.method for request in emulator.requests].count("POST") == 1


def test_large_answer_lands(ask, connect, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "100")
    run, _, _ = ask(whole(json.dumps({"urgent": True, "text": "x" * 200})), response_format=SCHEMA)
    reference = run.xcom("chat")
    assert reference["uri"].startswith(f"file://{tmp_path}/outputs/")
    assert read_output(reference) == {"urgent": True, "text": "x" * 200}


def test_nothing_is_pushed_without_do_xcom_push(ask):
    run, _, _ = ask(whole("fine"), do_xcom_push=False)
    assert (run.state, run.xcoms) == ("success", {})


def test_neither_question_nor_answer_is_shown(ask, caplog):
    with caplog.at_level(logging.DEBUG):
        run, logged, _ = ask(whole("private-answer"))
    assert run.xcom("chat") == "private-answer"
    assert "private-" not in logged + caplog.text + str(run.rendered)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"messages": []}, "at least one object"),
            ({"messages": "hello"}, "give a single text as prompt"),
            ({"messages": {"role": "user"}}, "at least one object"),
            ({"messages": [{"content": "x"}]}, r"messages\[0\] is not an object with a 'role'"),
            ({"messages": [{"role": "assistant"}]}, r"messages\[0\] is empty"),
            ({"messages": None, "prompt": ""}, r"messages\[0\] is empty"),
            ({"messages": ["hello"]}, r"messages\[0\]"),
            ({"response_format": {"type": "objekt"}}, "not a valid JSON schema"),
            ({"response_format": "json"}, "response_format is a str"),
            ({"response_format": {"type": "json_schema"}}, "json_schema.schema"),
            ({"tools": []}, "tools takes a list"),
            ({"tools": [{"name": "weather"}]}, "tools takes a list"),
            ({"tool_choice": "auto"}, "needs tools"),
            ({"options": {"stream": True}}, "can't hold stream"),
            ({"options": {"n": 2}}, "more than one choice"),
            ({"options": ["max_tokens"]}, "not a list"),
            ({"options": {"n": None}}, "more than one choice"),
            ({"options": {1, 2}}, "not a set"),
            ({"options": {"stop": {"a"}}}, r"\['stop'\] is of type set"),
            ({"model_id": None, "model_apis": True}, "need the slug"),
            ({"model_id": None, "model_apis": True, "model": ""}, "need the slug"),
            ({"messages": None, "prompt": 7}, "prompt takes a text, not a int"),
            ({"messages": None, "prompt": ["a"]}, "prompt takes a text, not a list"),
            ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\] has a content of type int"),
            ({"messages": [{"role": "user", "content": {"text": "a"}}]}, r"messages\[0\] has a content of type dict"),
            ({"messages": [{"role": "user", "content": "a", "x": {1}}]}, r"is of type set"),
            ({"messages": [{"role": 7, "content": "a"}]}, r"messages\[0\] is not an object with a 'role'"),
            ({"messages": {1, 2}}, "at least one object"),
            ({"tools": 7}, "tools takes a list"),
            ({"tools": "weather"}, "tools takes a list"),
            ({"tools": [Ticket]}, "tools takes a list"),
            ({"tools": [{"function": {"name": ["weather"]}}]}, "tools takes a list"),
            ({"tools": [{"function": {"name": "f", "parameters": Ticket}}]}, "is of type ModelMetaclass"),
            ({"tools": TOOLS, "tool_choice": {1}}, "is of type set"),
            ({"response_format": {"type": ["object"], "enum": {1}}}, "response_format|is of type set"),
        ],
    )
    def test_is_found_before_anything_is_sent(self, ask, arguments, words):
        run, logged, emulator = ask(whole("x"), **arguments)
        assert run.states == {"chat": "failed"}
        assert "BasetenInputError" in logged
        assert re.search(words, logged)
        assert emulator.requests == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"model_id": "a"}, "messages and prompt; neither"),
            ({"model_id": "a", "prompt": "x", "messages": []}, "messages and prompt; both"),
            ({"prompt": "x"}, "model_id and chain_id; neither"),
            ({"prompt": "x", "model_apis": True, "model_id": "a"}, "named by its slug"),
            ({"prompt": "x", "model_apis": True, "environment": "e"}, "named by its slug"),
            ({"prompt": "x", "model_id": "a", "log_stream": True}, "needs stream=True"),
            ({"prompt": "x", "model_id": "a", "on_incomplete": "ignore"}, "on_incomplete"),
            ({"prompt": "x", "model_id": "a", "on_incomplete": ["fail"]}, "on_incomplete"),
            ({"prompt": "x", "model_id": "a", "on_incomplete": "Fail"}, "on_incomplete"),
            ({"prompt": "x", "model_id": "a", "on_incomplete": None}, "on_incomplete"),
            ({"prompt": "x", "model_id": "a", "model": 7}, "not a int"),
            ({"prompt": "x", "model_id": "a", "stream": "false"}, "stream='false'"),
            ({"prompt": "x", "model_id": "a", "log_stream": 0}, "log_stream=0"),
        ],
    )
    def test_contradictions_are_found_when_the_dag_is_parsed(self, arguments, words):
        with pytest.raises(BasetenInputError, match=words):
            BasetenChatCompletionOperator(task_id="t", **arguments)
