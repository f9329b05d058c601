"""A chat model behind `sync/v1`: what an OpenAI client reads from the wire."""

import json

import httpx
import pytest
from truth_support import API_KEY

from airflow_provider_baseten.emulator import Emulator

BODY = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
# What OpenAI's client sends also when it streams.
HEADERS = {"authorization": f"Bearer {API_KEY}", "accept": "application/json", "user-agent": "OpenAI/Python 2.0.0"}


@pytest.fixture
def base_url(emulator: Emulator) -> str:
    return f"{emulator.url}/model-openai/environments/production/sync/v1"


def test_a_whole_answer(base_url: str) -> None:
    answer = httpx.post(f"{base_url}/chat/completions", json=BODY, headers=HEADERS)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert answer.json()["usage"]["total_tokens"] == 6


def test_server_sent_events(base_url: str) -> None:
    with httpx.stream("POST", f"{base_url}/chat/completions", json={**BODY, "stream": True}, headers=HEADERS) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["x-baseten-request-id"]
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert [delta.get("content") for delta in deltas] == ["one", "two", "three", None]


def test_completions(base_url: str) -> None:
    answer = httpx.post(f"{base_url}/completions", json={"model": "m", "prompt": "one two"}, headers=HEADERS)
    *events, done = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    assert [json.loads(event)["choices"][0]["text"] for event in events] == ["one", "two"]
    assert done == "[DONE]"


def test_embeddings(base_url: str) -> None:
    answer = httpx.post(f"{base_url}/embeddings", json={"model": "m", "input": ["one", "three"]}, headers=HEADERS)
    assert [data["embedding"] for data in answer.json()["data"]] == [[3.0, 0.0], [5.0, 1.0]]


def test_an_error_object(base_url: str) -> None:
    answer = httpx.post(
        f"{base_url}/chat/completions", json={**BODY, "messages": [{"role": "user", "content": ""}]}, headers=HEADERS
    )
    assert answer.status_code == 422
    assert answer.json() == {"error": {"message": "empty message", "type": "invalid_request_error"}}


def test_a_route_the_model_does_not_have(base_url: str) -> None:
    answer = httpx.post(f"{base_url}/messages", json=BODY, headers=HEADERS)
    assert answer.status_code == 404
    assert answer.headers["x-baseten-error-source"] == "04"
