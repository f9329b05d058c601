"""Reading what chat models answer, whatever they send."""

import json
import random

import pytest

from airflow_provider_baseten.api import chat_output
from airflow_provider_baseten.api.chat import chat_completion
from airflow_provider_baseten.api.completion import CompletionStream, read_completion
from airflow_provider_baseten.api.output_format import FormatError, OutputFormat
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenResponseError,
)

REQUEST = chat_completion(Target(model_id="abc"), [{"role": "user", "content": "x"}])


def response(body, content_type="application/json"):
    return Response(request=REQUEST, status=200, headers={"content-type": content_type}, body=body)


def stream(*events):
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)


def part(finish_reason=None, **delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/octet-stream", ""])
def test_stream_is_known_by_what_it_is(content_type):
    body = stream(part(content="a"), part(content="b", finish_reason="stop"))
    completion = read_completion(response(body, content_type))
    assert (completion.text, completion.finish_reason, completion.ended) == ("ab", "stop", True)


def test_end_mark_alone_is_an_end():
    assert read_completion(response(stream(part(content="a")) + b"data: [DONE]\n\n", "")).ended


@pytest.mark.parametrize(
    "error", [{"error": {"message": "out of memory"}}, {"object": "error", "message": "out of memory"}]
)
def test_error_in_the_middle(error):
    body = stream(part(content="a"), error) + b"data: [DONE]\n\n"
    completion = read_completion(response(body, "text/event-stream"))
    with pytest.raises(BasetenModelError, match="out of memory"):
        chat_output.check_arrived(completion, response(body))


def test_content_that_is_no_text_is_not_left_out():
    content = [{"type": "text", "text": "a"}]
    whole = {"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 7}}
    for answer in (
        response(json.dumps(whole).encode()),
        response(stream(part(content=content), {**part("stop"), "usage": whole["usage"]}), "text/event-stream"),
    ):
        completion = read_completion(answer)
        assert completion.usage["prompt_tokens"] == 7
        with pytest.raises(BasetenResponseError, match="not readable"):
            chat_output.check_arrived(completion, answer)


def test_last_event_without_its_empty_line():
    assert read_completion(response(stream(part(content="a", finish_reason="stop")).rstrip(), "")).text == "a"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_stream_that_is_cut_anywhere_has_no_end(cut):
    body = stream(part(content="grün"), part(content="ste", finish_reason="stop"))
    completion = read_completion(response(body[:-cut], "text/event-stream"))
    if cut > 2:  # Two line breaks are at its end.
        assert not completion.ended
        with pytest.raises(BasetenError):
            chat_output.check_arrived(completion, response(body))


def test_several_tool_calls_in_parts_and_any_order():
    calls = [
        {"index": 1, "id": "b", "function": {"name": "second", "arguments": '{"x"'}},
        {"index": 0, "id": "a", "function": {"name": "first", "arguments": ""}},
        {"index": 1, "function": {"arguments": ": 1}"}},
    ]
    body = stream(*[part(tool_calls=[call]) for call in calls], part("tool_calls"))
    completion = read_completion(response(body, "text/event-stream"))
    output = chat_output.output(completion, response(body), OutputFormat(), {"first", "second"})
    assert output["tool_calls"] == [
        {"id": "a", "name": "first", "arguments": {}},
        {"id": "b", "name": "second", "arguments": {"x": 1}},
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b"<html>",
    ],
)
def test_what_is_no_chat_completion(body):
    with pytest.raises(BasetenResponseError, match="not with a chat completion"):
        read_completion(response(body))


def test_whatever_is_sent_ends_in_an_answer_or_a_typed_error():
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    good = stream(part(content="a"), {**part("stop"), "usage": {"prompt_tokens": 1}}) + b"data: [DONE]\n\n"
    values = [None, 7, "x", [], [1], {}, {"x": 1}, {"function": 3}]
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        odd = {
            "choices": chance.choice(
                [values, [part(**{chance.choice(["content", "tool_calls"]): value})["choices"][0] for value in values]]
            ),
            "usage": chance.choice(values),
        }
        for sent in (bytes(body), stream(odd), json.dumps(odd).encode()):
            answer = response(sent, chance.choice(["application/json", "text/event-stream"]))
            try:
                completion = read_completion(answer)
                assert set(completion.usage) >= {"prompt_tokens", "finish_reason"}
                chat_output.check_arrived(completion, answer)
                chat_output.output(completion, answer, OutputFormat(), {"f"})
            except BasetenError:
                pass


def test_long_stream_is_read_in_linear_time():
    body = stream(*[part(content="word ")] * 100_000, part("stop"))
    reader = CompletionStream()
    for start in range(0, len(body), 1000):
        reader.feed(body[start : start + 1000])
    assert len(reader.close().text) == 500_000


class TestOutputFormat:
    def test_nested_places_are_named_and_values_are_not(self):
        schema = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "integer"}}}}
        with pytest.raises(FormatError) as caught:
            OutputFormat.of(schema).read(json.dumps({"rows": [1, "private", *["private"] * 9]}))
        assert str(caught.value).startswith("$.rows[1] breaks 'type', $.rows[2]")
        assert "and 5 more" in str(caught.value)
        assert "private" not in str(caught.value)

    def test_nothing_is_fetched_for_a_reference(self):
        schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
        with pytest.raises(FormatError, match="does not hold"):
            OutputFormat.of(schema).read('{"a": 1}')

    def test_reference_within_the_schema(self):
        schema = {
            "$defs": {"n": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/$defs/n"}},
            "title": "Ein Titel!",
        }
        output_format = OutputFormat.of(schema)
        assert output_format.read('{"a": 1}') == {"a": 1}
        assert output_format.wire["json_schema"]["name"] == "Ein_Titel"

    def test_form_of_the_wire(self):
        wire = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
        assert OutputFormat.of(wire).wire == wire
        assert OutputFormat.of(wire).read("7") == 7
        with pytest.raises(FormatError):
            OutputFormat.of(wire).read('"7"')
        assert OutputFormat.of({"type": "json_object"}).read('{"a": null}') == {"a": None}
        assert OutputFormat.of({"type": "text"}).read("{") == "{"

    @pytest.mark.parametrize("value", ["Ticket", 7, [], {"type": 7}, {"type": "json_schema", "json_schema": {}}])
    def test_what_is_none(self, value):
        with pytest.raises(BasetenInputError, match="response_format"):
            OutputFormat.of(value)
