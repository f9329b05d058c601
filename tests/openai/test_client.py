"""The OpenAI client that the hook makes: key, address, retries, certificates."""

import asyncio
import sys
from pathlib import Path

import openai
import pytest

import airflow_provider_baseten.client
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from tests.openai.support import KEY, event, whole
from tests.scripted_server import ScriptedServer, answer

TRUSS = Path(__file__).parents[1] / "emulator" / "truth" / "trusses" / "openai"
CHAT = Target(model_id="chat")
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
QUICK = RequestRetries(initial=0.01)


def ask(asynchronous=False, **options):
    hook = BasetenHook(request_retries=QUICK)
    if not asynchronous:
        with hook.openai_client(CHAT) as client:
            return client.chat.completions.create(**QUESTION, **options)

    async def run():
        async with await hook.async_client() as baseten, baseten.openai(CHAT) as client:
            return await client.chat.completions.create(**QUESTION, **options)

    return asyncio.run(run())


both = pytest.mark.parametrize("asynchronous", [False, True])


@both
@pytest.mark.parametrize("scheme", ["Bearer", "Api-Key"])
def test_key_scheme_and_user_agent(scripted, connect, asynchronous, scheme):
    emulator = scripted(whole("fine"))
    connect(host=emulator.url, password=KEY, extra={"auth_scheme": scheme})
    assert ask(asynchronous).choices[0].message.content == "fine"
    (request,) = emulator.requests
    assert request.path == "/model-chat/environments/production/sync/v1/chat/completions"
    assert request.headers["authorization"] == scheme
    assert request.headers["user-agent"].startswith("airflow-provider-baseten/")


def test_a_truss_streams_to_it(connect):
    with Emulator(models={"chat": TRUSS}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        with BasetenHook().openai_client(CHAT) as client:
            chunks = list(client.chat.completions.create(**QUESTION, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["x", None]


@both
@pytest.mark.parametrize("status", [429, 502, 503, 529])
def test_what_did_not_run_is_sent_again(scripted, asynchronous, status):
    emulator = scripted(whole("fine"))
    emulator.inject(Fault(status=status, times=2), Fault(status=status, headers={"Retry-After": "0"}))
    assert ask(asynchronous).choices[0].message.content == "fine"
    assert [request.status for request in emulator.requests] == [status, status, status, 200]


@both
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=500), openai.InternalServerError),
        (Fault(status=504), openai.InternalServerError),
        (Fault(status=400), openai.BadRequestError),
        (Fault(status=401), openai.AuthenticationError),
        (Fault(status=302, headers={"Location": "/elsewhere"}), openai.APIStatusError),
        (Fault(reset=True), openai.APIConnectionError),
    ],
)
def test_what_may_have_run_or_is_refused_is_not_sent_again(scripted, asynchronous, fault, error):
    emulator = scripted(whole("fine"))
    emulator.inject(fault)
    with pytest.raises(error):
        ask(asynchronous)
    assert len(emulator.requests) == 1


@both
def test_attempts_end_with_the_error_of_the_sdk(scripted, connect, asynchronous):
    emulator = scripted(whole("fine"))
    emulator.inject(Fault(status=429, times=None))
    with pytest.raises(openai.RateLimitError):
        ask(asynchronous)
    assert len(emulator.requests) == QUICK.max_attempts


def test_server_that_is_not_there_is_tried_again(connect, caplog):
    connect(host="http://127.0.0.1:9", password=KEY)
    with pytest.raises(openai.APIConnectionError):
        ask()
    assert "Attempt 8 follows" in caplog.text
    assert KEY not in caplog.text


@both
def test_timeout_of_the_hook(scripted, asynchronous):
    emulator = scripted(whole("fine"))
    emulator.inject(Fault(delay=5))
    hook = BasetenHook(timeout=0.2)
    with hook.openai_client(CHAT) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**QUESTION)
    assert len(emulator.requests) == 1


@both
@pytest.mark.parametrize("no_proxy", ["*", "127.0.0.0/8", "a.b, 127.0.0.1"])
def test_no_proxy_of_the_environment(scripted, connect, monkeypatch, asynchronous, no_proxy):
    emulator = scripted(whole("fine"))
    connect(host=emulator.url, password=KEY)
    with ScriptedServer(answer()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(asynchronous).choices[0].message.content == "fine"
        assert proxy.requests == []


def test_proxy_of_the_environment(connect, monkeypatch):
    body = b'{"id": "1", "choices": []}'
    with ScriptedServer(answer(body=body)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        connect(host="http://baseten.invalid", password=KEY)
        assert ask().id == "1"
        (request,) = proxy.requests
    assert "http://baseten.invalid/model-chat/" in str(request)


@both
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_ca_bundle_of_the_environment(tls, connect, monkeypatch, asynchronous, variable):
    with ScriptedServer(answer(body=b'{"id": "1", "choices": []}'), tls=tls.context) as server:
        connect(host=server.url, password=KEY)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, str(tls.bundle))
        assert ask(asynchronous).id == "1"


@both
def test_untrusted_certificate_is_not_tried_again(tls, connect, caplog, asynchronous):
    with ScriptedServer(answer(), tls=tls.context) as server:
        connect(host=server.url, password=KEY)
        with pytest.raises(openai.APIConnectionError):
            ask(asynchronous)
    assert "Attempt 2" not in caplog.text


def test_unusable_ca_bundle(connect, monkeypatch):
    connect(host="https://127.0.0.1:1", password=KEY)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(BasetenInputError, match="REQUESTS_CA_BUNDLE"):
        BasetenHook().openai_client(CHAT)


def test_baseten_s_own_hosts(connect):
    connect(password=KEY)
    hook = BasetenHook()
    target = Target(model_id="abc", deployment_id="d1")
    assert str(hook.openai_client(target).base_url) == "https://model-abc.api.baseten.co/deployment/d1/sync/v1/"
    assert str(hook.openai_client(model_apis=True).base_url) == "https://inference.baseten.co/v1/"


def test_model_apis_or_a_target(connect):
    connect(password=KEY)
    for arguments in ({}, {"target": CHAT, "model_apis": True}):
        with pytest.raises(BasetenInputError, match="exactly one of target and model_apis"):
            BasetenHook().openai_client(**arguments)


def test_sdk_that_is_not_installed(connect, monkeypatch):
    connect(password=KEY)
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "airflow_provider_baseten.client.openai_sdk", raising=False)
    monkeypatch.delattr(airflow_provider_baseten.client, "openai_sdk", raising=False)
    with pytest.raises(BasetenInputError, match=r"airflow-provider-baseten\[openai\]"):
        BasetenHook().openai_client(CHAT)


def test_stream_through_the_client(scripted):
    scripted([event({"content": "a"}), event({"content": "b"}, "stop"), "data: [DONE]\n\n"])
    with BasetenHook().openai_client(CHAT) as client:
        parts = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**QUESTION, stream=True)]
    assert parts == ["a", "b"]
