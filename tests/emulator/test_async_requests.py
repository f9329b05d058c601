"""Submitting async requests, asking for their status, cancelling them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from async_support import Caller, until

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Limits, ManualClock, Model

KEY = "abcd1234.key"
INVOKE_KEY = "abcd1234.invoke"
SUBMIT = "/model-m/production/async_predict"


class Seen:
    """A model that remembers what it was given."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    def predict(self, model_input: Any) -> Any:
        self.inputs.append(model_input)
        return model_input


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=0)


@pytest.fixture
def baseten(seen: Seen, clock: ManualClock) -> Iterator[Emulator]:
    model = Model(seen.predict, regional_environments=("eu",), deployment_id="d1")
    with Emulator({"m": model, "other": seen.predict}, {"c": model}, clock=clock) as baseten:
        yield baseten


@pytest.fixture
def caller(baseten: Emulator) -> Caller:
    return Caller(baseten)


@pytest.fixture
def chain(baseten: Emulator) -> Caller:
    return Caller(baseten, "chain-c")


class TestSubmission:
    @pytest.mark.parametrize(
        ("host", "target", "deployment"),
        [
            ("model-m", "/production", "d1"),
            ("model-m", "/development", "d1"),
            ("model-m", "/environments/production", "d1"),
            ("model-m", "/deployment/d1", "d1"),
            ("model-m-eu", "", "md2"),
        ],
    )
    def test_by_every_target(self, baseten: Emulator, seen: Seen, host: str, target: str, deployment: str) -> None:
        answer = httpx.post(f"{baseten.url}/{host}{target}/async_predict", json={"model_input": {"a": "é"}})
        assert answer.status_code == 201
        request_id = answer.json()["request_id"]
        assert answer.json() == {"request_id": request_id}
        assert answer.headers["x-baseten-request-id"] == request_id
        until(lambda: seen.inputs == [{"a": "é"}])
        assert httpx.get(f"{baseten.url}/{host}/async_request/{request_id}").json()["deployment_id"] == deployment

    @pytest.mark.parametrize("model_input", [{}, [1], "text", 1.5, None, False])
    def test_any_json(self, caller: Caller, seen: Seen, model_input: Any) -> None:
        assert caller.run(model_input).status == "SUCCEEDED"
        assert seen.inputs == [model_input]

    def test_defaults(self, caller: Caller) -> None:
        submission = caller.submit().submission
        assert (submission.priority, submission.max_time_in_queue_seconds, submission.webhook_endpoint) == (
            0,
            600,
            None,
        )
        retries = submission.retry_config
        assert (retries.max_attempts, retries.initial_delay_ms, retries.max_delay_ms) == (3, 1000, 5000)

    @pytest.mark.parametrize(
        "options",
        [
            {"priority": 0},
            {"priority": 2},
            {"priority": 1.0},
            {"priority": None},
            {"max_time_in_queue_seconds": 10},
            {"max_time_in_queue_seconds": 259_200},
            {"inference_retry_config": {}},
            {"inference_retry_config": {"max_attempts": 1, "initial_delay_ms": 0, "max_delay_ms": 0}},
            {"inference_retry_config": {"max_attempts": 10, "initial_delay_ms": 10_000, "max_delay_ms": 60_000}},
            {"something": "else"},
        ],
    )
    def test_within_bounds(self, caller: Caller, options: dict[str, Any]) -> None:
        assert caller.post({"model_input": {}, **options}).status_code == 201

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"priority": -1}, "priority"),
            ({"priority": 3}, "priority"),
            ({"priority": "1"}, "priority"),
            ({"priority": True}, "priority"),
            ({"priority": 1.5}, "priority"),
            ({"max_time_in_queue_seconds": 9}, "max_time_in_queue_seconds"),
            ({"max_time_in_queue_seconds": 259_201}, "max_time_in_queue_seconds"),
            ({"inference_retry_config": []}, "inference_retry_config"),
            ({"inference_retry_config": {"max_attempts": 0}}, "max_attempts"),
            ({"inference_retry_config": {"max_attempts": 11}}, "max_attempts"),
            ({"inference_retry_config": {"initial_delay_ms": -1}}, "initial_delay_ms"),
            ({"inference_retry_config": {"initial_delay_ms": 10_001}}, "initial_delay_ms"),
            ({"inference_retry_config": {"max_delay_ms": 60_001}}, "max_delay_ms"),
        ],
    )
    def test_out_of_bounds(self, caller: Caller, options: dict[str, Any], named: str) -> None:
        answer = caller.post({"model_input": {}, **options})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
        assert named in answer.json()["error"]
        assert caller.baseten.async_requests == {}

    @pytest.mark.parametrize(
        ("url", "status"),
        [
            ("https://example.com/hook?x=1", 201),
            ("http://localhost:8080/hook", 201),
            ("http://127.0.0.1/hook", 201),
            ("http://[::1]:8080/hook", 201),
            ("http://example.com/hook", 400),
            ("http://127.0.0.1.example.com/hook", 400),
            ("http://localhost@example.com/hook", 400),
            ("ftp://localhost/hook", 400),
            ("https://", 400),
            ("/hook", 400),
            ("", 400),
            ("https://a:b:c", 400),
            (5, 400),
        ],
    )
    def test_where_webhooks_may_go(self, caller: Caller, url: Any, status: int) -> None:
        caller.baseten.hold()
        answer = caller.post({"model_input": {}, "webhook_endpoint": url})
        assert answer.status_code == status
        assert status == 201 or "webhook_endpoint" in answer.json()["error"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model_input": NaN}', b'"\xff"', b"[" * 100_000])
    def test_what_is_no_submission(self, baseten: Emulator, body: bytes) -> None:
        answer = httpx.post(baseten.url + SUBMIT, content=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")

    def test_the_largest_body(self, caller: Caller, baseten: Emulator, seen: Seen) -> None:
        frame = len(b'{"model_input": ""}')
        largest = json.dumps({"model_input": "x" * (262_144 - frame)}).encode()
        assert len(largest) == 262_144
        assert httpx.post(baseten.url + SUBMIT, content=largest).status_code == 201
        answer = httpx.post(baseten.url + SUBMIT, content=largest + b" ")
        assert (answer.status_code, answer.json()["error_code"]) == (413, "payload_too_large")
        assert "payload size of 262145 bytes exceeds maximum size of 262144 bytes" in answer.json()["error"]
        assert len(baseten.async_requests) == 1

    def test_another_limit(self, seen: Seen) -> None:
        with Emulator({"m": seen.predict}, limits=Limits(async_body_bytes=100)) as baseten:
            assert Caller(baseten).post({"model_input": "x" * 100}).status_code == 413

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/model-m/production/async_predict", 405),
            ("POST", "/model-m/production/async_queue_status", 405),
            ("POST", "/model-m/async_request/abc", 405),
            ("POST", "/model-m/production/async_run_remote", 404),
            ("POST", "/chain-c/production/async_predict", 404),
            ("POST", "/model-none/production/async_predict", 404),
            ("POST", "/model-m/environments/none/async_predict", 404),
            ("GET", "/model-m/async_request/", 404),
            ("GET", "/model-m/async_request/abc", 404),
            ("DELETE", "/model-m/async_request/abc", 404),
        ],
    )
    def test_what_is_not_there(self, baseten: Emulator, method: str, path: str, status: int) -> None:
        assert httpx.request(method, baseten.url + path).status_code == status

    def test_a_deactivated_deployment(self, caller: Caller) -> None:
        caller.baseten.deactivate("m")
        assert caller.post({"model_input": {}}).status_code == 400

    def test_keys(self, seen: Seen) -> None:
        with Emulator({"m": seen.predict}, api_key=KEY, api_keys={INVOKE_KEY: "WORKSPACE_INVOKE"}) as baseten:
            invoke = {"authorization": f"Bearer {INVOKE_KEY}"}
            request_id = httpx.post(baseten.url + SUBMIT, json={"model_input": 1}, headers=invoke).json()["request_id"]
            for method, path in [("POST", SUBMIT), ("GET", f"/model-m/async_request/{request_id}")]:
                assert httpx.request(method, baseten.url + path).status_code == 401
            status = httpx.get(f"{baseten.url}/model-m/async_request/{request_id}", headers=invoke)
            assert status.status_code == 200
            assert len(baseten.async_requests) == 1


class TestChain:
    def test_wrapped(self, chain: Caller, seen: Seen) -> None:
        request = chain.run({"x": 1}, priority=1)
        assert (request.kind, request.target, request.priority) == ("chain", "c", 1)
        assert seen.inputs == [{"x": 1}]

    @pytest.mark.parametrize("arguments", [{}, {"x": 1}, {"priority": 7}, {"model_input": 1, "name": "x"}])
    def test_bare_arguments(self, chain: Caller, seen: Seen, arguments: dict[str, Any]) -> None:
        assert chain.post(arguments).status_code == 201
        until(lambda: seen.inputs == [arguments])
        (request,) = chain.baseten.async_requests.values()
        assert request.webhook_status == "NO_WEBHOOK_PROVIDED"

    @pytest.mark.parametrize("body", [[1], {"model_input": [1]}, {"model_input": {}, "priority": 3}])
    def test_what_is_refused(self, chain: Caller, body: Any) -> None:
        assert chain.post(body).status_code == 400

    def test_status(self, chain: Caller) -> None:
        status = chain.status(chain.run({}))
        assert (status["chain_id"], status["deployment_id"], status["status"]) == ("c", "d1", "SUCCEEDED")
        assert "model_id" not in status


class TestStatus:
    def test_from_queue_to_success(self, caller: Caller, clock: ManualClock) -> None:
        caller.baseten.hold()
        request = caller.submit({})
        status = {
            "request_id": request.request_id,
            "model_id": "m",
            "deployment_id": "d1",
            "status": "QUEUED",
            "webhook_status": "NO_WEBHOOK_PROVIDED",
            "created_at": "1970-01-01T00:00:00.000000Z",
            "status_at": "1970-01-01T00:00:00.000000Z",
            "errors": [],
        }
        assert caller.status(request) == status
        clock.advance(5)
        until(lambda: clock.now() == 5)
        caller.baseten.release()
        until(lambda: request.settled_at is not None)
        succeeded = {**status, "status": "SUCCEEDED", "status_at": "1970-01-01T00:00:05.000000Z"}
        assert caller.status(request) == succeeded

    def test_only_on_its_own_host(self, baseten: Emulator, caller: Caller) -> None:
        request = caller.run({})
        for name in ("model-other", "chain-c", "chain-m"):
            for method in ("GET", "DELETE"):
                answer = httpx.request(method, f"{baseten.url}/{name}/async_request/{request.request_id}")
                assert answer.status_code == 404
        host = {"host": "model-m-eu.api.baseten.co"}
        assert httpx.get(f"{baseten.url}/async_request/{request.request_id}", headers=host).status_code == 200

    def test_is_forgotten_an_hour_after_the_end(self, baseten: Emulator, caller: Caller, clock: ManualClock) -> None:
        request = caller.run({})
        url = f"{baseten.url}/model-m/async_request/{request.request_id}"
        clock.advance(3599)
        until(lambda: clock.now() == 3599)
        assert httpx.get(url).status_code == 200
        clock.advance(1)
        until(lambda: clock.now() == 3600)
        assert httpx.get(url).status_code == httpx.delete(url).status_code == 404
        assert baseten.async_requests[request.request_id].status == "SUCCEEDED"

    def test_an_unfinished_one_is_not_forgotten(self, caller: Caller, clock: ManualClock) -> None:
        caller.baseten.hold()
        request = caller.submit({}, max_time_in_queue_seconds=7201)
        clock.advance(7200)
        until(lambda: clock.now() == 7200)
        assert caller.status(request)["status"] == "QUEUED"

    def test_a_shorter_retention(self, seen: Seen) -> None:
        with Emulator({"m": seen.predict}, limits=Limits(async_retention_seconds=0)) as baseten:
            caller = Caller(baseten)
            request = caller.run({})
            assert httpx.get(f"{caller.url}/async_request/{request.request_id}").status_code == 404


class TestCancel:
    def test_a_queued_one(self, caller: Caller, seen: Seen) -> None:
        caller.baseten.hold()
        first, second = caller.submit(1, webhook_endpoint="https://example.com"), caller.submit(2)
        answer = caller.cancel(first)
        assert (answer["request_id"], answer["canceled"]) == (first.request_id, True)
        assert answer["message"]
        assert caller.queue() == (1, 0)
        caller.baseten.release()
        until(lambda: second.settled_at is not None)
        assert seen.inputs == [2]
        status = caller.status(first)
        assert (status["status"], status["webhook_status"], status["errors"]) == ("CANCELED", "CANCELED", [])
        assert (first.model_runs, first.webhook_attempts) == (0, [])

    def test_twice(self, caller: Caller) -> None:
        caller.baseten.hold()
        request = caller.submit({})
        assert [caller.cancel(request)["canceled"] for _ in range(2)] == [True, False]

    def test_a_finished_one(self, caller: Caller) -> None:
        request = caller.run({})
        answer = caller.cancel(request)
        assert answer["canceled"] is False
        assert "SUCCEEDED" in answer["message"]
        assert request.status == "SUCCEEDED"


class TestHold:
    def test_one_model(self, baseten: Emulator, seen: Seen) -> None:
        baseten.hold("m")
        held = Caller(baseten).submit("held")
        assert Caller(baseten, "model-other").run("free").status == "SUCCEEDED"
        assert held.status == "QUEUED"
        baseten.release("m")
        until(lambda: held.settled_at is not None)
        assert seen.inputs == ["free", "held"]

    def test_sync_requests_are_not_held(self, caller: Caller) -> None:
        caller.baseten.hold()
        assert caller.predict({"a": 1}) == {"a": 1}

    def test_a_model_that_is_not_there(self, baseten: Emulator) -> None:
        with pytest.raises(EmulatorError, match="no model or chain nothing"):
            baseten.hold("nothing")

    def test_before_the_start(self, seen: Seen) -> None:
        baseten = Emulator({"m": seen.predict})
        baseten.hold()
        with baseten:
            request = Caller(baseten).submit({})
            assert Caller(baseten).queue() == (1, 0)
            baseten.release()
            until(lambda: request.status == "SUCCEEDED")
