"""Both transports send, retry and fail alike; every fault is one that a real socket shows."""

import asyncio
import datetime
import gc
import inspect
import ipaddress
import json
import ssl
import sys
import time
from base64 import b64encode
from contextlib import nullcontext
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from requests import get

from airflow_provider_baseten.api import http
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client import response_reader
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.transport import Transport
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenRateLimitError,
    BasetenResponseError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from tests.scripted_server import ScriptedServer, answer, raw, reset

KEY = "abcd1234.s3cr3t"
QUICK = RequestRetries(max_attempts=3, total=30, initial=0.01, maximum=0.02)


@pytest.fixture(params=["blocking", "async"])
def send(request, monkeypatch):
    """Send one request over either transport."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def blocking(call, **settings):
        base_url, message = call
        transport = Transport(credentials(base_url, **settings))
        try:
            return transport.send(message)
        finally:
            transport.close()

    def in_loop(call, **settings):
        base_url, message = call

        async def run():
            transport = AsyncTransport(credentials(base_url, **settings))
            try:
                return await transport.send(message)
            finally:
                await transport.close()

        return asyncio.run(run())

    return blocking if request.param == "blocking" else in_loop


def credentials(base_url, **settings):
    return Credentials(**{"api_key": KEY, "base_url": base_url, "request_retries": QUICK} | settings)


def predict(server, **options):
    """Return where to send a predict, and the predict."""
    return server.url, build_predict(Target(model_id="abc"), {"text": "private"}, **options)


def closed_port():
    with ScriptedServer(answer()) as server:
        return server


class TestSending:
    def test_what_arrives(self, send):
        with ScriptedServer(answer(body=b'{"a":1}', headers=["X-Baseten-Request-Id: r1"])) as server:
            response = send(predict(server, headers={"X-Team": "data"}))
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /model-abc/environments/production/predict http/1.1"
        assert {f"authorization: bearer {KEY}", "content-type: application/json", "x-team: data"} <= set(lines)
        assert any(line.startswith("user-agent: airflow-provider-baseten/") for line in lines)
        assert body == b'{"text":"private"}'
        assert (response.status, response.output(), response.request_id) == (200, {"a": 1}, "r1")

    def test_scheme_api_key(self, send):
        with ScriptedServer(answer()) as server:
            send(predict(server), auth_scheme="Api-Key")
        assert f"authorization: api-key {KEY}" in server.requests[0].decode().lower()

    def test_netrc_does_not_take_the_place_of_the_key(self, send, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password p\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with ScriptedServer(answer()) as server:
            send(predict(server))
        assert f"authorization: bearer {KEY}" in server.requests[0].decode().lower()

    def test_redirect_is_not_followed(self, send):
        with (
            ScriptedServer(answer()) as elsewhere,
            ScriptedServer(answer(307, headers=[f"Location: {elsewhere.url}/"])) as server,
            pytest.raises(BasetenResponseError, match="Redirects are not followed"),
        ):
            send(predict(server))
        assert (len(server.requests), len(elsewhere.requests)) == (1, 0)

    @pytest.mark.parametrize("address", ["http://[::1", "http://a:b:c/", "//", "\xff"])
    def test_address_of_a_redirect_is_not_even_read(self, send, address):
        with (
            ScriptedServer(answer(307, headers=[f"Location: {address}"])) as server,
            pytest.raises(BasetenResponseError, match="Redirects are not followed"),
        ):
            send(predict(server))

    def test_ten_years_are_not_too_long(self, send):
        with ScriptedServer(answer()) as server:
            assert send(predict(server), timeout=315_360_000).status == 200

    def test_key_that_the_server_repeats_is_not_in_the_error(self, send):
        refusal = answer(401, f'{{"error": "bad key {KEY}"}}'.encode())
        with ScriptedServer(refusal) as server, pytest.raises(BasetenAuthError) as caught:
            send(predict(server))
        assert "bad key ***" in str(caught.value)
        assert KEY not in repr(caught.value)

    def test_chunks_are_passed_on_as_they_come(self):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
        seen = []
        with ScriptedServer(raw(head + b"3\r\nab\n\r\n2\r\ncd\r\n0\r\n\r\n")) as server:
            base_url, request = predict(server)
            response = Transport(credentials(base_url)).send(request, seen.append)
        assert b"".join(seen) == response.body == b"ab\ncd"


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"


def answered(*headers, body=b'{"a":1}', before=b""):
    """Send an answer with these header lines, as bytes."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", b""]
    return raw(before + b"\r\n".join(lines) + body)


class TestHeads:
    @pytest.mark.parametrize(
        "before",
        [
            INTERIM,
            INTERIM * 3,
            b"HTTP/1.1 102 Processing\r\n\r\n" * 500,
            b"HTTP/1.1 102 Processing\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM,
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nContent-Type: text/html\r\n\r\n",
        ],
    )
    def test_interim_answers_are_passed_over(self, send, before):
        with ScriptedServer(answered(b"Content-Type: application/json", before=before)) as server:
            response = send(predict(server))
        assert (response.status, response.output(), "link" in response.headers) == (200, {"a": 1}, False)

    def test_interim_answers_without_end(self, send):
        with (
            ScriptedServer(raw(INTERIM * 12_000), answered()) as server,
            pytest.raises(BasetenUnavailableError) as caught,
        ):
            send(predict(server))
        assert caught.value.may_have_run

    @pytest.mark.parametrize(
        ("line", "name", "value"),
        [
            ("X-Name: caf\u00e9".encode(), "x-name", None),
            (b"X-Name: caf\xe9", "x-name", None),
            (b"X-Name: a\x01b", "x-name", None),
            (b"X-Name:", "x-name", ""),
            (b"X-Name: one\r\nX-Name: two", "x-name", "one"),
            (b"X-Name: one\r\n  two", "x-name", "one two"),
            (b"Bad Name: x\r\nX-Name: y", "x-name", "y"),
            (b"no header\r\nX-Name: y", "x-name", "y"),
            (b": x\r\nX-Name: y", "x-name", "y"),
            (b"\xc3: x\r\nX-Name: y", "x-name", "y"),
        ],
    )
    def test_odd_headers(self, send, line, name, value):
        with ScriptedServer(answered(line, b"content-TYPE: application/json")) as server:
            response = send(predict(server))
        assert (response.output(), response.headers.get(name)) == ({"a": 1}, value)

    def test_error_with_an_id_that_can_not_be_read(self, send):
        headers = ["X-Baseten-Request-Id: caf\u00e9", "Retry-After: \u0663"]
        with (
            ScriptedServer(answer(422, b'{"error": "no"}', headers)) as server,
            pytest.raises(BasetenInputError, match="no") as caught,
        ):
            send(predict(server))
        assert (caught.value.request_id, caught.value.retry_after) == (None, None)

    @pytest.mark.parametrize(
        "head",
        [
            b"Content-Length: 3\r\nContent-Length: 4\r\n",
            b"Content-Length: three\r\n",
            b"Content-Length: -1\r\n",
            b"".join(b"X-%d: 1\r\n" % number for number in range(300)),
        ],
    )
    def test_answers_without_a_clear_end(self, send, head):
        with (
            ScriptedServer(raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n123")) as server,
            pytest.raises(BasetenUnavailableError, match="connection was lost") as caught,
        ):
            send(predict(server))
        assert caught.value.may_have_run


class TestTexts:
    @pytest.mark.parametrize(
        ("content_type", "body", "output"),
        [
            ("text/plain; charset=iso-8859-1", b"caf\xe9", "caf\u00e9"),
            ("text/plain;charset=ISO-8859-1;x=y", b"caf\xe9", "caf\u00e9"),
            ('text/plain; charset="windows-1252"', b"\x80", "\u20ac"),
            ("text/csv; Charset=shift_jis", "\u65e5".encode("shift_jis"), "\u65e5"),
            ("text/plain; charset=utf-16le", "a\u20ac".encode("utf-16-le"), "a\u20ac"),
            ("text/plain", "a\u20ac".encode("utf-16"), "a\u20ac"),
            ("text/plain", b"\xef\xbb\xbfa", "a"),
            ("text/plain; charset=latin-1", "\ufeffa\u20ac".encode(), "a\u20ac"),
            ("text/plain; charset=utf-8", b"caf\xe9", b"caf\xe9"),
            ("text/plain; charset=no-such", "\u20ac".encode(), "\u20ac"),
            ("text/plain; charset=", b"a", "a"),
            ("text/plain; charset=zlib", b"a", "a"),
            ("text/plain; charset=idna", b"a", "a"),
            ("text/plain; charset=utf-16", b"abc", b"abc"),
            ("application/json; charset=iso-8859-1", b'"caf\xe9"', "caf\u00e9"),
            ("application/json; charset=iso-8859-1", '"caf\u00e9"'.encode(), "caf\u00e9"),
            ("application/json", b'\xef\xbb\xbf{"a":1}', {"a": 1}),
            ("image/png; charset=iso-8859-1", b"\x89\xff", b"\x89\xff"),
            ("application/octet-stream", b"\xff\xfea\0", b"\xff\xfea\0"),
        ],
    )
    def test_charset_decides(self, send, content_type, body, output):
        with ScriptedServer(answered(b"Content-Type: " + content_type.encode(), body=body)) as server:
            response = send(predict(server))
        assert response.output() == output
        if isinstance(output, str):
            assert response.body.decode() in (output, f'"{output}"')

    def test_large_text(self, send):
        text = "caf\u00e9\r\n" * 1_000_000
        head = b"Content-Type: text/plain; charset=latin-1"
        with ScriptedServer(answered(head, body=text.encode("latin-1"))) as server:
            response = send(predict(server))
        assert (response.output() == text, response.read() == text.encode()) == (True, True)

    @pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-8", "no-such"])
    def test_large_json(self, send, charset):
        """Whoever reads the file later does not know the Content-Type."""
        value = {"t": "caf\u00e9" * 1_200_000}
        body = json.dumps(value, ensure_ascii=False).encode("utf-8" if charset == "no-such" else charset)
        head = f"Content-Type: application/json; charset={charset}".encode()
        with ScriptedServer(answered(head, body=body)) as server:
            response = send(predict(server))
        assert response.large is not None
        assert (response.output() == value, json.loads(response.read().decode()) == value) == (True, True)

    def test_large_json_in_utf_8_whatever_it_says(self, send):
        body = json.dumps("caf\u00e9" * 1_200_000, ensure_ascii=False).encode()
        with ScriptedServer(answered(b"Content-Type: application/json; charset=latin-1", body=body)) as server:
            assert send(predict(server)).read() == body


class TestLogs:
    def test_query_is_in_no_log(self, send, caplog):
        caplog.set_level("DEBUG", logger="")
        caplog.set_level("DEBUG", logger="urllib3.connectionpool")
        with ScriptedServer(reset, answer()) as server:
            options = {"params": {"q": "private"}, "headers": {"X-H": "also-private"}}
            send((server.url, build_sync_route(Target(model_id="abc"), "r", **options)))
        assert "private" not in caplog.text
        assert KEY not in caplog.text

    def test_what_others_send_is_logged_as_before(self, caplog):
        caplog.set_level("DEBUG", logger="urllib3.connectionpool")
        with ScriptedServer(answer()) as server:
            get(f"{server.url}/?q=public", timeout=5)
        assert "q=public" in caplog.text


class TestRetries:
    @pytest.mark.parametrize("status", [429, 529, 502, 503])
    def test_what_did_not_run_is_sent_again(self, send, status):
        with ScriptedServer(answer(status), answer(status), answer(body=b"1")) as server:
            assert send(predict(server)).output() == 1
        assert len(server.requests) == 3

    @pytest.mark.parametrize("status", [500, 504])
    def test_what_may_have_run_is_sent_again_only_when_asked(self, send, status):
        with ScriptedServer(answer(status), answer(body=b"1")) as server:
            with pytest.raises(BasetenError) as caught:
                send(predict(server))
            assert (len(server.requests), caught.value.may_have_run) == (1, True)
        with ScriptedServer(answer(status), answer(body=b"1")) as server:
            assert send(predict(server, idempotent=True)).output() == 1
            assert len(server.requests) == 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
    def test_what_can_not_succeed_is_sent_once(self, send, status):
        with ScriptedServer(answer(status)) as server:
            with pytest.raises(BasetenError):
                send(predict(server, idempotent=True))
            assert len(server.requests) == 1

    def test_exception_of_the_model_is_not_repeated(self, send):
        headers = ["X-Baseten-Error-Source: 04", "X-Baseten-Error-Code: 600"]
        with ScriptedServer(answer(500, b'{"error": "boom"}', headers)) as server:
            with pytest.raises(BasetenModelError, match="boom"):
                send(predict(server))
            assert len(server.requests) == 1

    def test_attempts_are_bounded_and_the_last_error_is_raised(self, send):
        with ScriptedServer(answer(429)) as server:
            with pytest.raises(BasetenRateLimitError):
                send(predict(server))
            assert len(server.requests) == QUICK.max_attempts

    @pytest.mark.parametrize(
        "busy", [answer(429, headers=["Retry-After: 1"]), answer(429, b'{"error": "busy", "retry_after": 1}')]
    )
    def test_wait_that_the_server_asks_for(self, send, busy):
        with ScriptedServer(busy, answer()) as server:
            start = time.monotonic()
            send(predict(server))
        assert time.monotonic() - start >= 1

    def test_wait_that_would_pass_the_total_time_is_not_begun(self, send):
        with ScriptedServer(answer(503, headers=["Retry-After: 3600"])) as server:
            start = time.monotonic()
            with pytest.raises(BasetenUnavailableError) as caught:
                send(predict(server))
        assert (caught.value.retry_after, len(server.requests)) == (3600, 1)
        assert time.monotonic() - start < 30

    def test_waits_are_random_and_double_up_to_the_maximum(self):
        options = RequestRetries(initial=1, maximum=8).options(predict(closed_port()))

        class State:
            outcome = None

            def __init__(self, attempt_number):
                self.attempt_number = attempt_number

        for attempt, bound in [(1, 1), (2, 2), (3, 4), (4, 8), (9, 8)]:
            waits = {options["wait"](State(attempt)) for _ in range(200)}
            assert 0 <= min(waits) < bound / 4
            assert bound * 3 / 4 < max(waits) <= bound


class TestFaults:
    def test_nobody_listens(self, send):
        with pytest.raises(
            BasetenUnavailableError, match=r"was not sent: http://127.0.0.1:\d+ can't be reached"
        ) as caught:
            send(predict(closed_port()))
        assert not caught.value.may_have_run

    def test_host_without_an_address(self, send):
        request = ("http://no-such-host.invalid", build_predict(Target(model_id="abc"), 1))
        with pytest.raises(BasetenUnavailableError, match="was not sent"):
            send(request)

    @pytest.mark.parametrize("repeat", [False, True])
    def test_connection_reset_after_the_request(self, send, repeat):
        with ScriptedServer(reset, answer(body=b"1")) as server:
            if repeat:
                assert send(predict(server, idempotent=True)).output() == 1
            else:
                with pytest.raises(BasetenUnavailableError, match="connection was lost") as caught:
                    send(predict(server))
                assert caught.value.may_have_run
            assert len(server.requests) == 1 + repeat

    @pytest.mark.parametrize(
        "part",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"not http at all\r\n\r\n",
        ],
    )
    def test_answer_that_is_cut_off(self, send, part):
        with ScriptedServer(raw(part)) as server:
            with pytest.raises(
                BasetenUnavailableError,
                match=f"was sent to {server.url}, but the connection was lost.*Check the model's logs",
            ) as caught:
                send(predict(server))
            assert (len(server.requests), caught.value.may_have_run) == (1, True)

    @pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
    def test_no_answer_in_time(self, send, head):
        def stall(connection):
            connection.sendall(head)
            server.hang(connection)

        with ScriptedServer(stall) as server:
            with pytest.raises(BasetenTimeoutError, match=r"no response came within 0.3 s") as caught:
                send(predict(server), timeout=0.3)
            assert (len(server.requests), caught.value.may_have_run) == (1, True)

    def test_errors_show_no_library_and_no_input(self, send):
        with ScriptedServer(reset) as server, pytest.raises(BasetenError) as caught:
            send(predict(server))
        assert caught.value.__suppress_context__
        assert "private" not in str(caught.value)
        assert KEY not in str(caught.value)


class TestEnvironment:
    def test_proxy(self, send, monkeypatch):
        with ScriptedServer(answer(body=b'"from proxy"')) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            request = ("http://baseten.invalid", build_predict(Target(model_id="abc"), 1))
            assert send(request).output() == "from proxy"
        assert proxy.requests[0].startswith(b"POST http://baseten.invalid/model-abc/")

    def test_no_proxy(self, send, monkeypatch):
        with ScriptedServer(answer()) as proxy, ScriptedServer(answer(body=b"1")) as server:
            for name in ("HTTP_PROXY", "http_proxy"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.setenv(name, "127.0.0.1")
            assert send(predict(server)).output() == 1
            assert (len(server.requests), len(proxy.requests)) == (1, 0)

    @pytest.mark.parametrize("no_proxy", ["*", "127.0.0.0/8", "a.b, 127.0.0.1", " 127.0.0.1 ,", "a.b 127.0.0.1"])
    @pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
    def test_forms_of_no_proxy(self, send, monkeypatch, no_proxy, variable):
        with ScriptedServer(answer()) as proxy, ScriptedServer(answer(body=b"1")) as server:
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            monkeypatch.setenv(variable, no_proxy)
            assert send(predict(server)).output() == 1
            assert (len(server.requests), len(proxy.requests)) == (1, 0)

    def test_proxy_with_credentials(self, send, monkeypatch):
        with ScriptedServer(answer(body=b"1")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://us%40er:pass@"))
            send(("http://baseten.invalid", build_predict(Target(model_id="abc"), 1)))
        lines = proxy.requests[0].lower().split(b"\r\n")
        assert b"proxy-authorization: basic " + b64encode(b"us@er:pass").lower() in lines

    def test_proxy_for_https_is_asked_for_a_tunnel(self, send, monkeypatch):
        with ScriptedServer(answer(502)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:pass@"))
            with pytest.raises(BasetenUnavailableError) as caught:
                send(("https://baseten.invalid", build_predict(Target(model_id="abc"), 1)))
        assert not caught.value.may_have_run
        assert proxy.requests[0].startswith(b"CONNECT baseten.invalid:443 ")
        assert KEY.encode() not in proxy.requests[0]
        assert "pass" not in str(caught.value).replace("pass on", "")

    @pytest.mark.parametrize(
        "value", ["http://", "ftp://proxy:1", "socks5://proxy:1", "http://proxy:port", "http://a b"]
    )
    def test_unusable_proxy(self, send, monkeypatch, value):
        monkeypatch.setenv("HTTP_PROXY", value)
        with ScriptedServer(answer()) as server, pytest.raises(BasetenInputError, match="HTTP_PROXY is not the URL"):
            send(predict(server))

    def test_proxy_without_scheme(self, send, monkeypatch):
        with ScriptedServer(answer(body=b"1")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
            assert send(("http://baseten.invalid", build_predict(Target(model_id="abc"), 1))).output() == 1

    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
    def test_ca_bundle(self, send, tls, monkeypatch, variable):
        with ScriptedServer(answer(body=b"1"), tls=tls.context) as server:
            monkeypatch.setenv(variable, str(tls.bundle))
            assert send(predict(server)).output() == 1

    def test_a_private_ca_without_the_extensions_of_rfc_5280(self, send, tmp_path, monkeypatch, request):
        tls = _Tls(tmp_path, strict=False)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.bundle))
        refused = "[blocking]" in request.node.name and sys.version_info >= (3, 13)
        expected = pytest.raises(BasetenUnavailableError, match=r"Missing Authority Key Identifier.*RFC 5280")
        with ScriptedServer(answer(body=b"1"), tls=tls.context) as server, expected if refused else nullcontext():
            assert send(predict(server)).output() == 1

    def test_untrusted_certificate(self, send, tls):
        with ScriptedServer(answer(), tls=tls.context) as server:
            with pytest.raises(BasetenUnavailableError, match="certificate is not trusted") as caught:
                send(predict(server))
            assert (caught.value.retryable, len(server.requests)) == (False, 0)

    def test_server_without_tls(self, send):
        with Emulator() as server:
            with pytest.raises(BasetenUnavailableError, match="was not sent: the server does not speak TLS") as caught:
                send((server.url.replace("http://", "https://"), build_predict(Target(model_id="abc"), 1)))
            assert not caught.value.retryable

    @pytest.mark.parametrize("content", [None, b"", b"no certificate"])
    def test_unusable_ca_bundle(self, send, tmp_path, monkeypatch, content):
        bundle = tmp_path / "ca.pem"
        if content is not None:
            bundle.write_bytes(content)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        request = ("https://127.0.0.1:1", build_predict(Target(model_id="abc"), 1))
        with pytest.raises(BasetenInputError, match=r"REQUESTS_CA_BUNDLE.*ca\.pem"):
            send(request)


class _Tls:
    """A private CA and a server's certificate; a strict one has each extension that RFC 5280 requires."""

    def __init__(self, folder, *, strict=True):
        now = datetime.datetime.now(datetime.UTC)
        name = partial(lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]))
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        certificate = partial(self._certificate, now=now, strict=strict)
        ca = certificate(name("test ca"), name("test ca"), ca_key, ca_key, ca=True)
        leaf = certificate(name("127.0.0.1"), name("test ca"), key, ca_key, ca=False)
        other = certificate(name("other ca"), name("other ca"), key, key, ca=True)
        pem = partial(x509.Certificate.public_bytes, encoding=serialization.Encoding.PEM)
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(pem(other) + pem(ca))
        (folder / "leaf.pem").write_bytes(pem(leaf))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "leaf.pem", folder / "key.pem")

    @staticmethod
    def _certificate(subject, issuer, key, signing_key, *, ca, now, strict):
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        )
        if strict:
            own, issuer_key = key.public_key(), signing_key.public_key()
            usage = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
            usage |= {"key_cert_sign": ca, "digital_signature": not ca}
            builder = (
                builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
                .add_extension(x509.KeyUsage(**usage), critical=True)
            )
        return builder.sign(signing_key, hashes.SHA256())


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    return _Tls(tmp_path_factory.mktemp("tls"))


def test_a_host_that_the_async_transport_can_not_read_is_named():
    async def send():
        transport = AsyncTransport(credentials("http://xn--a.example"))
        try:
            return await transport.send(build_predict(Target(model_id="abc"), 1))
        finally:
            await transport.close()

    with pytest.raises(BasetenInputError, match=r"http://xn--a\.example is not an address .*Check the Host"):
        asyncio.run(send())


def test_the_async_transport_keeps_no_body_of_a_request():
    async def send(url):
        transport = AsyncTransport(credentials(url))
        request = build_predict(Target(model_id="abc"), "x" * 1000)
        try:
            await transport.send(request)
            body = request.body
            assert body in gc.get_referents(request)
            del request
            gc.collect()
            return [held for held in gc.get_objects() if isinstance(held, http.Request) and held.body is body]
        finally:
            await transport.close()

    with ScriptedServer(answer(200, b"1")) as server:
        assert asyncio.run(send(server.url)) == []


def test_an_error_is_made_beside_the_event_loop(monkeypatch):
    """What it quotes of an input of a megabyte takes seconds to find; other triggers continue meanwhile."""

    def slow(response, real=response_reader.error_for):
        time.sleep(1)
        return real(response)

    async def ticks_meanwhile(url):
        client = AsyncTransport(credentials(url, request_retries=RequestRetries(max_attempts=1)))
        sending = asyncio.create_task(client.send(build_predict(Target(model_id="abc"), {})))
        ticks = 0
        while not sending.done():
            await asyncio.sleep(0.02)
            ticks += 1
        with pytest.raises(BasetenInputError):
            await sending
        await client.close()
        return ticks

    monkeypatch.setattr(response_reader, "error_for", slow)
    with ScriptedServer(answer(422, b'{"error": "no"}')) as server:
        assert asyncio.run(ticks_meanwhile(server.url)) > 10
