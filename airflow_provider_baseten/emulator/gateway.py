"""The gateway: one ASGI app in front of all models and chains."""

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import unquote
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from airflow_provider_baseten.emulator import addressing, management_api, model_apis
from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.async_inference import SUBMIT_ACTIONS, AsyncInference
from airflow_provider_baseten.emulator.auth import ApiKeys, scheme_of
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment, Endpoint, Limits
from airflow_provider_baseten.emulator.errors import GatewayError, not_found
from airflow_provider_baseten.emulator.exchange import REQUEST_ID_HEADER, Exchange, describe
from airflow_provider_baseten.emulator.faults import Fault, Faults
from airflow_provider_baseten.emulator.records import RecordedRequest, Records
from airflow_provider_baseten.emulator.webhooks import Webhooks

logger = logging.getLogger(__name__)

_PREDICT_ACTIONS = {"model": "predict", "chain": "run_remote"}
_REQUEST_ID_HEADER = REQUEST_ID_HEADER.lower().encode()


class Gateway:
    """ASGI app: authenticates, addresses, injects faults, and hands a request to the deployment it is for.

    :param models: models by id.
    :param chains: chains by id.
    :param model_apis: models of the Model APIs by slug.
    :param keys: API keys that are accepted.
    :param limits: body size and times.
    :param clock: where time comes from.
    :param connections: the server's connections.
    :param records: where requests are remembered.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Endpoint],
        chains: Mapping[str, Endpoint],
        model_apis: Mapping[str, Deployment],
        keys: ApiKeys,
        limits: Limits,
        clock: Clock,
        connections: ClientConnections,
        records: Records,
    ) -> None:
        self.models = models
        self.chains = chains
        self.model_apis = model_apis
        self.faults = Faults()
        self.records = records
        self.async_inference = AsyncInference(limits, clock, Webhooks(limits, clock, self.faults))
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        scope = _in_origin_form(scope)
        exchange = Exchange(
            scope,
            receive,
            send,
            record=self._record(scope),
            body_limit=self._limits.body_bytes,
            connections=self._connections,
        )
        try:
            await self._serve(exchange)
        except GatewayError as error:
            await exchange.refuse(error)
        except asyncio.CancelledError:
            if not exchange.given_up:  # The server stops.
                await exchange.disconnect(reset=True)
        except Exception:
            logger.exception("The server of the model failed")
            await exchange.refuse(GatewayError(502, "Error making prediction", "model_unavailable"))
        finally:
            exchange.close()

    def _record(self, scope: Scope) -> RecordedRequest:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = RecordedRequest(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            at=self._clock.now(),
            request_id=uuid4().hex,
        )
        self.records.add(record)
        return record

    async def _serve(self, exchange: Exchange) -> None:
        record, problem, address = exchange.record, None, None
        try:
            address = addressing.parse(record.headers.get("host", ""), record.path)
            describe(record, address)
        except GatewayError as error:
            problem = error
        authorization = record.headers.get("authorization")
        if authorization is not None:
            record.headers["authorization"] = scheme_of(authorization)
        self._keys.authorize(authorization, management=address is not None and address.kind == "management")
        if address is None:
            raise problem or not_found("No such path.")
        exchange.check_content_length()
        fault = self.faults.take(address, exchange.method)
        if fault is not None and await self._apply(fault, exchange, address):
            return
        await self._dispatch(exchange, address)

    async def _apply(self, fault: Fault, exchange: Exchange, address: Address) -> bool:
        """Let a fault happen; return whether it was the answer."""
        # A client that is still sending would not see what happens, and one that leaves would not be seen.
        request_body = await exchange.body()
        if fault.delay:
            await self._clock.sleep(fault.delay)
        if fault.interim_status is not None:
            self._connections.send_interim(exchange.scope, fault.interim_status)
        exchange.truncate_after = fault.truncate_after
        exchange.after_webhook = fault.after_webhook
        if not fault.replaces_answer:
            return False
        if fault.after_model:
            exchange.muted = True
            await self._dispatch(exchange, address)
            exchange.muted = False
        if fault.status is None:
            await exchange.disconnect(reset=True)
        else:
            body, content_type = fault.content(request_body)
            await exchange.answer(fault.status, body, content_type, dict(fault.headers))
        return True

    async def _dispatch(self, exchange: Exchange, address: Address) -> None:
        if address.kind == "management":
            query = exchange.record.query
            content = management_api.respond(exchange.method, address.action, query, self.models, self.chains)
            await exchange.answer_json(200, content)
            return
        if address.kind == "model_apis":
            await self._model_apis(exchange, address.route)
            return
        endpoint = (self.models if address.kind == "model" else self.chains).get(address.id)
        if endpoint is None:
            raise not_found(f"{address.kind.capitalize()} {address.id} does not exist.")
        if address.action == "async_request":
            await self._async_request(exchange, endpoint, unquote(address.route.removeprefix("/")))
            return
        deployment = endpoint.find(address)
        if address.action == "sync":
            await self._forward(exchange, deployment, address.route or "/", whole=False)
        elif address.action == _PREDICT_ACTIONS[address.kind]:
            _require(exchange, "POST")
            await self._forward(exchange, deployment, deployment.predict_path, whole=True)
        elif address.action == "wake":
            _require(exchange, "POST")
            deployment.check_active()
            deployment.replicas.wake()
            await exchange.answer(202, b"", None, {})
        elif address.action == SUBMIT_ACTIONS[address.kind]:
            _require(exchange, "POST")
            await self._submit(exchange, endpoint, deployment)
        elif address.action == "async_queue_status":
            _require(exchange, "GET")
            await exchange.answer_json(200, self.async_inference.queue_status(endpoint, deployment))
        else:
            raise GatewayError(404, f"A {address.kind} has no {address.action[:200]}.", "client_error")

    async def _model_apis(self, exchange: Exchange, route: str) -> None:
        if route == model_apis.LIST_ROUTE:
            _require(exchange, "GET")
            await exchange.answer_json(200, model_apis.listing(self.model_apis))
            return
        _require(exchange, "POST")
        deployment = model_apis.select(self.model_apis, await exchange.body())
        await self._forward(exchange, deployment, route, whole=True)

    async def _submit(self, exchange: Exchange, endpoint: Endpoint, deployment: Deployment) -> None:
        deployment.check_active()
        body = await exchange.body()
        request = self.async_inference.submit(endpoint, deployment, exchange.record.request_id, body)
        if exchange.after_webhook:
            await request.settled.wait()
        await exchange.answer_json(201, {"request_id": request.request_id})

    async def _async_request(self, exchange: Exchange, endpoint: Endpoint, request_id: str) -> None:
        _require(exchange, "GET", "DELETE")
        answer = self.async_inference.status if exchange.method == "GET" else self.async_inference.cancel
        await exchange.answer_json(200, answer(endpoint, request_id))

    async def _forward(self, exchange: Exchange, deployment: Deployment, path: str, *, whole: bool) -> None:
        deployment.check_active()
        await exchange.prefetch(whole=whole)
        scope = _inner_scope(exchange, path)
        async with deployment.replicas.slot():
            try:
                async with self._clock.timeout(self._limits.predict_seconds):
                    await deployment.app(scope, exchange.receive, exchange.send)
            except TimeoutError:
                raise GatewayError(504, "The model did not answer in time.", "timeout") from None


def _in_origin_form(scope: Scope) -> Scope:
    """Return the scope of a request with a path alone; ``GET http://host/path``, as to a proxy, names the host too."""
    scheme, separator, rest = scope["raw_path"].partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        return scope
    host, slash, path = rest.partition(b"/")
    headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
    raw_path = slash + path or b"/"
    return {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode()), "headers": [(b"host", host), *headers]}


def _inner_scope(exchange: Exchange, path: str) -> Scope:
    # The key is the gateway's business: a model never sees it.
    hidden = {b"authorization", _REQUEST_ID_HEADER}
    headers = [pair for pair in exchange.scope["headers"] if pair[0] not in hidden]
    headers.append((_REQUEST_ID_HEADER, exchange.record.request_id.encode()))
    return {
        **exchange.scope,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "root_path": "",
        "headers": headers,
    }


def _require(exchange: Exchange, *methods: str) -> None:
    if exchange.method not in methods:
        allowed = ", ".join(methods)
        message = f"{exchange.method} is not allowed here, use {allowed}."
        raise GatewayError(405, message, "client_error", {"Allow": allowed})
