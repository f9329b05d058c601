"""Model APIs of the emulator: one address, where `model` selects who answers."""

import json

import httpx
import pytest

from airflow_provider_baseten.emulator import Emulator, Fault, Model, Scaling

KEY = "abcd1234.key"
ROUTES = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


async def echo(scope, receive, send):
    body = json.loads((await receive())["body"])
    answer = json.dumps({"path": scope["path"], "model": body["model"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def running():
    busy = Model(echo, scaling=Scaling(min_replica=0, cold_start=60, policy="REJECT_ON_FULL"))
    with Emulator(models={"abc": echo}, model_apis={"org/one": echo, "two": busy}, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
def call(running):
    def send(method, path, host=None, key=KEY, **options):
        headers = {"authorization": f"Bearer {key}"} | ({"host": host} if host else {})
        return httpx.request(method, running.url + path, headers=headers, trust_env=False, **options)

    yield send
    running.faults.clear()


@pytest.mark.parametrize("route", ROUTES)
def test_model_of_the_body_answers(call, route):
    answer = call("POST", f"/inference{route}", json={"model": "org/one"})
    assert answer.json() == {"path": route, "model": "org/one"}
    assert answer.headers["x-baseten-request-id"]


def test_host_of_the_model_apis(call, running):
    assert call("POST", ROUTES[0], host="inference.baseten.co", json={"model": "org/one"}).status_code == 200
    request = running.requests[-1]
    assert (request.action, request.route, request.model_id) == ("model_apis", ROUTES[0], None)


def test_list_of_models_is_not_that_of_the_management_api(call):
    listed = call("GET", "/inference/v1/models").json()
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["org/one", "two"])
    assert [model["id"] for model in call("GET", "/v1/models").json()["models"]] == ["abc"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"model": "org/other"}}, 404),
        ({"json": {"model": "abc"}}, 404),
        ({"json": {}}, 400),
        ({"json": ["org/one"]}, 400),
        ({"json": {"model": 7}}, 400),
        ({"content": b"{"}, 400),
        ({"json": {"model": "two"}}, 529),
    ],
)
def test_refusals(call, options, status):
    answer = call("POST", f"/inference{ROUTES[0]}", **options)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", f"/inference{ROUTES[0]}", 405), ("POST", "/inference/v1/models", 405), ("POST", "/inference/v2/x", 404)],
)
def test_paths_and_methods(call, method, path, status):
    assert call(method, path).status_code == status


def test_wrong_key(call):
    assert call("POST", f"/inference{ROUTES[0]}", key="abcd1234.other", json={"model": "org/one"}).status_code == 401


def test_fault(call, running):
    running.inject(Fault(action="model_apis", status=429))
    answers = [call("POST", f"/inference{ROUTES[0]}", json={"model": "org/one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 200]
