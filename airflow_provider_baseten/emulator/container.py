"""HTTP server of a model's container.

Truss, Baseten's model format, includes a server that runs in a container. The routes and responses here are the same as
in that server.
"""

import asyncio
import inspect
import logging
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_baseten.emulator.container_errors import (
    CLIENT_ERROR,
    MODEL_ERROR,
    MODEL_ERROR_MESSAGE,
    ContainerError,
    chain_error,
    error_response,
    is_http_exception,
    method_not_allowed,
    not_ready,
    with_error_headers,
)
from airflow_provider_baseten.emulator.disconnects import make_watch_disconnect
from airflow_provider_baseten.emulator.methods import Method, ModelMethods
from airflow_provider_baseten.emulator.serialization import InputParsingError, parse_input, to_json, to_msgpack
from airflow_provider_baseten.emulator.thread_pool import DaemonThreadPool

logger = logging.getLogger(__name__)

_OPENAI_ROUTES = {
    "/v1/chat/completions": "chat_completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
}
_PREDICT_PATH = re.compile(r"/v1/models/[^/]+:predict(_binary)?|/invocations")
_READY_PATH = re.compile(r"/v1/models/[^/]+|/ping")
_LOADED_PATH = re.compile(r"/v1/models/[^/]+/loaded")
_SCHEMA_PATH = re.compile(r"/v1/models/[^/]+/schema")
_END_OF_STREAM = object()

Stream = Generator[Any, None, None] | AsyncGenerator[Any, None]


class Container:
    """ASGI app that loads one model object at startup and serves it.

    :param load: function that constructs and loads the model. It is called at each startup, in a thread.
    :param predict_concurrency: maximum number of concurrent predictions, ``None`` for no limit.
    :param streaming_read_timeout: maximum seconds between two chunks of a stream.
    :param is_chain: whether the app serves a chain. Error responses of a chain contain the exception and its traceback.
    :param request_context: function that is called for each request and returns a context manager. The request is
        handled inside this context manager.
    """

    #: Text that is added to Truss's error message when the model raises an exception. The command line of the emulator
    #: sets this text to say where the traceback is.
    failure_note: ClassVar[str] = ""

    def __init__(
        self,
        load: Callable[[], object],
        *,
        predict_concurrency: int | None = None,
        streaming_read_timeout: float = 60.0,
        is_chain: bool = False,
        request_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._load = load
        self._methods: ModelMethods | None = None
        self._predict_concurrency = predict_concurrency or sys.maxsize
        self._slots = asyncio.Semaphore(self._predict_concurrency)
        self._streaming_read_timeout = streaming_read_timeout
        self._threads = DaemonThreadPool()
        self._is_chain = is_chain
        self._request_context = request_context
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        with self._request_context():
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        request.state.watch_disconnect = make_watch_disconnect(request)
        try:
            response = await self._route(request)
        except Exception as exc:
            response = error_response(exc)
        await response(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # Make new threads and slots, because predictions from before a restart may still occupy the old ones.
        self._threads = DaemonThreadPool()
        self._slots = asyncio.Semaphore(self._predict_concurrency)
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
        if _PREDICT_PATH.fullmatch(path) and method == "POST":
            return await self._predict(request)
        if path in _OPENAI_ROUTES:
            name = _OPENAI_ROUTES[path]
            return await self._call_openai_method(request, name) if method == "POST" else method_not_allowed("POST")
        if path == "/":
            return JSONResponse(True) if method == "GET" else method_not_allowed("GET")
        if path == "/invocations":
            return method_not_allowed("POST")
        if _READY_PATH.fullmatch(path) or _LOADED_PATH.fullmatch(path):
            return await self._check_ready(path) if method == "GET" else method_not_allowed("GET")
        if _SCHEMA_PATH.fullmatch(path):
            return self._schema() if method == "GET" else method_not_allowed("GET")
        return JSONResponse({"detail": "Not Found"}, 404)

    async def _check_ready(self, path: str) -> ASGIApp:
        check = self._loaded_methods().is_healthy
        if check is not None and path.startswith("/v1/models/") and _READY_PATH.fullmatch(path):
            try:
                is_healthy = await check.function() if check.is_async else await self._threads.run(check.function)
            except Exception:
                logger.exception("is_healthy raised")
                is_healthy = False
            if not is_healthy:
                raise not_ready()
        return JSONResponse({})

    def _schema(self) -> ASGIApp:
        schema = self._loaded_methods().schema()
        if schema is None:
            raise ContainerError(404, "No schema found", MODEL_ERROR)
        return JSONResponse(schema)

    async def _predict(self, request: Request) -> ASGIApp:
        methods = self._loaded_methods()
        model_input = await self._read_input(request, methods)
        if methods.preprocess is not None:
            model_input = await self._call(methods.preprocess, model_input, request)
        with ExitStack() as slot:
            await self._slots.acquire()
            slot.callback(self._slots.release)
            output = await self._complete(self._call(methods.predict, model_input, request), slot)
            if methods.postprocess is not None and (_is_stream(output) or isinstance(output, Response)):
                logger.error("A model with `postprocess` can't return a generator or a response from `predict`")
                raise ContainerError(500, MODEL_ERROR_MESSAGE, MODEL_ERROR)
            if _is_stream(output):
                return await self._respond_stream(output, request, slot.pop_all().close)
            if isinstance(output, StreamingResponse):
                return _with_callback(with_error_headers(output), slot.pop_all().close)
        if methods.postprocess is not None:
            output = await self._call(methods.postprocess, output, request)
        return _serialize(output, request)

    async def _complete(self, prediction: Coroutine[Any, Any, Any], slot: ExitStack) -> Any:
        """Await a prediction. If the client disconnects, the prediction still runs to its end, as in Truss.

        The prediction keeps its slot until then. ``predict_concurrency`` is the number of slots.
        """
        task = asyncio.create_task(prediction)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            release = slot.pop_all().close
            task.add_done_callback(lambda _: release())
            raise

    async def _call_openai_method(self, request: Request, name: str) -> ASGIApp:
        methods = self._loaded_methods()
        model_input = await self._read_input(request, methods)
        method = methods.openai.get(name)
        if method is None:
            raise ContainerError(404, f"`{name}` must only be called if model has it.", CLIENT_ERROR)
        output = await self._call(method, model_input, request)
        return await self._respond_stream(output, request) if _is_stream(output) else _serialize(output, request)

    def _loaded_methods(self) -> ModelMethods:
        if self._methods is None:
            raise not_ready()
        return self._methods

    async def _read_input(self, request: Request, methods: ModelMethods) -> Any:
        body = await request.body()
        if methods.reads_body_itself:
            return None
        try:
            return parse_input(body, is_msgpack=_is_msgpack(request), input_type=methods.input_type)
        except InputParsingError as error:
            raise ContainerError(400, str(error), CLIENT_ERROR) from error

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
                raise chain_error(exc) from exc
            if is_http_exception(exc):
                # The result is not used. Truss's server evaluates this expression, and raises TypeError if the detail
                # is, for example, a number. So the emulator does the same.
                "user_stack_trace" in exc.detail  # type: ignore[attr-defined]  # noqa: B015
                raise
            raise ContainerError(500, f"{MODEL_ERROR_MESSAGE} {self.failure_note}".rstrip(), MODEL_ERROR) from exc

    async def _respond_stream(
        self, stream: Stream, request: Request, on_end: Callable[[], None] = lambda: None
    ) -> ASGIApp:
        chunks = self._iterate(stream)
        if _accepts_only_json(request):
            try:
                text = b"".join([_to_bytes(chunk) async for chunk in chunks]).decode()
            finally:
                on_end()
            return _serialize(text, request)
        # The queue is unbounded, so that the model can finish and free its slot even if the client reads slowly.
        queue: asyncio.Queue[Any] = asyncio.Queue()
        producer = asyncio.create_task(_fill(queue, chunks))
        self._running.add(producer)
        producer.add_done_callback(self._running.discard)
        producer.add_done_callback(lambda _: on_end())
        return StreamingResponse(self._drain(queue), media_type="application/octet-stream")

    async def _drain(self, queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
        while True:
            async with asyncio.timeout(self._streaming_read_timeout):
                chunk = await queue.get()
            if chunk is _END_OF_STREAM:
                return
            yield chunk

    async def _iterate(self, stream: Stream) -> AsyncIterator[Any]:
        if isinstance(stream, AsyncGenerator):
            async for chunk in stream:
                yield chunk
            return
        while (chunk := await self._threads.run(next, stream, _END_OF_STREAM)) is not _END_OF_STREAM:
            yield chunk


async def _fill(queue: asyncio.Queue[Any], chunks: AsyncIterator[Any]) -> None:
    try:
        async for chunk in chunks:
            queue.put_nowait(chunk)
    except Exception:
        # The status was sent before, so it can't report this error. As in Truss's server, the stream ends as if it were
        # complete.
        logger.exception("The generator raised while streaming")
    finally:
        queue.put_nowait(_END_OF_STREAM)


def _with_callback(response: Response, on_end: Callable[[], None]) -> ASGIApp:
    async def send_response(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await response(scope, receive, send)
        finally:
            on_end()

    return send_response


def _serialize(output: Any, request: Request) -> Response:
    if isinstance(output, Response):
        return with_error_headers(output)
    if _is_msgpack(request):
        return Response(to_msgpack(output), media_type="application/octet-stream")
    return Response(to_json(output), media_type="application/json")


def _is_stream(output: Any) -> bool:
    return inspect.isgenerator(output) or inspect.isasyncgen(output)


def _is_msgpack(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == "application/octet-stream"


def _accepts_only_json(request: Request) -> bool:
    # `Accept: application/json` asks for a response that is not streamed. OpenAI's client sends this header for
    # streams too, so the header is ignored if the request comes from OpenAI's client.
    is_openai = "openai" in request.headers.get("user-agent", "").lower()
    return request.headers.get("accept") == "application/json" and not is_openai


def _to_bytes(chunk: Any) -> bytes:
    return bytes(chunk) if isinstance(chunk, bytes | bytearray) else str(chunk).encode()
