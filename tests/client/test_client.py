"""The two clients have the same methods, their options are honoured, and they close what they open."""

import asyncio
import inspect
from types import SimpleNamespace

import pytest

from airflow_provider_baseten.api.management.models import list_models
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.client.client import AsyncClient, Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.management import AsyncManagement, Management
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenTimeoutError, BasetenUnavailableError
from tests.scripted_server import ScriptedServer, answer

ABC = Target(model_id="abc")
KEYS = {"api_key": "invoke.key", "management_api_key": "manage.key"}

# What only makes sense for a call that blocks: a task that is stopped asks what was in flight, and a stream is logged.
ONLY_BLOCKING = {"attempt_in_flight", "send.on_chunk"}


def public(cls):
    """Return each public method and property of a class with its parameters."""
    found = {}
    for name, member in inspect.getmembers(cls):
        if name.startswith("_"):
            continue
        found[name] = None
        if inspect.isfunction(member):
            for parameter in [*inspect.signature(member).parameters.values()][1:]:
                found[f"{name}.{parameter.name}"] = (parameter.kind, parameter.default)
    return found


@pytest.mark.parametrize(("blocking", "in_loop"), [(Client, AsyncClient), (Management, AsyncManagement)])
def test_both_clients_have_the_same_methods(blocking, in_loop):
    expected, found = public(blocking), public(in_loop)
    assert {name: value for name, value in expected.items() if name not in ONLY_BLOCKING} == found
    assert "predict" in found or "list_models" in found


@pytest.mark.parametrize("name", [name for name in public(AsyncClient) if "." not in name])
def test_what_sends_is_a_coroutine_of_the_async_client(name):
    sends = name not in {"with_options", "openai", "management"}
    assert inspect.iscoroutinefunction(inspect.getattr_static(AsyncClient, name)) == sends


@pytest.fixture(params=["blocking", "async"])
def call(request, monkeypatch):
    """Call a method of either client."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def blocking(credentials, use):
        with Client(credentials) as client:
            return use(client)

    def in_loop(credentials, use):
        async def run():
            async with AsyncClient(credentials) as client:
                return await use(client)

        return asyncio.run(run())

    return blocking if request.param == "blocking" else in_loop


class TestCredentials:
    def test_each_host_gets_its_key_and_address(self, call):
        with ScriptedServer(answer(body=b"{}"), answer(body=b'{"models": []}')) as server:
            credentials = Credentials(base_url=server.url, auth_scheme="Api-Key", **KEYS)
            call(credentials, lambda client: client.predict(ABC, 1))
            call(credentials, lambda client: client.management.list_models("one"))
        predict, models = (request.lower() for request in server.requests)
        assert predict.startswith(b"post /model-abc/environments/production/predict ")
        assert b"\r\nauthorization: api-key invoke.key\r\n" in predict
        assert models.startswith(b"get /v1/models?name=one ")
        assert b"\r\nauthorization: api-key manage.key\r\n" in models

    @pytest.mark.parametrize(
        ("fields", "url"),
        [
            ({}, "https://api.baseten.co/v1/models"),
            ({"base_url": "http://h:1"}, "http://h:1/v1/models"),
            ({"base_url": "http://h:1", "management_url": "http://m:2/"}, "http://m:2/v1/models"),
        ],
    )
    def test_where_the_management_api_is(self, fields, url):
        assert Credentials(api_key="k", **fields).url(list_models().request) == url

    def test_no_key_is_shown(self):
        assert "key" not in repr(Credentials(**KEYS)).replace("api_key", "")
        text = Credentials(**KEYS).redacted("invoke.key and manage.key")
        assert text == "*** and ***"

    @pytest.mark.parametrize(
        "fields", [{"base_url": "h:1"}, {"management_url": "x"}, {"timeout": 0}, {"request_retries": 3}]
    )
    def test_wrong_fields(self, fields):
        with pytest.raises(BasetenInputError, match=next(iter(fields))):
            Credentials(api_key="k", **fields)


class TestOptions:
    def test_attempts(self, call):
        retries = RequestRetries(max_attempts=3, initial=0.01, maximum=0.02)
        with ScriptedServer(*[answer(503)] * 4) as server:
            credentials = Credentials(api_key="k", base_url=server.url, request_retries=retries)
            with pytest.raises(BasetenUnavailableError):
                call(credentials, lambda client: client.with_options(max_attempts=1).predict(ABC, 1))
            assert len(server.requests) == 1
            with pytest.raises(BasetenUnavailableError):
                call(credentials, lambda client: client.predict(ABC, 1))
            assert len(server.requests) == 4

    def test_others_stay(self):
        credentials = Credentials(base_url="http://h:1", timeout=9, **KEYS)
        other = Client(credentials).with_options(max_attempts=2).credentials
        assert (other.base_url, other.timeout, other.request_retries.max_attempts) == ("http://h:1", 9, 2)
        assert credentials.request_retries.max_attempts == RequestRetries().max_attempts

    @pytest.mark.parametrize("timeout", [0.3, 60])
    def test_timeout(self, call, monkeypatch, timeout):
        """A call of the management API has a timeout of its own, where the client's is longer."""
        monkeypatch.setattr("airflow_provider_baseten.api.management.call._TIMEOUT", 0.3)

        def hang(connection):
            server.hang(connection)

        with ScriptedServer(hang) as server:
            credentials = Credentials(api_key="k", base_url=server.url, timeout=timeout).with_options(max_attempts=1)
            with pytest.raises(BasetenTimeoutError, match=r"no response came within 0\.3 s"):
                call(credentials, lambda client: client.management.list_models())


def test_a_client_is_closed_at_the_end_of_with():
    with ScriptedServer(answer(body=b"1")) as server, Client(Credentials(api_key="k", base_url=server.url)) as client:
        closed = []
        client.send(build_predict(ABC, 1))
        client._transport = SimpleNamespace(close=lambda: closed.append(True))
    assert closed == [True]


def test_routes_of_the_model_apis(call):
    with ScriptedServer(answer(body=b'{"data": []}')) as server:
        credentials = Credentials(api_key="k", base_url=server.url)
        assert call(credentials, lambda client: client.sync_route(ModelApis(), "v1/models")) == {"data": []}
    assert server.requests[0].startswith(b"GET /inference/v1/models ")
