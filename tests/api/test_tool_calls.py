"""Tool calls in the forms in which servers send them."""

import json

import pytest

from airflow_provider_baseten.api.openai import chat_output
from airflow_provider_baseten.api.openai.chat import build_chat_completion
from airflow_provider_baseten.api.openai.completion import read_completion
from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenError, BasetenOutputError, BasetenResponseError

REQUEST = build_chat_completion(Target(model_id="abc"), [{"role": "user", "content": "x"}])
A, B = {"x": 1}, {"y": [{}, None]}


def calls_of(body):
    response = Response(request=REQUEST, status=200, headers={}, body=body)
    completion = read_completion(response)
    chat_output.check_received(completion, response)
    found = chat_output.parse_output(completion, response, ResponseFormat(), {"get_a", "get_b", "b"})["tool_calls"]
    return [(call["id"], call["name"], call["arguments"]) for call in found]


def streamed(*parts):
    """Return what the operator makes of a stream with these parts of calls."""
    events = [{"choices": [{"delta": {"tool_calls": [part]}}]} for part in parts]
    events.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    return calls_of(b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events))


def whole(*calls, **message):
    return calls_of(json.dumps({"choices": [{"message": {"content": None, "tool_calls": calls, **message}}]}).encode())


def call(name=None, arguments=None, index=None, call_id=None):
    function = {"name": name, "arguments": arguments}
    part = {"index": index, "id": call_id, "function": {k: v for k, v in function.items() if v is not None}}
    return {name: value for name, value in part.items() if value is not None}


ONE = [("1", "get_a", A)]
TWO = [("1", "get_a", A), ("2", "get_b", B)]
NO_ARGUMENTS = [("1", "get_a", {})]


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        pytest.param(
            [call("get_a", "", 0, "1"), call(None, '{"x"', 0), call(None, ":1}", 0)], ONE, id="as OpenAI does"
        ),
        pytest.param([call("get_a", '{"x"', 0, "1"), call(None, ":1}", 0, "")], ONE, id="empty id"),
        pytest.param([call("get_a", '{"x"', call_id="1"), call(None, ":1}")], ONE, id="no index"),
        pytest.param(
            [call("get_a", '{"x"', call_id="1"), call(None, ":1}", call_id="1")], ONE, id="no index, id repeated"
        ),
        pytest.param([call("get_a", '{"x"', 0, "1"), call("get_a", ":1}", 0, "1")], ONE, id="name and id repeated"),
        pytest.param([call("get_a", '{"x"', 0, "1"), call("get_a", ":1}", 0)], ONE, id="name repeated"),
        pytest.param(
            [call("get_a", '{"x"', 0, "1"), call("", ":1}", 0, "7")], ONE, id="each part has an id of its own"
        ),
        pytest.param([call("get", None, 0, "1"), call("_a", None, 0), call(None, '{"x":1}', 0)], ONE, id="name split"),
        pytest.param([call("get", None, call_id="1"), call("_a", '{"x":1}')], ONE, id="name split, no index"),
        pytest.param([call("get", None, 0, "1"), call("get_a", '{"x":1}', 0)], ONE, id="name grows"),
        pytest.param([call("get_a", "{}", 0, "1"), call(None, '{"x":', 0), call(None, "1}", 0)], ONE, id="placeholder"),
        pytest.param([call("get_a", "null", 0, "1"), call(None, '{"x":1}', 0)], ONE, id="placeholder null"),
        pytest.param([call("get_a", '{"x":1}', 0, "1"), call("get_a", '{"x":1}', 0, "1")], ONE, id="whole repeated"),
        pytest.param(
            [call("get_a", '{"x":', 0, "1"), call(None, "1}", 0), call("get_a", '{"x":1}', 0, "1")],
            ONE,
            id="end repeats",
        ),
        pytest.param([call("get_a", '{"x":', 0, "1"), call("get_a", '{"x":1}', 0, "1")], ONE, id="arguments grow"),
        pytest.param([call("get_a", A, 0, "1")], ONE, id="arguments as an object"),
        pytest.param([call("get_a", '"{\\"x\\": 1}"', 0, "1")], ONE, id="arguments encoded twice"),
        pytest.param([call("get_a", '{"x":1}', "0", "1")], ONE, id="index as a text"),
        pytest.param([None, call("get_a", '{"x":1}', 0, "1"), {"index": 0}, {}], ONE, id="parts that say nothing"),
        pytest.param([{"id": "1", "name": "get_a", "arguments": '{"x":1}'}], ONE, id="no function around it"),
        *[
            pytest.param([call("get_a", arguments, 0, "1")], NO_ARGUMENTS, id=f"arguments {arguments!r}")
            for arguments in (None, "", " ", "null", "{}", {}, '""', '"null"')
        ],
        pytest.param([call("get_a", "{}", 0, "1"), call(None, "{}", 0)], NO_ARGUMENTS, id="{} repeated"),
        pytest.param(
            [call("get_a", "{}", 0, "1"), call("get_a", None, 0, "1")], NO_ARGUMENTS, id="name repeated at the end"
        ),
        pytest.param([call("get_a", '{"x":1}', 0, "1"), call("get_b", json.dumps(B), 1, "2")], TWO, id="two"),
        pytest.param(
            [call("get_b", json.dumps(B), 1, "2"), call("get_a", '{"x":1}', 0, "1")], TWO, id="index decides order"
        ),
        pytest.param(
            [call("get_a", '{"x":1}', call_id="1"), call("get_b", json.dumps(B), call_id="2")], TWO, id="two, no index"
        ),
        pytest.param(
            [call("get_a", '{"x":1}', 0, "1"), call("get_b", json.dumps(B), 0, "2")], TWO, id="two, index 0 always"
        ),
        pytest.param(
            [
                call("get_a", '{"x"', 0, "1"),
                call("get_b", json.dumps(B)[:3], 1, "2"),
                call(None, ":1}", 0),
                call(None, json.dumps(B)[3:], 1),
            ],
            TWO,
            id="interleaved",
        ),
        pytest.param(
            [
                call("get_a", '{"x"', call_id="1"),
                call("get_b", json.dumps(B)[:3], call_id="2"),
                call(None, ":1}", call_id="1"),
                call(None, json.dumps(B)[3:], call_id="2"),
            ],
            TWO,
            id="interleaved by id",
        ),
        pytest.param(
            [
                call("get_a", '{"x"', 0, "1"),
                call(None, ":1}", 0),
                call("get_b", json.dumps(B)[:3], 0, "2"),
                call(None, json.dumps(B)[3:], 0),
            ],
            TWO,
            id="in parts, index 0 always",
        ),
        pytest.param(
            [call("get_a", '{"x":1}'), call("get_b", json.dumps(B))],
            [(None, "get_a", A), (None, "get_b", B)],
            id="neither index nor id",
        ),
        pytest.param(
            [call("get_a", '{"x":1}', 0), call("get_a", '{"x":2}', 0)],
            [(None, "get_a", A), (None, "get_a", {"x": 2})],
            id="index 0 always, no ids",
        ),
        pytest.param([call("get_a"), call("get_b")], [(None, "get_a", {}), (None, "get_b", {})], id="names alone"),
        pytest.param(
            [call("get_a", '{"x":1}', 0, "1"), call("get_a", '{"x":1}', 1, "1")],
            [("1", "get_a", A), ("1", "get_a", A)],
            id="one id for two calls",
        ),
        pytest.param(
            [call("get_a", '{"x":1}', call_id="1"), call("get_a", '{"x":2}', call_id="1")],
            [("1", "get_a", A), ("1", "get_a", {"x": 2})],
            id="one id for two calls, no index",
        ),
        pytest.param([call("get_a", "{}", 0, 7)], [("7", "get_a", {})], id="id as a number"),
    ],
)
def test_calls_of_a_stream(parts, calls):
    assert streamed(*parts) == calls


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([call("get_a", '{"x":1}', call_id="1"), call("get_b", B, call_id="2")], TWO),
        ([call("get_a", A, 0), call("get_a", A, 0), None], [(None, "get_a", A)] * 2),
        ([call("get_a", A, call_id="1"), call("get_a", A, call_id="1")], [("1", "get_a", A)] * 2),
        ([call("get_a", "null", call_id="1")], NO_ARGUMENTS),
        ([{"function": {"name": "get_a", "arguments": None}, "id": "1", "type": "function"}], NO_ARGUMENTS),
        ([{"type": "function", "id": "1", "name": "get_a", "arguments": {}}], NO_ARGUMENTS),
    ],
)
def test_calls_of_a_message(calls, found):
    assert whole(*calls) == found


def test_call_as_it_was_before_there_were_tools():
    legacy = {"name": "get_a", "arguments": '{"x":1}'}
    assert whole(function_call=legacy) == [(None, "get_a", A)]
    assert whole(call("get_a", A, call_id="1"), function_call=legacy) == ONE
    parts = [{"name": "get_a", "arguments": '{"x"'}, {"arguments": ":1}"}]
    events = [{"choices": [{"delta": {"function_call": part}}]} for part in parts]
    body = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events) + b"data: [DONE]\n\n"
    assert calls_of(body) == [(None, "get_a", A)]


def test_numbers_keep_every_digit_and_texts_are_whole():
    (found,) = whole(call("get_a", '{"n": 100000000000000000001, "p": 0.1234567890123456789, "t": "\\ud83d"}'))
    assert str(found[2]["n"]) == "100000000000000000001"
    assert str(found[2]["p"]) == "0.1234567890123456789"
    assert found[2]["t"] == "\ufffd"


@pytest.mark.parametrize(
    "odd",
    [
        call("get_c", "{}"),
        call("get_", "{}"),
        call("get_a", "{"),
        call("get_a", "[]"),
        call("get_a", "7"),
        call("get_a", '{"x": NaN}'),
        call("get_a", '{"x":1}{"x":2}'),
        call(None, "{}", call_id="1"),
        call(7, "{}"),
        call(["get_a"], "{}"),
        call({"get_a": 1}, "{}"),
        call("get_a", [1]),
        call("get_a", True),
        call("get_a", "{}", call_id={"1": 1}),
        {"function": "get_a"},
        "get_a",
        7,
        ["get_a"],
    ],
)
def test_calls_that_are_none(odd):
    for ask in (streamed, whole):
        with pytest.raises((BasetenOutputError, BasetenResponseError)):
            ask(odd)


@pytest.mark.parametrize("calls", [7, "get_a", {"0": call("get_a", "{}")}, [7]])
def test_list_of_calls_that_is_none(calls):
    with pytest.raises(BasetenError):
        calls_of(json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode())


def test_call_without_tools_to_call():
    body = json.dumps(
        {"choices": [{"message": {"tool_calls": [call("get_a", "{}")]}, "finish_reason": "stop"}]}
    ).encode()
    response = Response(request=REQUEST, status=200, headers={}, body=body)
    with pytest.raises(BasetenOutputError, match="was given none"):
        chat_output.parse_output(read_completion(response), response, ResponseFormat(), None)


def test_long_call_whose_name_comes_with_each_part_is_read_in_linear_time():
    parts = [call("get_a", '{"x":[0', 0, "1"), *[call("get_a", ",0", 0, "1")] * 3000, call("get_a", "]}", 0, "1")]
    ((_, _, arguments),) = streamed(*parts)
    assert len(arguments["x"]) == 3001
