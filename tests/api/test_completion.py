"""Reading what chat models answer, whatever they send."""

import json
import random
import re

import pytest

from airflow_provider_baseten.api.openai import chat_output
from airflow_provider_baseten.api.openai.chat import build_chat_completion
from airflow_provider_baseten.api.openai.completion import CompletionStream, read_completion
from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenModelError,
    BasetenResponseError,
)

REQUEST = build_chat_completion(Target(model_id="abc"), [{"role": "user", "content": "x"}])


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
    assert (completion.text, completion.finish_reason, completion.is_ended) == ("ab", "stop", True)


def test_final_event_alone_is_an_end():
    assert read_completion(response(stream(part(content="a")) + b"data: [DONE]\n\n", "")).is_ended


@pytest.mark.parametrize(
    "error", [{"error": {"message": "out of memory"}}, {"object": "error", "message": "out of memory"}]
)
def test_error_in_the_middle(error):
    body = stream(part(content="a"), error) + b"data: [DONE]\n\n"
    completion = read_completion(response(body, "text/event-stream"))
    with pytest.raises(BasetenModelError, match="out of memory"):
        chat_output.check_received(completion, response(body))


def test_content_that_is_no_text_is_not_left_out():
    content = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    whole = {"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 7}}
    for answer in (
        response(json.dumps(whole).encode()),
        response(stream(part(content=content), {**part("stop"), "usage": whole["usage"]}), "text/event-stream"),
    ):
        completion = read_completion(answer)
        assert completion.usage["prompt_tokens"] == 7
        with pytest.raises(BasetenResponseError, match="can't be read"):
            chat_output.check_received(completion, answer)


def message(finish_reason="stop", **fields):
    return {"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish_reason}]}


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "not a chat completion"),
        ([], "not a chat completion"),
        ("text", "not a chat completion"),
        ({}, "not a chat completion"),
        ({"choices": None}, "not a chat completion"),
        ({"choices": []}, "not a chat completion"),
        ({"choices": [None]}, "not a chat completion"),
        ({"choices": [{"message": None}]}, "not a chat completion"),
        ({"choices": {"0": {}}}, "not a chat completion"),
        ({"error": {"message": "context length exceeded", "code": 400}}, "server: context length exceeded"),
        ({"error": "overloaded"}, "overloaded"),
        ({"errors": [{"message": "overloaded"}]}, "overloaded"),
        ({"object": "error", "message": "out of memory", "code": 500}, "server: out of memory"),
        ({"type": "error", "message": "out of memory"}, "server: out of memory"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"message": "no healthy upstream", "choices": []}, "no healthy upstream"),
        ({"error": {"message": "too late"}, **message(content="text")}, "too late"),
        ({"choices": [{**message(content="half")["choices"][0], "error": {"message": "502 of a provider"}}]}, "502"),
        (message(content=None), "is empty"),
        (message(content=""), "is empty"),
        (message(content=[]), "is empty"),
        (message(content=[{"type": "text", "text": ""}]), "is empty"),
        (message("tool_calls", content="", tool_calls=[]), "is empty"),
        (message(), "is empty"),
        (message(content=None, reasoning_content="hm"), "only reasoning"),
        (message("length", content="", reasoning="hm"), "only reasoning"),
        (message(content="\n\n", reasoning_content="hm"), "only reasoning"),
        (message(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]), "only reasoning"),
        (message("length", content="<think>hm"), "only reasoning"),
        (message(content="<think>hm</think>\n"), "only reasoning"),
        (message(content="hm</think>"), "only reasoning"),
        (message("abort", content="partial"), "finish reason abort"),
        (message("error", content="partial"), "finish reason error"),
        (message("CANCELLED", content="partial"), "finish reason CANCELLED"),
        (message({"type": "abort", "message": "x"}, content="partial"), "finish reason abort"),
        (message("insufficient_system_resource", content="partial"), "insufficient"),
        (message("abort", content=None, tool_calls=[CALL]), "finish reason abort"),
        ({"choices": [{"delta": {"content": "first of many"}, "finish_reason": None}]}, "part of a stream"),
    ],
)
def test_answers_with_status_200_that_are_no_success(answer, words):
    assert words in chat_output.find_problem(answer)
    with pytest.raises(BasetenError):
        chat_output.check_received(read_completion(response(json.dumps(answer).encode())), response(b""))


def test_each_of_several_choices_counts():
    (good,), (aborted,) = message(content="a")["choices"], message("abort", content="b")["choices"]
    assert chat_output.find_problem({"choices": [good, good]}) is None
    assert "abort" in chat_output.find_problem({"choices": [good, aborted]})


@pytest.mark.parametrize(
    "answer",
    [
        message(content="text"),
        message(content=" "),
        message(content="0"),
        message(None, content="text"),
        message("", content="text"),
        message("length", content="half"),
        message("content_filter", content=None),
        message(content=None, refusal="no"),
        message("tool_calls", content=None, tool_calls=[CALL]),
        message("function_call", content=None, function_call={"name": "f", "arguments": "{}"}),
        message(content="text", reasoning_content="hm"),
        message(content="<think>hm</think>text"),
        message(content=[{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]),
        message(content=None, audio={"data": "UklGRg=="}),
        message("repetition", content="text"),
        {**message(content="text"), "error": None, "errors": [], "detail": "extra"},
        {"choices": [{"delta": {"content": "all"}, "finish_reason": "stop"}]},
    ],
)
def test_answers_that_are_a_success(answer):
    assert chat_output.find_problem(answer) is None


def test_words_of_a_server_are_bounded_and_one_line():
    trouble = chat_output.find_problem({"error": {"message": "a\nb\x1b[31m \ud83d" + "x" * 100_000}})
    assert "a b [31m xxx" in trouble
    assert len(trouble) < 400


@pytest.mark.parametrize("finish_reason", ["stop", "eos", "EOS_TOKEN", "end_turn", "", "null", None])
def test_reasons_for_a_complete_answer(finish_reason):
    completion = read_completion(response(json.dumps(message(finish_reason, content="a")).encode()))
    assert chat_output.describe_incompleteness(completion) is None


@pytest.mark.parametrize(
    ("finish_reason", "words"),
    [
        ("length", "length limit"),
        ("MAX_TOKENS", "length limit"),
        ("content-filter", "filter"),
        ("repetition", r"unknown finish reason .*\(repetition\)"),
        (7, r"\(7\)"),
        ("tool_calls", "holds no tool call"),
    ],
)
def test_reasons_for_an_incomplete_answer(finish_reason, words):
    completion = read_completion(response(json.dumps(message(finish_reason, content="a")).encode()))
    chat_output.check_received(completion, response(b""))
    assert re.search(words, chat_output.describe_incompleteness(completion))


def test_last_event_without_its_empty_line():
    assert read_completion(response(stream(part(content="a", finish_reason="stop")).rstrip(), "")).text == "a"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_stream_that_is_cut_anywhere_has_no_end(cut):
    body = stream(part(content="grün"), part(content="ste", finish_reason="stop"))
    completion = read_completion(response(body[:-cut], "text/event-stream"))
    if cut > 2:  # Two line breaks are at its end.
        assert not completion.is_ended
        with pytest.raises(BasetenError):
            chat_output.check_received(completion, response(body))


def test_several_tool_calls_in_parts_and_any_order():
    calls = [
        {"index": 1, "id": "b", "function": {"name": "second", "arguments": '{"x"'}},
        {"index": 0, "id": "a", "function": {"name": "first", "arguments": ""}},
        {"index": 1, "function": {"arguments": ": 1}"}},
    ]
    body = stream(*[part(tool_calls=[call]) for call in calls], part("tool_calls"))
    completion = read_completion(response(body, "text/event-stream"))
    output = chat_output.parse_output(completion, response(body), ResponseFormat(), {"first", "second"})
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
    with pytest.raises(BasetenResponseError, match="not a chat completion"):
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
                chat_output.check_received(completion, answer)
                chat_output.parse_output(completion, answer, ResponseFormat(), {"f"})
            except BasetenError:
                pass


def events(*parts):
    return b"".join(parts) + b"data: [DONE]\n\n"


STOP = stream(part("stop"))


@pytest.mark.parametrize(
    "body",
    [
        stream(part(content="grü"), part("stop", content="n")),
        b"\xef\xbb\xbf" + stream(part(content="grü"), part("stop", content="n")),
        stream(part(content="grü"), part("stop", content="n")).replace(b"\n", b"\r"),
        stream(part(content="grü"), part("", content="n")) + b"data: [DONE]\n\n",
        stream(part(content="grü"), part("null", content="n"), part("stop")),
        stream(part(content="grün"), part("stop")).replace(b"\n\n", b"\n") + b"data: [DONE]\n",
        stream(part(content="grün"), {"choices": None, "usage": {}}, {"usage": {"prompt_tokens": 1}}, part("stop")),
        stream({"choices": [None, {"delta": None}]}, part(content="grün"), {"choices": [{"finish_reason": "stop"}]}),
        stream({"choices": [{"message": {"content": "grü"}}]}, {"choices": [{"message": {"content": "n"}}]}) + STOP,
        stream(part(content="grü"), part(content="n"), message(content="grün")),
        stream(message(content="grün")),
        stream({"choices": [{"delta": {"content": "grün"}, "message": {"content": "grün"}}]}) + STOP,
        stream(part(content="grün"), {"choices": [{"index": 1, "delta": {"content": "other"}}]}) + STOP,
        events(
            stream({"choices": [{"index": 3, "delta": {"content": "grün"}}, {"index": 4, "delta": {"content": "x"}}]})
        ),
        stream({"choices": [{"delta": {"content": "grü"}}]}, part(content="n"), part("stop")),
        b"event: ping\ndata: hello\n\n" + stream(part(content="grün")) + b"event: ping\n\n" + STOP,
        b"event: message\nid: 1\n" + stream(part("stop", content="grün")),
        stream(part(content="grün", reasoning_content="hm"), part("stop")),
        events(stream(part(content="grün")), b"data: [DONE]\n\n", b"data: {oops\n\n"),
        stream(part(content="grün"), part("stop")) + b"data: [DO",
        stream(part("stop", content="grü"), part("stop", content="n")),
        stream(part("stop", content="grün"), part(content="", role="assistant"), {"choices": [], "usage": {}}),
        events(stream(part("stop", content="grü"), part(content="n"))),
        stream(part(content="grün"), part("stop"))[:-1],
        stream(part(content=[{"type": "text", "text": "grü"}]), part("stop", content=["n"])),
        json.dumps(message(content="grün")).encode(),
        b"\xef\xbb\xbf\n" + json.dumps(message(content="grün"), indent=1).encode(),
        events(b'data: {"choices":\ndata: [{"delta":\r\ndata:  {"content": "gr\\u00fcn"}}]}\n\n'),
    ],
)
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_streams_as_servers_send_them(body, content_type):
    answer = response(body, content_type)
    completion = read_completion(answer)
    chat_output.check_received(completion, answer)
    assert completion.text == "grün"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (stream(part("", content="He"), part("", content="llo")), "was cut"),
        (stream(part("null", content="He"), part("None", content="llo")), "was cut"),
        (stream(part(content="He")), "was cut"),
        (stream(part(content="He")) + b"data: [DON", "was cut"),
        (stream(part("stop", content="He"), part(content="llo")), "was cut"),
        (stream(part("tool_calls", content="He"), part(tool_calls=[CALL])), "was cut"),
        (stream(part(content="He")) + b'data: {"choices": [{"finish_reason": "st', "was cut"),
        (stream(part(content="He"), part("abort")), "reason abort"),
        (stream(part("error", content="He")) + b"data: [DONE]\n\n", "reason error"),
        (b"data: [DONE]\n\n", "is empty"),
        (events(stream(part(role="assistant", content=""))), "is empty"),
        (stream(part("stop", reasoning="hm")), "only reasoning"),
        (stream(part(content="<think>hm"), part("stop", content="</think>")), "only reasoning"),
        (events(stream(part(content="He")), b"event: error\ndata: out of memory\n\n"), "server: out of memory"),
        (events(b'event: error\ndata: {"message": "full"}\n\n'), "server: full"),
        (events(b'event: error\ndata: {"error": {"message": "full"}}\n\n'), "server: full"),
        (events(stream(part(content="He")), b"event: error\n\n", STOP), "no message"),
        (events(stream(part(content="He"), {"type": "error", "message": "full"}, part("stop"))), "server: full"),
        (events(stream(part(content="He"), {"detail": "full"}, part("stop"))), "server: full"),
        (events(stream(part(content="He"), {"choices": [], "error": "full"}, part("stop"))), "server: full"),
        (events(stream(part(content="He")), b"data: {oops\n\n", STOP), "can't be read"),
        (events(stream(part(content="He")), b"data: 7\n\n", STOP), "can't be read"),
        (stream({"choices": [{"delta": {"content": "He"}}]})[6:-2], "was cut"),
    ],
)
def test_streams_that_are_no_success(body, words):
    answer = response(body, "text/event-stream")
    with pytest.raises(BasetenError, match=words):
        chat_output.check_received(read_completion(answer), answer)


def test_halves_of_a_character():
    split = events(stream(part(content="a\ud83d"), part(content="\ude00b\ud83d")))
    assert read_completion(response(split, "")).text == "a\U0001f600b\ufffd"
    alone = json.dumps(message(content="\ude00\ud83d cut \ud83d")).encode()
    assert read_completion(response(alone)).text == "\ufffd\ufffd cut \ufffd"


@pytest.mark.parametrize("odd", [True, False, -1, 1.5, "7", None, [], {}, 1 << 63, 10**400, float("nan"), float("inf")])
def test_odd_numbers_of_tokens_are_left_out(odd):
    tokens = {"prompt_tokens": odd, "completion_tokens": 7.0, "prompt_tokens_details": odd}
    completion = read_completion(response(json.dumps({**message(content="a"), "usage": tokens}).encode()))
    assert (completion.usage["prompt_tokens"], completion.usage["completion_tokens"]) == (None, 7)
    assert read_completion(response(json.dumps({**message(content="a"), "usage": odd}).encode())).usage


@pytest.mark.parametrize("odd", ["x" * 10_000, "\ud83d", ["a"], {"type": 7}, {"type": "\x00"}, 10**400, 1.5, True])
def test_odd_finish_reasons_are_short_texts(odd):
    reason = read_completion(response(json.dumps(message(odd, content="a")).encode())).usage["finish_reason"]
    assert reason is None or len(reason.encode()) < 400


def test_long_stream_is_read_in_linear_time():
    body = stream(*[part(content="word ")] * 100_000, part("stop"))
    reader = CompletionStream()
    for start in range(0, len(body), 1000):
        reader.feed(body[start : start + 1000])
    assert len(reader.close().text) == 500_000
