"""What the gateway does in front of a model: addressing, keys, request ids, limits, refusals."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_baseten.emulator import Emulator, Limits, Model

KEY = "abcd1234.secret"
INVOKE_KEY = "abcd1234.invoke"
PREDICT = "/model-abc/production/predict"


async def show(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "headers": dict(request.headers),
            "body": (await request.body()).decode(),
        }
    )


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
SHOW = Starlette(routes=[Route("/{path:path}", show, methods=METHODS)])


def echo(model_input: Any) -> Any:
    return model_input


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    models = {
        "abc": Model(echo, environments=("production", "staging"), regional_environments=("prod-us",)),
        "off": echo,
        "web": SHOW,
    }
    limits = Limits(body_bytes=1000)
    keys = {INVOKE_KEY: "WORKSPACE_INVOKE"}
    with Emulator(models, {"abc": lambda _: 6}, api_key=KEY, api_keys=keys, limits=limits) as emulator:
        yield emulator


@pytest.fixture
def baseten(running: Emulator) -> Emulator:
    running.activate("off")
    return running


@pytest.fixture
def client(baseten: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=baseten.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


class TestTargets:
    @pytest.mark.parametrize(
        "path",
        [
            "/model-abc/production/predict",
            "/model-abc/environments/production/predict",
            "/model-abc/environments/staging/predict",
            "/model-abc/deployment/abcd1/predict",
            "/model-abc-prod-us/predict",
            "/model-abc/environments/prod-us/predict",
        ],
    )
    def test_model_by_path(self, client: httpx.Client, path: str) -> None:
        answer = client.post(path, json={"n": 1})
        assert (answer.status_code, answer.json()) == (200, {"n": 1})

    @pytest.mark.parametrize(
        ("host", "path", "expected"),
        [
            ("model-abc.api.baseten.co", "/production/predict", {"n": 1}),
            ("model-abc-prod-us.api.baseten.co", "/predict", {"n": 1}),
            ("chain-abc.api.baseten.co", "/production/run_remote", 6),
        ],
    )
    def test_by_host(self, client: httpx.Client, host: str, path: str, expected: Any) -> None:
        answer = client.post(path, json={"n": 1}, headers={"Host": host})
        assert (answer.status_code, answer.json()) == (200, expected)

    @pytest.mark.parametrize(
        "path",
        [
            "/model-nope/production/predict",
            "/chain-web/production/run_remote",
            "/model-abc/development/predict",
            "/model-abc/environments/nope/predict",
            "/model-abc/deployment/nope/predict",
            "/model-abc-staging/predict",
            "/model-abc/production/run_remote",
            "/chain-abc/production/predict",
            "/model-abc/production/nope",
            "/nope",
        ],
    )
    def test_what_does_not_exist(self, client: httpx.Client, path: str) -> None:
        answer = client.post(path, json={})
        assert answer.status_code == 404
        assert answer.json()["error"]
        assert answer.json()["error_code"] in {"model_does_not_exist", "client_error"}

    def test_predict_is_a_post(self, client: httpx.Client) -> None:
        answer = client.get(PREDICT)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


class TestKeys:
    @pytest.mark.parametrize("scheme", ["Bearer", "Api-Key", "bearer"])
    def test_both_schemes(self, baseten: Emulator, scheme: str) -> None:
        answer = httpx.post(baseten.url + PREDICT, json=[], headers={"Authorization": f"{scheme} {KEY}"})
        assert answer.status_code == 200
        assert baseten.requests[-1].headers["authorization"] == scheme

    @pytest.mark.parametrize(
        "authorization", [None, "", KEY, "Bearer", "Bearer nope", f"Basic {KEY}", f"Bearer {KEY}x"]
    )
    @pytest.mark.parametrize("path", [PREDICT, "/model-nope/production/predict", "/v1/models", "/nope"])
    def test_no_valid_key(self, baseten: Emulator, authorization: str | None, path: str) -> None:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = httpx.post(baseten.url + path, json={}, headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "unauthorized")
        assert isinstance(answer.json()["error"], str)
        assert "x-baseten-error-source" not in answer.headers

    def test_invoke_key(self, baseten: Emulator) -> None:
        headers = {"Authorization": f"Bearer {INVOKE_KEY}"}
        assert httpx.post(baseten.url + PREDICT, json={}, headers=headers).status_code == 200
        assert httpx.get(baseten.url + "/v1/models", headers=headers).status_code == 403

    def test_without_keys_all_is_accepted(self) -> None:
        with Emulator({"abc": echo}) as baseten:
            assert httpx.post(baseten.url + PREDICT, json=1).json() == 1

    def test_no_key_is_recorded(self, client: httpx.Client, baseten: Emulator) -> None:
        client.post(PREDICT, json={})
        assert KEY not in repr(baseten.requests)


class TestRequestIds:
    def test_every_answer_has_its_own(self, client: httpx.Client, baseten: Emulator) -> None:
        before = len(baseten.requests)
        paths = [PREDICT, PREDICT, "/model-nope/production/predict", "/nope", "/model-web/production/sync/x"]
        answers = [client.post(path, json={}) for path in paths]
        answers.append(httpx.post(baseten.url + PREDICT))
        ids = [answer.headers["x-baseten-request-id"] for answer in answers]
        assert len(set(ids)) == len(ids)
        assert [request.request_id for request in baseten.requests[before:]] == ids

    def test_model_gets_the_id_and_not_the_key(self, client: httpx.Client) -> None:
        answer = client.post(
            "/model-web/production/predict", json={}, headers={"X-Baseten-Request-Id": "of the client"}
        )
        seen = answer.json()["headers"]
        assert seen["x-baseten-request-id"] == answer.headers["x-baseten-request-id"]
        assert "authorization" not in seen


class TestRecords:
    def test_what_is_remembered(self, client: httpx.Client, baseten: Emulator) -> None:
        client.put("/model-web/deployment/webd1/sync/a/b?c=d", content=b"12345", headers={"X-Own": "1"})
        request = baseten.requests[-1]
        assert (request.method, request.path, request.query) == ("PUT", "/model-web/deployment/webd1/sync/a/b", "c=d")
        assert (request.model_id, request.chain_id, request.action) == ("web", None, "sync")
        assert (request.deployment_id, request.environment, request.route) == ("webd1", None, "/a/b")
        assert (request.status, request.body_bytes, request.headers["x-own"]) == (200, 5, "1")
        assert request.response_bytes > 0

    def test_chain_in_a_region(self, client: httpx.Client, baseten: Emulator) -> None:
        client.post("/chain-abc-eu/run_remote", json={})
        request = baseten.requests[-1]
        assert (request.model_id, request.chain_id, request.action) == (None, "abc", "run_remote")
        assert (request.environment, request.regional, request.status) == ("eu", True, 404)


class TestSyncRoutes:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method(self, client: httpx.Client, method: str) -> None:
        answer = client.request(
            method,
            "/model-web/environments/production/sync/v1/a%2Fb?q=1%202",
            content=b"" if method == "GET" else b"body",
            headers={"X-Own": "yes"},
        )
        seen = answer.json()
        assert (seen["method"], seen["path"], seen["query"]) == (method, "/v1/a%2Fb", "q=1%202")
        assert seen["body"] == ("" if method == "GET" else "body")
        assert seen["headers"]["x-own"] == "yes"

    @pytest.mark.parametrize(
        ("path", "route"),
        [
            ("/model-web/production/sync", "/"),
            ("/model-web/production/sync/", "/"),
            ("/model-web/development/sync/v1/models/", "/v1/models/"),
            ("/model-web/production/predict", "/predict"),
        ],
    )
    def test_routes(self, client: httpx.Client, path: str, route: str) -> None:
        assert client.post(path).json()["path"] == route

    def test_a_model_has_its_container_routes(self, client: httpx.Client) -> None:
        assert client.get("/model-abc/production/sync/v1/models/model").json() == {}
        answer = client.get("/model-abc/production/sync/nope")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


class TestBodyLimit:
    @pytest.mark.parametrize("path", [PREDICT, "/model-web/production/sync/x"])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_larger_body_is_refused(self, client: httpx.Client, path: str, chunked: bool) -> None:
        body = b"1" * 1001
        answer = client.post(path, content=iter([body]) if chunked else body)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "payload_too_large")

    @pytest.mark.parametrize("chunked", [False, True])
    def test_the_largest_body_passes(self, client: httpx.Client, chunked: bool) -> None:
        body = b"1" * 1000
        answer = client.post("/model-web/production/predict", content=iter([body]) if chunked else body)
        assert answer.json()["body"] == body.decode()

    def test_the_connection_stays_usable(self, client: httpx.Client) -> None:
        assert client.post(PREDICT, content=b"1" * 5_000_000).status_code == 413
        assert client.post(PREDICT, json={}).status_code == 200

    def test_default(self) -> None:
        with Emulator({"abc": echo}) as baseten:
            answer = httpx.post(baseten.url + PREDICT, content=b"1" * 100_000_001, timeout=60)
        assert answer.status_code == 413


class TestDeactivated:
    @pytest.mark.parametrize("path", ["predict", "wake", "sync/v1/models/model"])
    def test_is_refused(self, client: httpx.Client, baseten: Emulator, path: str) -> None:
        baseten.deactivate("off")
        answer = client.post(f"/model-off/production/{path}", json={})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
        assert "x-baseten-error-source" not in answer.headers

    def test_and_activated_again(self, client: httpx.Client, baseten: Emulator) -> None:
        baseten.deactivate("off")
        baseten.activate("off")
        assert client.post("/model-off/production/predict", json={}).status_code == 200


class TestManagement:
    def test_user(self, client: httpx.Client) -> None:
        assert client.get("/v1/users/me").json()["user_id"]

    def test_models(self, client: httpx.Client) -> None:
        models = client.get("/v1/models").json()["models"]
        assert [model["id"] for model in models] == ["abc", "off", "web"]
        assert client.get("/v1/models", params={"name": "abc"}).json()["models"] == models[:1]
        assert client.get("/v1/models/abc").json() == models[0]
        assert models[0]["production_deployment_id"] == "abcd1"
        assert models[0]["development_deployment_id"] is None

    def test_by_host(self, client: httpx.Client) -> None:
        assert client.get("/v1/models/abc", headers={"Host": "api.baseten.co"}).json()["id"] == "abc"

    @pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/models/abc/nope", "/v1/nope"])
    def test_what_does_not_exist(self, client: httpx.Client, path: str) -> None:
        assert client.get(path).status_code == 404
