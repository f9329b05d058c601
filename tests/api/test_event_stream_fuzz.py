"""Streams of chat completions that are cut, split, and mixed with noise; and what OpenAI's own SDK reads in them."""

import json
import random

import httpx
import openai
import pytest
from openai._streaming import SSEDecoder

from airflow_provider_baseten.api.openai import chat_output
from airflow_provider_baseten.api.openai.chat import build_chat_completion
from airflow_provider_baseten.api.openai.completion import CompletionStream, read_completion
from airflow_provider_baseten.api.openai.event_stream import EventStream
from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenError

REQUEST = build_chat_completion(Target(model_id="abc"), [{"role": "user", "content": "x"}])
TEXTS = [
    "grün",
    "\U0001f600",
    "",
    " ",
    "a\nb",
    "\u2028",
    "data: x",
    "\\ud83d",
    '"',
    "[DONE]",
    "\ufeff",
    "長い",
    "x" * 300,
]
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}


@pytest.fixture
def chance():
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    return random.Random(seed)


def delta(finish_reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def valid_stream(chance):
    """Return a stream and the text, or the arguments of the call, that it holds."""
    texts = ["begin ", *chance.choices(TEXTS, k=chance.randrange(6))]
    if chance.random() < 0.5:
        parts = [delta(role="assistant"), *[delta(content=text) for text in texts], delta("stop")]
        said = "".join(texts)
    else:
        said = json.dumps({"x": texts}, ensure_ascii=False)
        cuts = sorted(chance.choices(range(len(said)), k=3))
        pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
        calls = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
        calls[0] |= {"id": "1", "function": {"name": "f", "arguments": pieces[0]}}
        parts = [*[delta(tool_calls=[call]) for call in calls], delta("tool_calls")]
    end = chance.choice(["\n", "\r\n", "\r"])
    lines = chance.choice([[], ["\ufeff"]])[:1]
    for part in [*parts, USAGE]:
        if chance.random() < 0.3:
            lines.append(f": ping{end}")
        if chance.random() < 0.2:
            lines.append(f"id: 7{end}")
        text = json.dumps(part, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, None, 1]))
        lines += [f"data:{chance.choice([' ', ''])}{line}{end}" for line in text.split("\n")] + [end]
    return "".join([*lines, f"data: [DONE]{end}{end}"]).encode(), said


def read(body, content_type="text/event-stream"):
    """Return what the operator would make of a stream."""
    response = Response(request=REQUEST, status=200, headers={"content-type": content_type}, body=body)
    completion = read_completion(response)
    chat_output.check_received(completion, response)
    if trouble := chat_output.describe_incompleteness(completion):
        raise chat_output.unusable_error(response, trouble)
    answer = chat_output.parse_output(completion, response, ResponseFormat(), {"f"})
    return answer["content"] or json.dumps(answer["tool_calls"][0]["arguments"], ensure_ascii=False)


def test_stream_that_is_split_at_every_byte(chance):
    for _ in range(10):
        body, said = valid_stream(chance)
        for at in range(len(body)):
            stream = CompletionStream()
            text = stream.feed(body[:at]) + stream.feed(body[at:])
            completion = stream.close()
            assert completion.is_ended
            assert not completion.is_damaged
            assert said == (text or completion.calls.whole()[0]["arguments"])
        assert read(body) == said


def test_stream_that_is_cut_at_every_byte_is_no_success_before_its_end(chance):
    for _ in range(10):
        body, said = valid_stream(chance)
        # Where the reason to stop is complete, all that was said has come.
        whole = max(body.rfind(reason) for reason in (b'"stop"', b'"tool_calls"'))
        for at in range(len(body)):
            try:
                assert read(body[:at]) == said
            except BasetenError:
                assert at <= body.find(b"\n" if b"\n" in body else b"\r", whole) + 40
            else:
                assert at >= whole


def test_stream_with_noise_gives_what_was_said_or_a_typed_error(chance):
    noise = [
        b"\r",
        b"\n\n",
        b"\x00",
        b"\xff",
        b"data:",
        b"event: error\n",
        b"{",
        b"}",
        b'"',
        b"[DONE]",
        b"null",
        b"\xef\xbb\xbf",
    ]
    for _ in range(3000):
        body, _ = valid_stream(chance)
        for _ in range(chance.randrange(1, 5)):
            start = chance.randrange(len(body))
            end = min(len(body), start + chance.choice([0, 0, 1, 5, 50]))
            body = body[:start] + chance.choice([*noise, chance.randbytes(3)]) + body[end:]
        try:
            read(body, chance.choice(["text/event-stream", "application/json", ""]))
        except BasetenError:
            continue
        assert b"[DONE]" in body or b'"stop"' in body or b'"tool_calls"' in body


def test_answers_of_any_form_give_a_text_or_a_typed_error(chance):
    leaves = [None, True, 7, -1, 1.5, 10**400, "", "null", "x", "\ud83d", "stop", "error", "{}"]
    names = [
        *(
            "choices",
            "delta",
            "message",
            "content",
            "tool_calls",
            "function",
            "function_call",
            "name",
            "arguments",
            "id",
        ),
        *(
            "index",
            "finish_reason",
            "usage",
            "error",
            "object",
            "type",
            "text",
            "refusal",
            "reasoning_content",
            "detail",
        ),
    ]

    def value(depth):
        kind = chance.random()
        if depth == 0 or kind < 0.3:
            return chance.choice(leaves)
        if kind < 0.5:
            return [value(depth - 1) for _ in range(chance.randrange(3))]
        return {name: value(depth - 1) for name in chance.choices(names, k=chance.randrange(4))}

    for _ in range(3000):
        message = {name: value(3) for name in chance.choices(names, k=3)}
        choice = {
            chance.choice(["message", "delta"]): message,
            "finish_reason": chance.choice(leaves),
            **value_of(value(2)),
        }
        body = json.dumps(chance.choice([{"choices": [choice], "usage": value(2)}, value(4)])).encode()
        for sent in (body, b"data: " + body + b"\n\ndata: [DONE]\n\n"):
            try:
                text = read(sent)
            except BasetenError:
                continue
            text.encode()


def value_of(value):
    return value if isinstance(value, dict) else {}


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900])
def test_answers_that_are_nested_too_deeply(deep):
    for body in (
        deep,
        b'{"choices":' + deep + b"}",
        b'{"error":' + deep + b"}",
        b'{"choices":[{"message":{"content":' + deep + b'},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"x"},"finish_reason":' + deep + b"}]}",
        b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"x":' + deep + b"}}}]}}]}",
    ):
        for sent in (body, b"data: " + body + b"\n\ndata: [DONE]\n\n"):
            try:
                read(sent)
            except BasetenError:
                continue


def test_events_are_those_of_the_openai_sdk(chance):
    for _ in range(300):
        # The SDK knows neither the mark nor CR alone within an event.
        body = valid_stream(chance)[0].removeprefix(b"\xef\xbb\xbf")
        if b"\n" not in body:
            continue
        size = chance.randrange(1, 40)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        stream = EventStream()
        ours = [event for chunk in chunks for event in stream.feed(chunk)] + stream.close()
        theirs = [event for event in SSEDecoder().iter_bytes(iter(chunks)) if event.data or event.event]
        assert [event.data for event in ours] == [event.data for event in theirs]


def test_answer_is_that_of_the_openai_sdk(chance):
    for _ in range(50):
        body, said = valid_stream(chance)
        body = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        answer = httpx.MockTransport(
            lambda _, body=body: httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
        )
        client = openai.OpenAI(api_key="x", base_url="http://x", http_client=httpx.Client(transport=answer))
        text = arguments = ""
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    arguments += call.function.arguments or ""
        assert (text or arguments) == said == read(body)
