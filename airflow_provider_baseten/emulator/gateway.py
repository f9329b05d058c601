"""Gateway: the ASGI app that receives the requests for all models and chains."""

import asyncio
import logging
from urllib.parse import unquote
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from airflow_provider_baseten.emulator import model_apis
from airflow_provider_baseten.emulator.addressing import Address, parse_address
from airflow_provider_baseten.emulator.async_inference import SUBMIT_ACTIONS, AsyncInference
from airflow_provider_baseten.emulator.auth import ApiKeys, parse_scheme
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.errors import GatewayError, not_found
from airflow_provider_baseten.emulator.exchange import REQUEST_ID_HEADER, Exchange, record_address
from airflow_provider_baseten.emulator.faults import Fault, Faults
from airflow_provider_baseten.emulator.management.api import ManagementApi
from airflow_provider_baseten.emulator.management.workspace import Caller, Workspace
from airflow_provider_baseten.emulator.records import RecordedRequest, RequestRecords
from airflow_provider_baseten.emulator.token_usage import TokenUsage, read_usage
from airflow_provider_baseten.emulator.webhooks import Webhooks

logger = logging.getLogger(__name__)

_PREDICT_ACTIONS = {"model": "predict", "chain": "run_remote"}
_REQUEST_ID_HEADER = REQUEST_ID_HEADER.lower().encode()


class Gateway:
    """ASGI app that authenticates a request, injects faults, and forwards the request to its deployment.

    :param workspace: models, chains and everything else that the management API shows.
    :param keys: accepted API keys.
    :param connections: open connections of the server.
    :param records: records of received requests.
    """

    def __init__(
        self,
        *,
        workspace: Workspace,
        keys: ApiKeys,
        connections: ClientConnections,
        records: RequestRecords,
    ) -> None:
        limits, clock = workspace.limits, workspace.clock
        self.faults = Faults()
        self.records = records
        self.async_inference = AsyncInference(limits, clock, Webhooks(limits, clock, self.faults))
        self._workspace = workspace
        self._management_api = ManagementApi(workspace)
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        scope = _with_relative_path(scope)
        exchange = Exchange(
            scope,
            receive,
            send,
            record=self._record(scope),
            body_limit=self._limits.body_bytes,
            connections=self._connections,
        )
        try:
            await self._handle(exchange)
        except GatewayError as error:
            await exchange.respond_error(error)
        except asyncio.CancelledError:
            if not exchange.is_abandoned:  # The client is still there, but the server is stopping.
                await exchange.disconnect(reset=True)
        except Exception:
            logger.exception("The model's server failed")
            await exchange.respond_error(GatewayError(502, "Error making prediction", "model_unavailable"))
        finally:
            exchange.close()

    def _record(self, scope: Scope) -> RecordedRequest:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = RecordedRequest(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            received_at=self._clock.now(),
            request_id=uuid4().hex,
        )
        self.records.add(record)
        return record

    async def _handle(self, exchange: Exchange) -> None:
        record, address_error, address = exchange.record, None, None
        try:
            address = parse_address(record.headers.get("host", ""), record.path)
            record_address(record, address)
        except GatewayError as error:
            address_error = error
        authorization = record.headers.get("authorization")
        if authorization is not None:
            record.headers["authorization"] = parse_scheme(authorization)
        exchange.authorization = authorization
        if address is None or address.kind != "files":  # A presigned URL needs no key.
            self._keys.authorize(authorization, management=address is not None and address.kind == "management")
        if address is None:
            raise address_error or not_found("No such path.")
        exchange.outlives_client = address.kind == "management"
        exchange.check_content_length()
        fault = self.faults.take(address, exchange.method)
        if fault is not None and await self._inject(fault, exchange, address):
            return
        await self._dispatch(exchange, address)

    async def _inject(self, fault: Fault, exchange: Exchange, address: Address) -> bool:
        """Inject a fault, and return whether the fault replaced the response."""
        # Read the body before the fault happens. As long as a client still sends its body, it does not read a response,
        # and a disconnect of the client is not detected.
        request_body = await exchange.body()
        if fault.delay:
            await self._clock.sleep(fault.delay)
        if fault.interim_status is not None:
            self._connections.send_interim(exchange.scope, fault.interim_status)
        exchange.truncate_after = fault.truncate_after
        exchange.after_webhook = fault.after_webhook
        if not fault.replaces_response:
            return False
        if fault.after_model:
            exchange.discard_response = True
            await self._dispatch(exchange, address)
            exchange.discard_response = False
        if fault.status is None:
            await exchange.disconnect(reset=True)
        else:
            body, content_type = fault.response_body(request_body)
            await exchange.respond(fault.status, body, content_type, dict(fault.headers))
        return True

    async def _dispatch(self, exchange: Exchange, address: Address) -> None:
        if address.kind == "management":
            await self._call_management(exchange, address.action)
        elif address.kind == "files":
            _require_method(exchange, "GET")
            await exchange.respond(200, self._read_file(address.route), "application/octet-stream", {})
        elif address.kind == "model_apis":
            await self._call_model_api(exchange, address.route)
        else:
            endpoint = (self._workspace.models if address.kind == "model" else self._workspace.chains).get(address.id)
            if endpoint is None:
                raise not_found(f"{address.kind.capitalize()} {address.id} does not exist.")
            await self._call_endpoint(exchange, address, endpoint)

    async def _call_endpoint(self, exchange: Exchange, address: Address, endpoint: Endpoint) -> None:
        if address.action == "async_request":
            await self._handle_async_request(exchange, endpoint, unquote(address.route.removeprefix("/")))
            return
        deployment = endpoint.find(address)
        if address.action == "sync":
            await self._forward(exchange, deployment, address.route or "/", read_whole_body=False)
        elif address.action == _PREDICT_ACTIONS[endpoint.kind]:
            _require_method(exchange, "POST")
            await self._forward(exchange, deployment, deployment.predict_path, read_whole_body=True)
        elif address.action == "wake":
            _require_method(exchange, "POST")
            deployment.check_callable()
            deployment.replicas.wake()
            await exchange.respond(202, b"", None, {})
        elif address.action == SUBMIT_ACTIONS[endpoint.kind]:
            _require_method(exchange, "POST")
            await self._submit(exchange, endpoint, deployment)
        elif address.action == "async_queue_status":
            _require_method(exchange, "GET")
            await exchange.respond_json(200, self.async_inference.queue_status(endpoint, deployment))
        else:
            raise GatewayError(404, f"A {endpoint.kind} has no action {address.action[:200]}.", "client_error")

    async def _call_management(self, exchange: Exchange, path: str) -> None:
        record = exchange.record
        # A browser adds this header when a page of another site sends a request. No such page may run a training job.
        if exchange.method != "GET" and "origin" in record.headers:
            raise GatewayError(403, "The management API accepts no changes from web pages.")
        content = self._management_api.respond(
            exchange.method,
            path,
            record.query,
            await exchange.body(),
            authorization=exchange.authorization,
            base_url=f"http://{record.headers.get('host', '')}",
        )
        await exchange.respond_json(200, content)

    def _read_file(self, route: str) -> bytes:
        token, _, rest = unquote(route).removeprefix("/").partition("/")
        rank, _, name = rest.partition("/")
        path = self._workspace.training.find_file(token, int(rank), name) if rank.isdecimal() else None
        if path is None:
            raise GatewayError(404, "There is no such file.")
        return path.read_bytes()

    async def _call_model_api(self, exchange: Exchange, route: str) -> None:
        if route == model_apis.LIST_ROUTE:
            _require_method(exchange, "GET")
            await exchange.respond_json(200, model_apis.make_model_list(self._workspace.model_apis))
            return
        _require_method(exchange, "POST")
        deployment = model_apis.select_model(self._workspace.model_apis, await exchange.body())
        exchange.kept_response = bytearray()
        await self._forward(exchange, deployment, route, read_whole_body=True)
        usage = read_usage(bytes(exchange.kept_response))
        key_prefix = Caller.of(exchange.authorization).key_prefix
        self._workspace.token_usage.append(TokenUsage(self._clock.now(), deployment.owner, key_prefix, **usage))

    async def _submit(self, exchange: Exchange, endpoint: Endpoint, deployment: Deployment) -> None:
        deployment.check_callable()
        body = await exchange.body()
        request = self.async_inference.submit(endpoint, deployment, exchange.record.request_id, body)
        if exchange.after_webhook:
            await request.settled.wait()
        await exchange.respond_json(201, {"request_id": request.request_id})

    async def _handle_async_request(self, exchange: Exchange, endpoint: Endpoint, request_id: str) -> None:
        _require_method(exchange, "GET", "DELETE")
        handler = self.async_inference.status if exchange.method == "GET" else self.async_inference.cancel
        await exchange.respond_json(200, handler(endpoint, request_id))

    async def _forward(self, exchange: Exchange, deployment: Deployment, path: str, *, read_whole_body: bool) -> None:
        deployment.check_callable()
        await exchange.prefetch(whole=read_whole_body)
        scope = _container_scope(exchange, path)
        async with deployment.replicas.slot():
            try:
                async with self._clock.timeout(self._limits.predict_seconds):
                    await deployment.app(scope, exchange.receive, exchange.send)
            except TimeoutError:
                raise GatewayError(504, "The model did not respond in time.", "timeout") from None


def _with_relative_path(scope: Scope) -> Scope:
    """Return the scope, with a path that starts with a slash.

    A client that uses the emulator as a proxy sends ``GET http://host/path``. Then ``/path`` becomes the path, and
    ``host`` replaces the ``Host`` header.
    """
    scheme, separator, rest = scope["raw_path"].partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        return scope
    host, slash, path = rest.partition(b"/")
    headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
    raw_path = slash + path or b"/"
    return {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode()), "headers": [(b"host", host), *headers]}


def _container_scope(exchange: Exchange, path: str) -> Scope:
    # The caller's API key is removed, because Baseten does not pass it to the model either.
    replaced = {b"authorization", _REQUEST_ID_HEADER}
    headers = [pair for pair in exchange.scope["headers"] if pair[0] not in replaced]
    headers.append((_REQUEST_ID_HEADER, exchange.record.request_id.encode()))
    return {
        **exchange.scope,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "root_path": "",
        "headers": headers,
    }


def _require_method(exchange: Exchange, *methods: str) -> None:
    if exchange.method not in methods:
        allowed = ", ".join(methods)
        message = f"{exchange.method} is not allowed here, use {allowed}."
        raise GatewayError(405, message, "client_error", {"Allow": allowed})
