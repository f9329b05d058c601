"""What a model object answers inside its container, case by case."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from fastapi import HTTPException
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from airflow_provider_baseten.emulator import Emulator, Model
from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.methods import ModelDefinitionError, ModelMethods
from airflow_provider_baseten.emulator.serialization import from_msgpack, to_msgpack

PREDICT = "/v1/models/model:predict"
MSGPACK = {"Content-Type": "application/octet-stream"}

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a container for a model and returns a client of it."""
    with ExitStack() as stack:

        def start(model: object, **options: Any) -> httpx.Client:
            app = Container(lambda: model, **options)
            baseten = stack.enter_context(Emulator({"m": Model(app, predict_path=PREDICT)}))
            return stack.enter_context(httpx.Client(base_url=f"{baseten.url}/model-m/production/sync"))

        yield start


def model(**methods: Callable[..., Any]) -> object:
    """Return an object with these methods, which do not take `self`."""
    return type("Model", (), {name: staticmethod(method) for name, method in methods.items()})()


class Point(BaseModel):
    x: int
    y: int = 0


def typed(point: Point) -> int:
    return point.x + point.y


def refuse(detail: Any) -> Any:
    raise HTTPException(418, detail=detail)


def crash(_: Any) -> Any:
    raise ValueError("a secret of the model")


def broken_stream(_: Any) -> Iterator[str]:
    yield "begun"
    raise ValueError


@pytest.mark.parametrize(
    ("predict", "content", "status", "body", "code"),
    [
        (
            lambda x: x,
            b"{",
            400,
            {
                "error": "Invalid JSON payload: Expecting property name enclosed in double quotes: "
                "line 1 column 2 (char 1)"
            },
            "700",
        ),
        (lambda x: x, b"", 400, {"error": "Invalid JSON payload: Expecting value: line 1 column 1 (char 0)"}, "700"),
        (typed, b"{}", 400, {"error": "Input Parsing Error:\n  `x`: Field required."}, "700"),
        (crash, b"{}", 500, {"error": "Internal Server Error (in model/chainlet)."}, "600"),
        (refuse, b'{"why": [1]}', 418, {"error": {"why": [1]}}, "600"),
        (refuse, b'"why"', 418, {"error": "why"}, "600"),
        (lambda x: JSONResponse({"own": 1}, 409), b"{}", 409, {"own": 1}, "700"),
        (lambda x: JSONResponse({"own": 1}, 202), b"{}", 202, {"own": 1}, None),
        (
            lambda x: {1, 2},
            b"{}",
            500,
            {"error": "Unhandled exception: TypeError: Object of type set is not JSON serializable"},
            "500",
        ),
        (
            lambda x: b"raw",
            b"{}",
            500,
            {"error": "Unhandled exception: TypeError: Object of type bytes is not JSON serializable"},
            "500",
        ),
    ],
    ids=["json", "empty", "typed", "crash", "refusal", "refusal as text", "response", "accepted", "set", "bytes"],
)
def test_answers(serve: Serve, predict: Any, content: bytes, status: int, body: Any, code: str | None) -> None:
    answer = serve(model(predict=predict)).post(PREDICT, content=content)
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers.get("x-baseten-error-code") == code
    assert answer.headers.get("x-baseten-error-source") == (None if code is None else "04")


def test_steps_in_order_and_each_kind(serve: Serve) -> None:
    async def preprocess(text: str) -> list[str]:
        return text.split()

    async def postprocess(words: list[str], request: Request) -> str:
        return request.headers["x-joint"].join(words)

    steps = model(preprocess=preprocess, predict=lambda words: words[::-1], postprocess=postprocess)
    assert serve(steps).post(PREDICT, json="a b c", headers={"X-Joint": "-"}).json() == "c-b-a"


def test_only_the_request(serve: Serve) -> None:
    async def predict(request: Request) -> str:
        return (await request.body()).decode()

    assert serve(model(predict=predict)).post(PREDICT, content=b"not json").json() == "not json"


def test_stream_that_breaks_ends_as_if_complete(serve: Serve) -> None:
    client = serve(model(predict=broken_stream))
    answer = client.post(PREDICT, json={})
    assert (answer.status_code, answer.text) == (200, "begun")
    gathered = client.post(PREDICT, json={}, headers={"Accept": "application/json"})
    assert (gathered.status_code, gathered.headers["x-baseten-error-code"]) == (500, "500")


@pytest.mark.parametrize(
    ("headers", "whole"),
    [
        ({"Accept": "application/json"}, True),
        ({"Accept": "application/json, text/plain"}, False),
        ({"Accept": "*/*"}, False),
        ({"Accept": "application/json", "User-Agent": "OpenAI/Python 2.0"}, False),
    ],
)
def test_when_a_stream_is_gathered(serve: Serve, headers: dict[str, str], whole: bool) -> None:
    answer = serve(model(predict=lambda _: iter_text("gr\u00fcn"))).post(PREDICT, json={}, headers=headers)
    assert answer.headers["content-type"] == ("application/json" if whole else "application/octet-stream")
    assert (answer.json() if whole else answer.text) == "gr\u00fcn"


def iter_text(text: str) -> Iterator[bytes]:
    yield from (bytes([byte]) for byte in text.encode())


def test_gap_in_a_stream(serve: Serve) -> None:
    async def predict(_: Any) -> Any:
        yield "begun"
        await asyncio.sleep(20)

    client = serve(model(predict=predict), streaming_read_timeout=0.1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(PREDICT, json={})


def test_slow_reader_does_not_hold_the_place(serve: Serve) -> None:
    produced = threading.Event()

    def predict(number: int) -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * 1_000_000
        produced.set()

    client = serve(model(predict=predict), predict_concurrency=1)
    with client.stream("POST", PREDICT, json=1) as first:  # Not read, although it fills every buffer on the way.
        assert produced.wait(10)
        assert len(client.post(PREDICT, json=2).content) == 8_000_000
        assert len(first.read()) == 8_000_000


def test_streaming_response_holds_the_place_until_it_is_sent(serve: Serve) -> None:
    proceed = threading.Event()
    running = 0

    def predict(_: Any) -> StreamingResponse:
        nonlocal running
        running += 1

        def pieces() -> Iterator[str]:
            yield str(running)
            assert proceed.wait(10)

        return StreamingResponse(pieces())

    client = serve(model(predict=predict), predict_concurrency=1)
    with client.stream("POST", PREDICT, json={}) as first:
        assert next(first.iter_text()) == "1"
        with pytest.raises(httpx.ReadTimeout):
            client.post(PREDICT, json={}, timeout=httpx.Timeout(10, read=0.2))
        assert running == 1
        proceed.set()
    assert client.post(PREDICT, json={}).text == "2"


def test_model_notices_that_its_client_left(serve: Serve) -> None:
    noticed = threading.Event()

    def predict(_: Any, request: Request) -> Iterator[str]:
        with request.state.watch_disconnect() as disconnected:
            yield "begun"
            if disconnected.wait(10):
                noticed.set()

    client = serve(model(predict=predict))
    with client.stream("POST", PREDICT, json={}) as answer:
        assert next(answer.iter_text()) == "begun"
    assert noticed.wait(10)


class TestBinary:
    def test_both_ways(self, serve: Serve) -> None:
        sent = {
            "array": np.arange(6, dtype="float32").reshape(2, 3),
            "time": datetime(2026, 1, 2, tzinfo=UTC),
            "price": Decimal("1.50"),
        }
        answer = serve(model(predict=lambda x: x)).post(PREDICT, content=to_msgpack(sent), headers=MSGPACK)
        got = from_msgpack(answer.content)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert np.array_equal(got.pop("array"), sent.pop("array"))
        assert got == sent

    def test_numpy_to_json(self, serve: Serve) -> None:
        output = {"a": np.eye(2), "i": np.int64(3), "f": np.float32(0.5)}
        assert serve(model(predict=lambda x: output)).post(PREDICT, json={}).json() == {
            "a": [[1, 0], [0, 1]],
            "i": 3,
            "f": 0.5,
        }

    def test_typed_and_raw(self, serve: Serve) -> None:
        client = serve(model(predict=typed))
        answer = client.post(PREDICT, content=msgpack.packb({"x": 1, "y": 2}), headers=MSGPACK)
        assert msgpack.unpackb(answer.content) == 3
        raw = serve(model(predict=lambda x: b"raw")).post(PREDICT, content=msgpack.packb(1), headers=MSGPACK)
        assert raw.content == b"raw"

    @pytest.mark.parametrize(
        "body", [b"", b"\xc1", b"\x01\x02", to_msgpack({b"nd": True, b"kind": b"O", b"data": b""})]
    )
    def test_what_is_not_accepted(self, serve: Serve, body: bytes) -> None:
        answer = serve(model(predict=lambda x: x)).post(PREDICT, content=body, headers=MSGPACK)
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (400, "700")
        assert isinstance(answer.json()["error"], str)


class TestRoutes:
    @pytest.mark.parametrize("name", ["chat_completions", "completions", "embeddings", "messages", "responses"])
    def test_openai_methods(self, serve: Serve, name: str) -> None:
        route = f"/v1/{name.replace('_', '/')}"
        have = serve(model(predict=lambda x: x, **{name: lambda x: [name, x]}))
        assert have.post(route, json=1).json() == [name, 1]
        answer = serve(model(predict=lambda x: x)).post(route, json=1)
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (404, "700")
        assert answer.json() == {"error": f"`{name}` must only be called if model has it."}

    @pytest.mark.parametrize(
        ("method", "path", "status", "body"),
        [
            ("GET", "/", 200, True),
            ("GET", "/v1/models/model", 200, {}),
            ("GET", "/v1/models/any/loaded", 200, {}),
            ("GET", "/v1/models/model:predict", 200, {}),
            ("GET", "/ping", 200, {}),
            ("POST", "/invocations", 200, 1),
            ("POST", "/v1/models/any:predict_binary", 200, 1),
            ("GET", "/v1/models/model/schema", 404, {"error": "No schema found"}),
            ("GET", "/predict", 404, {"detail": "Not Found"}),
            ("GET", "/v1/models", 404, {"detail": "Not Found"}),
            ("GET", "/v1/chat/completions", 405, {"detail": "Method Not Allowed"}),
            ("POST", "/v1/models/model", 405, {"detail": "Method Not Allowed"}),
        ],
    )
    def test_paths(self, serve: Serve, method: str, path: str, status: int, body: Any) -> None:
        answer = serve(model(predict=lambda x: x)).request(method, path, json=1)
        assert (answer.status_code, answer.json()) == (status, body)

    def test_schema(self, serve: Serve) -> None:
        schema = serve(model(predict=typed)).get("/v1/models/model/schema").json()
        assert schema["input_schema"]["required"] == ["x"]
        assert (schema["output_schema"], schema["supports_streaming"]) == (None, None)

    @pytest.mark.parametrize("healthy", [True, False, None])
    def test_health(self, serve: Serve, healthy: bool | None) -> None:
        def is_healthy() -> bool:
            if healthy is None:
                raise RuntimeError
            return healthy

        client = serve(model(predict=lambda x: x, is_healthy=is_healthy))
        assert client.get("/v1/models/model").status_code == (200 if healthy else 503)
        assert client.post(PREDICT, json=1).status_code == 200

    def test_before_it_is_loaded(self) -> None:
        app = Container(lambda: None)

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://m") as client:
                return await client.post(PREDICT, json=1)

        answer = asyncio.run(ask())
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (503, "600")
        assert answer.json() == {"error": "Model with name model is not ready."}


def only_request(request: Request) -> None: ...


@pytest.mark.parametrize(
    "methods",
    [
        {"postprocess": lambda x: x},
        {"predict": lambda request, x, y: x},
        {"predict": only_request, "preprocess": lambda x: x},
        {"predict": lambda x: x, "postprocess": only_request},
        {"predict": lambda x: x, "is_healthy": lambda x: x},
    ],
    ids=["no predict", "three arguments", "input is lost", "output is lost", "health of what"],
)
def test_methods_that_can_not_be_served(methods: dict[str, Any]) -> None:
    with pytest.raises(ModelDefinitionError):
        ModelMethods.of(model(**methods))
