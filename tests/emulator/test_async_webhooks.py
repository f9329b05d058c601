"""Webhooks: what is delivered, how it is signed, how often it is tried, and what can go wrong."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from async_support import Caller, Receiver, receiving, until

from airflow_provider_baseten.emulator import AsyncRequest, Emulator, Fault, ManualClock
from airflow_provider_baseten.emulator.webhooks import sign
from tests.ports import closed_port

TRUSS = Path(__file__).parent / "truth" / "trusses" / "request_beside_input"
OLD, NEW = "whsec_old", "whsec_new"


def predict(model_input: Any) -> Any:
    if model_input == "fail":
        raise ValueError("no")
    return model_input


def digest(secret: str, body: bytes) -> str:
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_714_438_868.883423)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def baseten(clock: ManualClock) -> Iterator[Emulator]:
    with Emulator({"m": predict, "truss": TRUSS}, {"c": predict}, clock=clock) as baseten:
        yield baseten


@pytest.fixture
def caller(baseten: Emulator) -> Caller:
    return Caller(baseten)


def outcome(request: AsyncRequest) -> tuple[str, str]:
    return request.status, request.webhook_status


class TestDelivery:
    def test_the_body(self, caller: Caller, receiver: Receiver) -> None:
        request = caller.run({"text": "é"}, webhook_endpoint=receiver.url + "?of=me")
        (delivery,) = receiver.deliveries
        assert json.loads(delivery.body) == {
            "request_id": request.request_id,
            "model_id": "m",
            "deployment_id": "md1",
            "type": "async_request_completed",
            "time": "2024-04-30T01:01:08.883423Z",
            "data": {"text": "é"},
            "errors": [],
        }
        assert delivery.path == "/hook?of=me"
        assert delivery.headers["content-type"] == "application/json"
        assert delivery.headers["x-baseten-request-id"] == request.request_id
        assert "x-baseten-signature" not in delivery.headers
        assert outcome(request) == ("SUCCEEDED", "SUCCEEDED")

    @pytest.mark.parametrize("output", [None, "text", [1, {"a": 2.5}], False])
    def test_any_json(self, caller: Caller, receiver: Receiver, output: Any) -> None:
        caller.run(output, webhook_endpoint=receiver.url)
        assert json.loads(receiver.deliveries[0].body)["data"] == output

    def test_a_failure_is_delivered_too(self, caller: Caller, receiver: Receiver) -> None:
        request = caller.run("fail", webhook_endpoint=receiver.url, inference_retry_config={"max_attempts": 1})
        content = json.loads(receiver.deliveries[0].body)
        assert content["type"] == "async_request_completed"
        assert (content["data"], [error["code"] for error in content["errors"]]) == (None, ["MODEL_PREDICT_ERROR"])
        assert outcome(request) == ("FAILED", "SUCCEEDED")

    def test_a_chain(self, baseten: Emulator, receiver: Receiver) -> None:
        Caller(baseten, "chain-c").run({"x": 1}, webhook_endpoint=receiver.url)
        content = json.loads(receiver.deliveries[0].body)
        assert (content["chain_id"], content["data"]) == ("c", {"x": 1})
        assert "model_id" not in content

    def test_a_truss_sees_the_request_id(self, baseten: Emulator, receiver: Receiver) -> None:
        model_input = {"header": "x-baseten-request-id"}
        request = Caller(baseten, "model-truss").run(model_input, webhook_endpoint=receiver.url)
        data = json.loads(receiver.deliveries[0].body)["data"]
        assert (data["input"], data["header"]) == (model_input, request.request_id)

    def test_without_a_webhook(self, caller: Caller) -> None:
        request = caller.run({})
        assert outcome(request) == ("SUCCEEDED", "NO_WEBHOOK_PROVIDED")
        assert request.webhook_attempts == []

    def test_while_it_is_delivered(self, caller: Caller, receiver: Receiver) -> None:
        receiver.open.clear()
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: receiver.deliveries)
        status = caller.status(request)
        assert (status["status"], status["webhook_status"]) == ("SUCCEEDED", "PENDING")
        assert caller.queue() == (0, 0)
        receiver.open.set()
        until(lambda: outcome(request) == ("SUCCEEDED", "SUCCEEDED"))


class TestSignature:
    def test_a_known_one(self) -> None:
        body = (
            b'{"request_id":"abc","model_id":"m1","deployment_id":"d1","type":"async_request_completed",'
            b'"time":"2024-04-30T01:01:08.883423Z","data":{"ok":true},"errors":[]}'
        )
        assert sign(body, ["whsec_test"]) == "v1=e4cf6854e4a95e42b7e18d9f6df8ea5eadfe72b467ed9c2fba6b0d974d5bb03b"

    def test_while_secrets_are_rotated(self, caller: Caller, receiver: Receiver) -> None:
        expected = []
        for secrets in ([OLD], [NEW, OLD], [NEW], []):
            caller.baseten.webhook_secrets = secrets
            caller.run({"number": len(expected)}, webhook_endpoint=receiver.url)
            body = receiver.deliveries[-1].body
            expected.append(",".join(digest(secret, body) for secret in secrets) or None)
        assert [delivery.headers.get("x-baseten-signature") for delivery in receiver.deliveries] == expected

    def test_secrets_of_the_constructor(self, receiver: Receiver) -> None:
        with Emulator({"m": predict}, webhook_secrets=[NEW, OLD]) as baseten:
            assert list(baseten.webhook_secrets) == [NEW, OLD]
            Caller(baseten).run({}, webhook_endpoint=receiver.url)
        (delivery,) = receiver.deliveries
        assert delivery.headers["x-baseten-signature"] == f"{digest(NEW, delivery.body)},{digest(OLD, delivery.body)}"


class TestAttempts:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_second_one(self, caller: Caller, receiver: Receiver, clock: ManualClock, status: int) -> None:
        receiver.statuses = [status]
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: len(request.webhook_attempts) == 1)
        assert outcome(request) == ("SUCCEEDED", "PENDING")
        clock.advance(2)
        until(lambda: request.settled_at is not None)
        first, second = request.webhook_attempts
        assert (first.status, second.status, second.attempted_at - first.attempted_at) == (
            status,
            204,
            pytest.approx(2),
        )
        assert receiver.deliveries[0].body == receiver.deliveries[1].body
        assert outcome(request) == ("SUCCEEDED", "SUCCEEDED")

    def test_no_third_one(self, caller: Caller, receiver: Receiver, clock: ManualClock) -> None:
        receiver.statuses = [503, 503]
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: len(request.webhook_attempts) == 1)
        clock.advance(2)
        until(lambda: request.settled_at is not None)
        assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")
        assert caller.status(request)["status"] == "WEBHOOK_FAILED"
        assert len(receiver.deliveries) == 2
        assert (request.model_runs, request.errors) == (1, ())

    @pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 413, 429, 501])
    def test_only_one(self, caller: Caller, receiver: Receiver, status: int) -> None:
        receiver.statuses = [status]
        request = caller.run({}, webhook_endpoint=receiver.url)
        assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")
        assert [delivery.path for delivery in receiver.deliveries] == ["/hook"]  # Not /elsewhere.

    def test_of_a_failed_request(self, caller: Caller, receiver: Receiver) -> None:
        receiver.statuses = [400]
        request = caller.run("fail", webhook_endpoint=receiver.url, inference_retry_config={"max_attempts": 1})
        assert outcome(request) == ("FAILED", "FAILED")

    def test_a_receiver_that_takes_too_long(self, caller: Caller, receiver: Receiver, clock: ManualClock) -> None:
        receiver.open.clear()
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: receiver.deliveries)
        clock.advance(9.9)
        assert caller.status(request)["webhook_status"] == "PENDING"
        clock.advance(0.1)
        until(lambda: request.settled_at is not None)
        assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")
        assert [attempt.status for attempt in request.webhook_attempts] == [None]

    def test_nobody_there(self, caller: Caller) -> None:
        with closed_port() as port:
            for url in (f"http://127.0.0.1:{port}/hook", "https://127.0.0.1:99999/", f"https://127.0.0.1:{port}"):
                request = caller.run({}, webhook_endpoint=url)
                assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")
                assert [attempt.status for attempt in request.webhook_attempts] == [None]

    def test_no_tls(self, caller: Caller, receiver: Receiver) -> None:
        request = caller.run({}, webhook_endpoint=receiver.url.replace("http:", "https:"))
        assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")


class TestFaults:
    def test_late(self, caller: Caller, receiver: Receiver, clock: ManualClock) -> None:
        caller.baseten.inject(Fault(target="m", action="webhook", delay=300))
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: request.status == "SUCCEEDED")
        clock.advance(299)
        assert caller.status(request)["webhook_status"] == "PENDING"
        assert receiver.deliveries == []
        clock.advance(1)
        until(lambda: request.settled_at is not None)
        (delivery,) = receiver.deliveries
        assert json.loads(delivery.body)["time"] == "2024-04-30T01:01:08.883423Z"

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (Fault(action="webhook", status=200), ("SUCCEEDED", "SUCCEEDED")),
            (Fault(action="webhook", status=400), ("WEBHOOK_FAILED", "FAILED")),
            (Fault(action="webhook", reset=True), ("WEBHOOK_FAILED", "FAILED")),
        ],
    )
    def test_dropped(self, caller: Caller, receiver: Receiver, fault: Fault, expected: tuple[str, str]) -> None:
        caller.baseten.inject(fault)
        request = caller.run({}, webhook_endpoint=receiver.url)
        assert outcome(request) == expected
        assert receiver.deliveries == []
        assert [(attempt.was_sent, attempt.status) for attempt in request.webhook_attempts] == [(False, fault.status)]

    def test_delivered_but_taken_for_failed(self, caller: Caller, receiver: Receiver) -> None:
        caller.baseten.inject(Fault(action="webhook", after_model=True, reset=True))
        request = caller.run({}, webhook_endpoint=receiver.url)
        assert outcome(request) == ("WEBHOOK_FAILED", "FAILED")
        assert len(receiver.deliveries) == 1

    def test_duplicate(self, caller: Caller, receiver: Receiver, clock: ManualClock) -> None:
        caller.baseten.inject(Fault(action="webhook", after_model=True, status=503))
        request = caller.submit({}, webhook_endpoint=receiver.url)
        until(lambda: len(request.webhook_attempts) == 1)
        clock.advance(2)
        until(lambda: request.settled_at is not None)
        assert outcome(request) == ("SUCCEEDED", "SUCCEEDED")
        first, second = receiver.deliveries
        assert (first.body, first.headers) == (second.body, second.headers)

    def test_only_faults_that_name_webhooks_hit_them(self, caller: Caller, receiver: Receiver) -> None:
        caller.baseten.hold()
        request = caller.submit({}, webhook_endpoint=receiver.url)
        caller.baseten.inject(Fault(status=400), Fault(target="c", action="webhook", status=400))
        caller.baseten.release()
        until(lambda: request.settled_at is not None)
        assert outcome(request) == ("SUCCEEDED", "SUCCEEDED")
        assert len(caller.baseten.faults.pending) == 2

    def test_before_the_answer_to_the_submission(self, caller: Caller, receiver: Receiver) -> None:
        caller.baseten.inject(Fault(action="async_predict", after_webhook=True))
        receiver.open.clear()
        with ThreadPoolExecutor(1) as pool:
            answer: Future[httpx.Response] = pool.submit(
                caller.post, {"model_input": {}, "webhook_endpoint": receiver.url}
            )
            until(lambda: receiver.deliveries)
            assert not answer.done()
            receiver.open.set()
            assert answer.result().status_code == 201
        assert answer.result().json()["request_id"] == receiver.deliveries[0].headers["x-baseten-request-id"]

    @pytest.mark.parametrize("after_webhook", [False, True])
    def test_accepted_but_the_answer_is_lost(self, caller: Caller, receiver: Receiver, after_webhook: bool) -> None:
        fault = Fault(action="async_predict", after_model=True, reset=True, after_webhook=after_webhook)
        caller.baseten.inject(fault)
        with pytest.raises(httpx.TransportError):
            caller.post({"model_input": {}, "webhook_endpoint": receiver.url})
        (request,) = caller.baseten.async_requests.values()
        until(lambda: request.settled_at is not None)
        assert (request.model_runs, len(receiver.deliveries)) == (1, 1)

    def test_refused_before_it_was_accepted(self, caller: Caller) -> None:
        caller.baseten.inject(Fault(action="async_predict", status=503))
        assert caller.post({"model_input": {}}).status_code == 503
        assert caller.baseten.async_requests == {}

    def test_status_but_not_cancel(self, caller: Caller) -> None:
        caller.baseten.hold()
        request = caller.submit({})
        too_many = Fault(action="async_request", method="GET", status=429, headers={"Retry-After": "1"}, times=2)
        caller.baseten.inject(too_many)
        url = f"{caller.url}/async_request/{request.request_id}"
        assert [httpx.get(url).status_code, httpx.delete(url).status_code, httpx.get(url).status_code] == [
            429,
            200,
            429,
        ]
        assert caller.status(request)["status"] == "CANCELED"
