"""Baseten's own SDK against the emulator."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from baseten.client import AsyncInferenceClient, InferenceClient, ManagementClient, managementapi
from baseten.client.inferenceapi import (
    ApiClient,
    AsyncPredictRequest,
    AsyncRequestError,
    AsyncRunRemoteInput,
    InferenceRetryConfig,
    PredictInput,
    ResponseError,
    ResponseErrorResponse,
    RunRemoteInput,
)
from truth_support import API_KEY, AUTHORIZED, DEPLOYMENT, Asked

from airflow_provider_baseten.emulator import Emulator, Fault

INPUT = {"text": "é", "list": [1, None]}
PREDICT = PredictInput(INPUT)
RUN_REMOTE = RunRemoteInput({"text": "é"})


@pytest.fixture(params=["path", "host"])
def client(emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[Callable[[str], ApiClient]]:
    """Makes a client of `model-abc`, addressed by the SDK's `base_url_override` or by the host name."""
    clients = []

    def make(name: str, api_key: str = API_KEY) -> ApiClient:
        if request.param == "path":
            client = InferenceClient(api_key=api_key, base_url_override=f"{emulator.url}/{name}")
        else:
            kind, _, rest = name.partition("-")
            id_, _, environment = rest.partition("-")
            options: dict[str, Any] = {f"{kind}_id": id_, "environment": environment or None}
            host = httpx.URL(InferenceClient.default_base_url(**options)).host
            headers = {"authorization": f"Bearer {api_key}", "host": host}
            client = InferenceClient(
                api_key=api_key,
                http_client_override=httpx.Client(base_url=emulator.url, headers=headers),
                close_http_client_on_close=True,
                **options,
            )
        clients.append(client)
        return client.api

    yield make
    for client in clients:
        client.close()


def test_predict(emulator: Emulator, client: Callable[..., ApiClient], asked: Asked) -> None:
    api = client("model-abc")
    answers = [
        api.predict(env_name="production", request=PREDICT),
        api.predict_production(request=PREDICT),
        api.predict_development(request=PREDICT),
        api.predict_deployment(deployment_id=DEPLOYMENT, request=PREDICT),
        client("model-abc-prod-us").predict_regional(request=PREDICT),
    ]
    assert [answer.root for answer in answers] == [INPUT] * 5
    targets = [(r.model_id, r.environment, r.deployment_id, r.regional, r.status) for r in asked()]
    assert targets == [
        ("abc", "production", None, False, 200),
        ("abc", "production", None, False, 200),
        ("abc", "development", None, False, 200),
        ("abc", None, DEPLOYMENT, False, 200),
        ("abc", "prod-us", None, True, 200),
    ]


def test_run_remote(emulator: Emulator, client: Callable[..., ApiClient], asked: Asked) -> None:
    api = client("chain-xyz")
    answers = [
        api.run_remote(env_name="production", request=RUN_REMOTE),
        api.run_remote_production(request=RUN_REMOTE),
        api.run_remote_development(request=RUN_REMOTE),
        api.run_remote_deployment(deployment_id=DEPLOYMENT, request=RUN_REMOTE),
        client("chain-xyz-prod-us").run_remote_regional(request=RUN_REMOTE),
    ]
    assert [answer.root for answer in answers] == [RUN_REMOTE.root] * 5
    assert [(r.chain_id, r.action) for r in asked()] == [("xyz", "run_remote")] * 5


@pytest.mark.parametrize("name", ["model-abc", "chain-xyz"])
def test_wake(emulator: Emulator, client: Callable[..., ApiClient], name: str, asked: Asked) -> None:
    api = client(name)
    api.wake(env_name="production")
    api.wake_production()
    api.wake_development()
    api.wake_deployment(deployment_id=DEPLOYMENT)
    client(f"{name}-prod-us").wake_regional()
    assert [(r.action, r.status) for r in asked()] == [("wake", 202)] * 5


@pytest.mark.parametrize("key", ["abcd1234.wrong", "wrong"])
def test_a_wrong_key(emulator: Emulator, client: Callable[..., ApiClient], key: str) -> None:
    with pytest.raises(ResponseErrorResponse) as caught:
        client("model-abc", key).predict_production(request=PREDICT)
    assert caught.value.status_code == 401
    assert caught.value.error_response.error
    assert caught.value.error_response.error_code == "unauthorized"


def test_no_key(emulator: Emulator) -> None:
    with (
        InferenceClient(api_key="", base_url_override=f"{emulator.url}/model-abc") as client,
        pytest.raises(ResponseErrorResponse) as caught,
    ):
        client.api.wake_production()
    assert caught.value.status_code == 401


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client("model-other").predict_production(request=PREDICT),
        lambda client: client("chain-abc").run_remote_production(request=RUN_REMOTE),
        lambda client: client("model-abc").predict(env_name="staging", request=PREDICT),
        lambda client: client("model-abc").predict(env_name="a/../b", request=PREDICT),
        lambda client: client("model-abc").predict_deployment(deployment_id="other", request=PREDICT),
        lambda client: client("model-abc-elsewhere").predict_regional(request=PREDICT),
        lambda client: client("model-abc-prod-us").predict_production(request=PREDICT),
    ],
    ids=["model", "chain", "environment", "odd name", "deployment", "region", "path on a regional host"],
)
def test_what_does_not_exist(client: Callable[..., ApiClient], ask: Callable[..., Any]) -> None:
    with pytest.raises(ResponseError) as caught:
        ask(client)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("status", [400, 429, 502, 503, 504])
def test_a_declared_error(emulator: Emulator, client: Callable[..., ApiClient], status: int, asked: Asked) -> None:
    emulator.faults.add(Fault(status=status, body={"error": "as told", "error_code": "rate_limited"}))
    with pytest.raises(ResponseErrorResponse) as caught:
        client("model-abc").predict_production(request=PREDICT)
    assert caught.value.status_code == status
    assert caught.value.error_response.error == "as told"
    assert caught.value.error_response.error_code == "rate_limited"
    assert client("model-abc").predict_production(request=PREDICT).root == INPUT
    assert [request.status for request in asked()] == [status, 200]


def test_faults_without_a_body_have_the_documented_one(emulator: Emulator, client: Callable[..., ApiClient]) -> None:
    emulator.faults.add(Fault(status=429))
    with pytest.raises(ResponseErrorResponse) as caught:
        client("model-abc").predict_production(request=PREDICT)
    assert caught.value.error_response.error


def test_an_error_of_the_model(client: Callable[..., ApiClient]) -> None:
    with pytest.raises(ResponseError) as caught:
        client("model-raises").predict_production(request=PredictInput({"raise": "value"}))
    assert caught.value.status_code == 500
    assert caught.value.body == '{"error":"Internal Server Error (in model/chainlet)."}'


@pytest.mark.parametrize(
    ("kind", "status", "described"),
    [
        ("lookup", 500, (None, "LookupError", "no such name")),
        ("http", 422, ("fastapi.exceptions", "HTTPException", "422: {'field': 'name'}")),
    ],
)
def test_an_error_of_a_chain(
    client: Callable[..., ApiClient], kind: str, status: int, described: tuple[str | None, ...]
) -> None:
    """As a chainlet in Truss's server was seen to answer."""
    with pytest.raises(ResponseError) as caught:
        client("chain-broken").run_remote_production(request=RunRemoteInput({"kind": kind}))
    assert caught.value.status_code == status
    error = json.loads(caught.value.body)["error"]
    assert [frame["name"] for frame in error.pop("user_stack_trace")] == ["broken_chain"]
    assert tuple(error[f"exception_{name}"] for name in ("module_name", "cls_name", "message")) == described


def test_a_reset_connection(emulator: Emulator, client: Callable[..., ApiClient]) -> None:
    emulator.faults.add(Fault(reset=True))
    with pytest.raises(httpx.TransportError):
        client("model-abc").predict_production(request=PREDICT)


def test_a_stream(client: Callable[..., ApiClient]) -> None:
    raw = client("model-stream").predict_production_raw(
        request=PredictInput({"count": 3}), accept="application/octet-stream"
    )
    assert b"".join(raw.iter_raw()) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert raw.headers["x-baseten-request-id"]
    assert raw.headers["transfer-encoding"] == "chunked"


def test_a_truncated_stream(emulator: Emulator, client: Callable[..., ApiClient]) -> None:
    emulator.faults.add(Fault(truncate_after=12))
    raw = client("model-stream").predict_production_raw(
        request=PredictInput({"count": 3}), accept="application/octet-stream"
    )
    received: list[bytes] = []
    with pytest.raises(httpx.TransportError):
        received.extend(raw.iter_raw())
    assert b"".join(received) == b"data: 0\n\ndat"


def test_many_at_once(emulator: Emulator, asked: Asked) -> None:
    async def ask() -> list[Any]:
        async with AsyncInferenceClient(api_key=API_KEY, base_url_override=f"{emulator.url}/model-abc") as client:
            inputs = [PredictInput({"number": number}) for number in range(50)]
            calls = [client.api.predict(env_name="production", request=request) for request in inputs]
            return [answer.root for answer in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == [{"number": number} for number in range(50)]
    assert len({request.request_id for request in asked()}) == 50


class TestAsync:
    @pytest.fixture
    def held(self, emulator: Emulator) -> Iterator[None]:
        """While a test runs nothing is started."""
        emulator.hold()
        yield
        emulator.release()

    def test_models(self, held: None, client: Callable[..., ApiClient], asked: Asked) -> None:
        request = AsyncPredictRequest(
            model_input=INPUT,
            webhook_endpoint="https://127.0.0.1:1/hook",
            priority=2,
            max_time_in_queue_seconds=10,
            inference_retry_config=InferenceRetryConfig(max_attempts=1),
        )
        api = client("model-abc")
        answers = [
            api.async_predict(env_name="production", request=request),
            api.async_predict_production(request=request),
            api.async_predict_development(request=request),
            api.async_predict_deployment(deployment_id=DEPLOYMENT, request=request),
            client("model-abc-prod-us").async_predict_regional(request=request),
        ]
        for answer, deployment_id in zip(answers, [*[DEPLOYMENT] * 4, "abcd2"], strict=True):
            status = api.get_async_request_status(request_id=answer.request_id)
            assert (status.status, status.webhook_status, status.errors) == ("QUEUED", "PENDING", [])
            assert (status.model_id, status.chain_id, status.deployment_id) == ("abc", None, deployment_id)
            assert api.cancel_async_request(request_id=answer.request_id).canceled
        assert [asked.status for asked in asked()] == [201] * 5 + [200] * 10

    def test_chains(self, held: None, client: Callable[..., ApiClient]) -> None:
        bare, wrapped = AsyncRunRemoteInput({"x": 1}), AsyncRunRemoteInput({"model_input": {"x": 1}, "priority": 1})
        api = client("chain-xyz")
        answers = [
            api.async_run_remote(env_name="production", request=bare),
            api.async_run_remote_production(request=wrapped),
            api.async_run_remote_development(request=bare),
            api.async_run_remote_deployment(deployment_id=DEPLOYMENT, request=wrapped),
            client("chain-xyz-prod-us").async_run_remote_regional(request=bare),
        ]
        for answer in answers:
            status = api.get_async_request_status(request_id=answer.request_id)
            assert (status.model_id, status.chain_id, status.status) == (None, "xyz", "QUEUED")
            assert api.cancel_async_request(request_id=answer.request_id).canceled

    @pytest.mark.parametrize("name", ["model-abc", "chain-xyz"])
    def test_queue_status(self, emulator: Emulator, held: None, client: Callable[..., ApiClient], name: str) -> None:
        path = f"{name}/production/async_{'predict' if name.startswith('model') else 'run_remote'}"
        httpx.post(f"{emulator.url}/{path}", json={"model_input": {}}, headers=AUTHORIZED)
        api = client(name)
        answers = [
            api.get_async_queue_status(env_name="production"),
            api.get_async_queue_status_production(),
            api.get_async_queue_status_development(),
            api.get_async_queue_status_deployment(deployment_id=DEPLOYMENT),
            client(f"{name}-prod-us").get_async_queue_status_regional(),
        ]
        assert {answer.num_in_progress_requests for answer in answers} == {0}
        regional = f"{name.partition('-')[2]}d2"
        assert [answer.deployment_id for answer in answers] == [*[DEPLOYMENT] * 4, regional]
        assert [answer.num_queued_requests for answer in answers] == [1, 1, 1, 1, 0]

    def test_a_failed_request(self, emulator: Emulator, client: Callable[..., ApiClient]) -> None:
        api = client("model-raises")
        request = AsyncPredictRequest(
            model_input={"raise": "value"}, inference_retry_config=InferenceRetryConfig(max_attempts=1)
        )
        request_id = api.async_predict_production(request=request).request_id
        deadline = time.monotonic() + 10
        while emulator.async_requests[request_id].settled_at is None and time.monotonic() < deadline:
            time.sleep(0.01)
        status = api.get_async_request_status(request_id=request_id)
        assert (status.status, status.webhook_status) == ("FAILED", "NO_WEBHOOK_PROVIDED")
        message = 'The model responded with status 500: {"error":"Internal Server Error (in model/chainlet)."}'
        assert status.errors == [AsyncRequestError(code="MODEL_PREDICT_ERROR", message=message)]
        assert not api.cancel_async_request(request_id=request_id).canceled

    def test_a_body_that_is_too_large(self, client: Callable[..., ApiClient]) -> None:
        with pytest.raises(ResponseErrorResponse) as caught:
            client("model-abc").async_predict_production(request=AsyncPredictRequest(model_input={"x": "y" * 262_144}))
        assert caught.value.status_code == 413
        assert caught.value.error_response.error_code == "payload_too_large"

    @pytest.mark.parametrize("status", [400, 401, 413, 429, 503])
    def test_a_declared_error(self, emulator: Emulator, client: Callable[..., ApiClient], status: int) -> None:
        emulator.faults.add(Fault(action="async_predict", status=status))
        with pytest.raises(ResponseErrorResponse) as caught:
            client("model-abc").async_predict_production(request=AsyncPredictRequest(model_input={}))
        assert caught.value.status_code == status

    def test_an_unknown_request(self, client: Callable[..., ApiClient]) -> None:
        with pytest.raises(ResponseError) as caught:
            client("model-abc").get_async_request_status(request_id="0" * 32)
        assert caught.value.status_code == 404


class TestManagement:
    def test_whoami(self, emulator: Emulator) -> None:
        with ManagementClient(api_key=API_KEY, base_url_override=emulator.url) as client:
            assert client.api.get_users_me().user_id

    def test_models(self, emulator: Emulator) -> None:
        with ManagementClient(api_key=API_KEY, base_url_override=emulator.url) as client:
            assert {"abc", "stream"} <= {model.id for model in client.api.get_models().models}

    def test_model_apis(self) -> None:
        models = dict.fromkeys(("org/A-1", "org/B"), lambda model_input: model_input)
        with (
            Emulator(model_apis=models, model_prices={"org/A-1": (0.13, 2)}, api_key=API_KEY) as emulator,
            ManagementClient(api_key=API_KEY, base_url_override=emulator.url) as client,
        ):
            priced, unpriced = client.api.get_model_apis().items
            assert (priced.name, unpriced.cost_per_million_input_tokens) == ("org/A-1", None)
            one = client.api.get_model_apis_model_api_name(model_api_name="org/A-1")
            assert one == priced
            prices = one.cost_per_million_input_tokens.root, one.cost_per_million_output_tokens.root
            assert tuple(map(float, prices)) == (0.13, 2)

    def test_a_wrong_key(self, emulator: Emulator) -> None:
        with (
            ManagementClient(api_key="wrong", base_url_override=emulator.url) as client,
            pytest.raises(managementapi.ResponseError) as caught,
        ):
            client.api.get_users_me()
        assert caught.value.status_code == 401
