"""Python functions and ASGI apps as models."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model


class Text(BaseModel):
    text: str


def typed(model_input: Text) -> Text:
    return Text(text=model_input.text.upper())


def stream(model_input: Any) -> Iterator[Any]:
    yield "a"
    yield b"b"


async def async_stream(model_input: Any) -> AsyncIterator[str]:
    for word in model_input:
        await asyncio.sleep(0)
        yield word


async def double(model_input: int) -> int:
    await asyncio.sleep(0)
    return model_input * 2


def with_request(model_input: Any, request: Request) -> Any:
    return request.headers["x-own"]


def fail(model_input: Any) -> Any:
    raise KeyError("missing")


def stop(model_input: Any) -> Any:
    raise StopIteration


def post(models: dict[str, Any], model_input: Any, **options: Any) -> httpx.Response:
    (id_,) = models
    with Emulator(models) as baseten:
        return httpx.post(f"{baseten.url}/model-{id_}/production/predict", json=model_input, **options)


@pytest.mark.parametrize(
    ("model", "model_input", "expected"),
    [
        (lambda model_input: {"got": model_input}, [1], {"got": [1]}),
        (lambda model_input: None, {}, None),
        (lambda model_input: "text", {}, "text"),
        (double, 21, 42),
        (typed, {"text": "a"}, {"text": "A"}),
    ],
)
def test_output(model: Any, model_input: Any, expected: Any) -> None:
    answer = post({"m": model}, model_input)
    assert (answer.status_code, answer.json()) == (200, expected)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("model", "model_input"), [(stream, {}), (async_stream, ["a", "b"])])
def test_stream(model: Any, model_input: Any) -> None:
    answer = post({"m": model}, model_input)
    assert (answer.content, answer.headers["content-type"]) == (b"ab", "application/octet-stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert post({"m": model}, model_input, headers={"Accept": "application/json"}).json() == "ab"


def test_request_argument() -> None:
    assert post({"m": with_request}, {}, headers={"X-Own": "yes"}).json() == "yes"


@pytest.mark.parametrize("model", [fail, stop])
def test_exception(model: Any) -> None:
    answer = post({"m": model}, {})
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal Server Error (in model/chainlet)."})
    assert (answer.headers["x-baseten-error-source"], answer.headers["x-baseten-error-code"]) == ("04", "600")


def test_exception_of_a_chain() -> None:
    with Emulator(chains={"c": fail}) as baseten:
        answer = httpx.post(f"{baseten.url}/chain-c/production/run_remote", json={})
    error = answer.json()["error"]
    assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "600")
    assert (error["exception_cls_name"], error["exception_message"]) == ("KeyError", "'missing'")
    assert [frame["name"] for frame in error["user_stack_trace"]] == ["fail"]


def test_blocking_functions_run_side_by_side() -> None:
    together = threading.Barrier(8, timeout=10)

    def model(model_input: Any) -> int:
        return together.wait()

    with Emulator({"m": model}) as baseten, ThreadPoolExecutor(8) as pool:
        url = f"{baseten.url}/model-m/production/predict"
        answers = list(pool.map(lambda _: httpx.post(url, json={}).json(), range(8)))
    assert sorted(answers) == list(range(8))


def test_a_stream_arrives_piece_by_piece() -> None:
    proceed = threading.Event()

    def model(model_input: Any) -> Iterator[str]:
        yield "first"
        assert proceed.wait(10)
        yield "second"

    with (
        Emulator({"m": model}) as baseten,
        httpx.stream("POST", f"{baseten.url}/model-m/production/predict", json={}) as answer,
    ):
        pieces = answer.iter_text()
        assert next(pieces) == "first"
        proceed.set()
        assert "".join(pieces) == "second"


@pytest.mark.parametrize(
    "function",
    [lambda a, b, c: None, lambda a, b: None],
    ids=["three arguments", "second is no request"],
)
def test_function_with_a_wrong_signature(function: Any) -> None:
    with pytest.raises(EmulatorError, match="Model m could not be started: ModelDefinitionError"):
        Emulator({"m": function}).start()


@pytest.mark.parametrize("backend", [42, None])
def test_what_is_no_backend(backend: Any) -> None:
    with pytest.raises(EmulatorError, match="backend of model m"):
        Emulator({"m": backend})


@pytest.mark.parametrize("id_", ["", "a-b", "a/b", "a\n", "ä"])
def test_ids_are_letters_and_digits(id_: str) -> None:
    with pytest.raises(EmulatorError, match="letters and digits"):
        Emulator({id_: lambda _: None})


class TestCustomServer:
    """An ASGI app takes the place of a custom server's container."""

    def test_startup_state_and_shutdown(self) -> None:
        events = []

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
            events.append("up")
            yield {"weights": "loaded"}
            events.append("down")

        async def predict(request: Request) -> PlainTextResponse:
            return PlainTextResponse(request.state.weights)

        app = Starlette(routes=[Route("/predict", predict, methods=["POST"])], lifespan=lifespan)
        with Emulator({"m": app}) as baseten:
            assert httpx.post(f"{baseten.url}/model-m/production/predict").text == "loaded"
            assert events == ["up"]
        assert events == ["up", "down"]

    def test_predict_path(self) -> None:
        async def complete(request: Request) -> PlainTextResponse:
            return PlainTextResponse(await request.body())

        app = Starlette(routes=[Route("/v1/complete", complete, methods=["POST"])])
        assert post({"m": Model(app, predict_path="/v1/complete")}, "x").text == '"x"'
        assert post({"m": app}, "x").status_code == 404

    def test_bare_asgi_function(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 299, "headers": [(b"x-own", b"1")]})
            await send({"type": "http.response.body", "body": b"hello"})

        answer = post({"m": app}, {})
        assert (answer.status_code, answer.text, answer.headers["x-own"]) == (299, "hello", "1")

    def test_app_that_crashes(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise RuntimeError("crashed")

        answer = post({"m": app}, {})
        assert (answer.status_code, answer.json()["error"]) == (502, "Error making prediction")

    def test_app_that_breaks_off(self) -> None:
        async def pieces() -> AsyncIterator[str]:
            yield "begun"
            raise RuntimeError("crashed")

        async def predict(request: Request) -> StreamingResponse:
            return StreamingResponse(pieces())

        app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
        with pytest.raises(httpx.RemoteProtocolError):
            post({"m": app}, {})

    def test_startup_that_fails(self) -> None:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            raise RuntimeError("no weights")
            yield

        with pytest.raises(EmulatorError, match="Model m could not be started"):
            Emulator({"m": Starlette(lifespan=lifespan)}).start()
