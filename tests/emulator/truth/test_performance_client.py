"""Baseten's performance client against the emulator: what bulk callers see of it."""

import pytest
import requests
from baseten_performance_client import PerformanceClient, RequestProcessingPreference
from truth_support import API_KEY, Asked

from airflow_provider_baseten.emulator import Emulator, Fault

TEXTS = [f"text number {number}" for number in range(20)]


def client(emulator: Emulator, model_id: str = "custom", api_key: str = API_KEY) -> PerformanceClient:
    return PerformanceClient(f"{emulator.url}/model-{model_id}/environments/production/sync", api_key=api_key)


def preference(**options: float) -> RequestProcessingPreference:
    return RequestProcessingPreference(**{"initial_backoff_ms": 50, "retry_budget_pct": 3.0, **options})


@pytest.mark.parametrize("model_id", ["custom", "openai"])
def test_embed(emulator: Emulator, model_id: str, asked: Asked) -> None:
    answer = client(emulator, model_id).embed(TEXTS, model="m", preference=preference(batch_size=8))
    assert [data.embedding[0] for data in answer.data] == [float(len(text)) for text in TEXTS]
    assert [data.index for data in answer.data] == list(range(20))
    assert answer.usage.total_tokens == 20
    assert answer.model == "m"
    requests_seen = asked()
    assert [request.route for request in requests_seen] == ["/v1/embeddings"] * 3
    assert {headers["x-baseten-request-id"] for headers in answer.response_headers} == {
        request.request_id for request in requests_seen
    }


def test_rerank(emulator: Emulator) -> None:
    answer = client(emulator).rerank("query", TEXTS[:3])
    assert {result.index: result.score for result in answer.data} == {0: 1.0, 1: 0.5, 2: pytest.approx(1 / 3)}


def test_classify(emulator: Emulator, asked: Asked) -> None:
    answer = client(emulator).classify(TEXTS[:10], preference=preference(batch_size=3))
    assert [results[0].label for results in answer.data] == [str(number) for number in range(10)]
    assert len(asked()) == 4


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_batch_post(emulator: Emulator, method: str, asked: Asked) -> None:
    payloads = [{"number": number} for number in range(40)]
    answer = client(emulator).batch_post("/items/a", payloads, method=method)
    assert answer.data == [{"method": method, "body": payload, "path": "/items/a"} for payload in payloads]
    assert len({request.request_id for request in asked()}) == 40


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_an_injected_fault_is_retried(emulator: Emulator, status: int, asked: Asked) -> None:
    emulator.faults.add(Fault(status=status, times=2))
    answer = client(emulator).batch_post("/items/a", [{"number": 1}], preference=preference())
    assert answer.data[0]["body"] == {"number": 1}
    assert [request.status for request in asked()] == [status, status, 200]


def test_a_refusal_is_not_retried(emulator: Emulator, asked: Asked) -> None:
    with pytest.raises(requests.exceptions.HTTPError) as caught:
        client(emulator).batch_post("/refuse", [{}], preference=preference())
    assert caught.value.args[0] == 422
    assert "this server does not like you" in caught.value.args[1]
    assert [request.status for request in asked()] == [422]


def test_a_wrong_key_is_refused_before_the_model(emulator: Emulator, asked: Asked) -> None:
    with pytest.raises(requests.exceptions.HTTPError) as caught:
        client(emulator, api_key="abcd1234.wrong").rerank("query", TEXTS[:1])
    assert caught.value.args[0] == 401
    assert [request.status for request in asked()] == [401]


def test_an_unknown_model(emulator: Emulator) -> None:
    with pytest.raises(requests.exceptions.HTTPError) as caught:
        client(emulator, model_id="other").rerank("query", TEXTS[:1])
    assert caught.value.args[0] == 404


def test_a_reset_connection_is_retried(emulator: Emulator, asked: Asked) -> None:
    emulator.faults.add(Fault(reset=True))
    answer = client(emulator).batch_post("/items/a", [{"number": 1}], preference=preference())
    assert answer.data[0]["body"] == {"number": 1}
    assert len(asked()) == 2
