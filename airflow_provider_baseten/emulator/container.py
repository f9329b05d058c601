"""The HTTP side of a model's container: answers as Truss's own server does."""

import asyncio
import inspect
import logging
import re
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_baseten.emulator.disconnects import watcher
from airflow_provider_baseten.emulator.methods import Method, ModelMethods
from airflow_provider_baseten.emulator.serialization import InputParsingError, parse_input, to_json, to_msgpack
from airflow_provider_baseten.emulator.thread_pool import DaemonThreadPool

logger = logging.getLogger(__name__)

_UNEXPECTED = "500"
_MODEL = "600"
_CLIENT = "700"
_MODEL_ERROR = "Internal Server Error (in model/chainlet)."

_OPENAI_ROUTES = {
    "/v1/chat/completions": "chat_completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
}
_PREDICT = re.compile(r"/v1/models/[^/]+:predict(_binary)?|/invocations")
_READY = re.compile(r"/v1/models/[^/]+|/ping")
_LOADED = re.compile(r"/v1/models/[^/]+/loaded")
_SCHEMA = re.compile(r"/v1/models/[^/]+/schema")
_END = object()
_OWN_FOLDER = str(Path(__file__).parent)

Stream = Generator[Any, None, None] | AsyncGenerator[Any, None]


class _Refusal(Exception):  # noqa: N818 - an answer rather than a failure.
    """The container answers with an error."""

    def __init__(self, status: int, error: Any, code: str) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.code = code


class Container:
    """ASGI app that serves one model object; it loads it when it gets the ASGI lifespan event.

    :param load: makes the model and loads it; runs once, in a thread.
    :param predict_concurrency: how many predictions run at once, ``None`` for any number.
    :param streaming_read_timeout: most seconds between two chunks of a stream.
    :param is_chain: whether an exception is described in the answer, as chains do.
    :param surroundings: makes the block in which requests are answered.
    """

    #: What the answer says beside Truss's own words after the model's code has raised. Set by the emulator's command,
    #: whose output has the traceback.
    failure_note: ClassVar[str] = ""

    def __init__(
        self,
        load: Callable[[], object],
        *,
        predict_concurrency: int | None = None,
        streaming_read_timeout: float = 60.0,
        is_chain: bool = False,
        surroundings: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._load = load
        self._methods: ModelMethods | None = None
        self._predict_concurrency = predict_concurrency or sys.maxsize
        self._permits = asyncio.Semaphore(self._predict_concurrency)
        self._streaming_read_timeout = streaming_read_timeout
        self._threads = DaemonThreadPool()
        self._is_chain = is_chain
        self._surroundings = surroundings
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        with self._surroundings():
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        request.state.watch_disconnect = watcher(request)
        try:
            response = await self._route(request)
        except Exception as exc:
            response = _error(exc)
        await response(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # A server that starts again waits for nothing that was left behind when it stopped.
        self._threads = DaemonThreadPool()
        self._permits = asyncio.Semaphore(self._predict_concurrency)
        try:
            model = await self._threads.run(self._load)
            self._methods = ModelMethods.of(model)
        except Exception as exc:
            logger.exception("The model could not be loaded")
            self._threads.stop()
            await send({"type": "lifespan.startup.failed", "message": f"{type(exc).__name__}: {exc}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self._running:
            task.cancel()
        self._threads.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _route(self, request: Request) -> ASGIApp:
        path, method = request.scope["path"], request.method
        if _PREDICT.fullmatch(path) and method == "POST":
            return await self._predict(request)
        if path in _OPENAI_ROUTES:
            return await self._openai(request, _OPENAI_ROUTES[path]) if method == "POST" else _wrong_method("POST")
        if path == "/":
            return JSONResponse(True) if method == "GET" else _wrong_method("GET")
        if path == "/invocations":
            return _wrong_method("POST")
        if _READY.fullmatch(path) or _LOADED.fullmatch(path):
            return await self._ready(path) if method == "GET" else _wrong_method("GET")
        if _SCHEMA.fullmatch(path):
            return self._schema() if method == "GET" else _wrong_method("GET")
        return JSONResponse({"detail": "Not Found"}, 404)

    async def _ready(self, path: str) -> ASGIApp:
        check = self._loaded().is_healthy
        if check is not None and path.startswith("/v1/models/") and _READY.fullmatch(path):
            try:
                healthy = await check.function() if check.is_async else await self._threads.run(check.function)
            except Exception:
                logger.exception("is_healthy raised")
                healthy = False
            if not healthy:
                raise _not_ready()
        return JSONResponse({})

    def _schema(self) -> ASGIApp:
        schema = self._loaded().schema()
        if schema is None:
            raise _Refusal(404, "No schema found", _MODEL)
        return JSONResponse(schema)

    async def _predict(self, request: Request) -> ASGIApp:
        methods = self._loaded()
        model_input = await self._input(request, methods)
        if methods.preprocess is not None:
            model_input = await self._call(methods.preprocess, model_input, request)
        with ExitStack() as permit:
            await self._permits.acquire()
            permit.callback(self._permits.release)
            output = await self._finish(self._call(methods.predict, model_input, request), permit)
            if methods.postprocess is not None and (_is_stream(output) or isinstance(output, Response)):
                logger.error("A model with `postprocess` can't return a generator or a response from `predict`")
                raise _Refusal(500, _MODEL_ERROR, _MODEL)
            if _is_stream(output):
                return await self._stream(output, request, permit.pop_all().close)
            if isinstance(output, StreamingResponse):
                return _then(_mark(output), permit.pop_all().close)
        if methods.postprocess is not None:
            output = await self._call(methods.postprocess, output, request)
        return _serialize(output, request)

    async def _finish(self, prediction: Coroutine[Any, Any, Any], permit: ExitStack) -> Any:
        """Await a prediction; when nobody waits for it any more it still runs to its end and keeps its place."""
        task = asyncio.create_task(prediction)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            give_back = permit.pop_all().close
            task.add_done_callback(lambda _: give_back())
            raise

    async def _openai(self, request: Request, name: str) -> ASGIApp:
        methods = self._loaded()
        model_input = await self._input(request, methods)
        method = methods.openai.get(name)
        if method is None:
            raise _Refusal(404, f"`{name}` must only be called if model has it.", _CLIENT)
        output = await self._call(method, model_input, request)
        return await self._stream(output, request) if _is_stream(output) else _serialize(output, request)

    def _loaded(self) -> ModelMethods:
        if self._methods is None:
            raise _not_ready()
        return self._methods

    async def _input(self, request: Request, methods: ModelMethods) -> Any:
        body = await request.body()
        if methods.reads_body_itself:
            return None
        try:
            return parse_input(body, binary=_is_binary(request), input_type=methods.input_type)
        except InputParsingError as error:
            raise _Refusal(400, str(error), _CLIENT) from error

    async def _call(self, method: Method, model_input: Any, request: Request) -> Any:
        arguments = method.arguments(model_input, request)
        try:
            if method.is_generator:
                return method.function(*arguments)
            if method.is_async:
                return await method.function(*arguments)
            return await self._threads.run(method.function, *arguments)
        except Exception as exc:
            logger.exception("%s raised", method.name)
            if self._is_chain:
                status = exc.status_code if _is_http_exception(exc) else 500  # type: ignore[attr-defined]
                raise _Refusal(status, _chain_error(exc), _MODEL) from exc
            if _is_http_exception(exc):
                "user_stack_trace" in exc.detail  # type: ignore[attr-defined]  # noqa: B015 - Truss looks, and may fail.
                raise
            raise _Refusal(500, f"{_MODEL_ERROR} {self.failure_note}".rstrip(), _MODEL) from exc

    async def _stream(self, stream: Stream, request: Request, when_done: Callable[[], None] = lambda: None) -> ASGIApp:
        chunks = self._chunks(stream)
        if _wants_whole(request):
            try:
                whole = b"".join([_as_bytes(chunk) async for chunk in chunks]).decode()
            finally:
                when_done()
            return _serialize(whole, request)
        # Read as fast as the model yields: a slow client does not hold the model's place.
        queue: asyncio.Queue[Any] = asyncio.Queue()
        producer = asyncio.create_task(_produce(chunks, queue))
        self._running.add(producer)
        producer.add_done_callback(self._running.discard)
        producer.add_done_callback(lambda _: when_done())
        return StreamingResponse(self._consume(queue), media_type="application/octet-stream")

    async def _consume(self, queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
        while True:
            async with asyncio.timeout(self._streaming_read_timeout):
                chunk = await queue.get()
            if chunk is _END:
                return
            yield chunk

    async def _chunks(self, stream: Stream) -> AsyncIterator[Any]:
        if isinstance(stream, AsyncGenerator):
            async for chunk in stream:
                yield chunk
            return
        while (chunk := await self._threads.run(next, stream, _END)) is not _END:
            yield chunk


async def _produce(chunks: AsyncIterator[Any], queue: asyncio.Queue[Any]) -> None:
    try:
        async for chunk in chunks:
            queue.put_nowait(chunk)
    except Exception:
        # The status is long sent, so the stream ends here as if it were complete: Truss does the same.
        logger.exception("The generator raised while streaming")
    finally:
        queue.put_nowait(_END)


def _then(response: Response, when_done: Callable[[], None]) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await response(scope, receive, send)
        finally:
            when_done()

    return serve


def _serialize(output: Any, request: Request) -> Response:
    if isinstance(output, Response):
        return _mark(output)
    if _is_binary(request):
        return Response(to_msgpack(output), media_type="application/octet-stream")
    return Response(to_json(output), media_type="application/json")


def _mark(response: Response) -> Response:
    if response.status_code >= 300:
        response.headers.update(_error_headers(_CLIENT))
    return response


def _is_stream(output: Any) -> bool:
    return inspect.isgenerator(output) or inspect.isasyncgen(output)


def _is_binary(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == "application/octet-stream"


def _wants_whole(request: Request) -> bool:
    # OpenAI's client accepts JSON even when it asks for a stream.
    is_openai = "openai" in request.headers.get("user-agent", "").lower()
    return request.headers.get("accept") == "application/json" and not is_openai


def _as_bytes(chunk: Any) -> bytes:
    return bytes(chunk) if isinstance(chunk, bytes | bytearray) else str(chunk).encode()


def _is_http_exception(exc: Exception) -> bool:
    # FastAPI comes with Truss's server; a model that does not import it can't raise its exception.
    fastapi = sys.modules.get("fastapi")
    return fastapi is not None and isinstance(exc, fastapi.HTTPException)


def _chain_error(exc: Exception) -> dict[str, Any]:
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OWN_FOLDER)]
    return {
        "exception_cls_name": type(exc).__name__,
        "exception_module_name": getattr(exc, "__module__", None),  # An instance of a built-in class has none.
        "exception_message": str(exc),
        "user_stack_trace": [
            {"filename": frame.filename, "lineno": frame.lineno, "name": frame.name, "line": frame.line}
            for frame in own
        ],
    }


def _not_ready() -> _Refusal:
    return _Refusal(503, "Model with name model is not ready.", _MODEL)


def _wrong_method(allowed: str) -> Response:
    return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": allowed})


def _error(exc: Exception) -> Response:
    if isinstance(exc, _Refusal):
        status, error, code = exc.status, exc.error, exc.code
    elif _is_http_exception(exc):
        status, error, code = exc.status_code, exc.detail, _MODEL  # type: ignore[attr-defined]
    else:
        status, error, code = 500, f"Unhandled exception: {type(exc).__name__}: {exc}", _UNEXPECTED
    try:
        return JSONResponse({"error": error}, status, _error_headers(code))
    except (TypeError, ValueError) as has_no_form:  # What a model gives for the detail of its error may be anything.
        return _error(has_no_form)


def _error_headers(code: str) -> dict[str, str]:
    return {"X-BASETEN-ERROR-SOURCE": "04", "X-BASETEN-ERROR-CODE": code}
