"""Answers have an upper size, and a large one costs little memory on its way."""

import asyncio
import gzip
import json
import subprocess
import sys
import zlib
from contextlib import suppress

import pytest

from airflow_provider_baseten import config
from airflow_provider_baseten.api.async_predict import (
    build_async_predict,
    build_cancel,
    build_queue_status,
    build_status,
)
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.api.wake import build_wake
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.transport import Transport
from airflow_provider_baseten.exceptions import (
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenRateLimitError,
    BasetenResponseError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.hooks.baseten import BasetenHook
from tests.scripted_server import ScriptedServer, answer, raw

ONCE = RequestRetries(max_attempts=1)
MB = 1024 * 1024


def credentials(call, settings):
    return Credentials(**{"api_key": "k.s", "base_url": call[0], "request_retries": ONCE} | settings)


def blocking(call, **settings):
    return Transport(credentials(call, settings)).send(call[1])


def in_loop(call, **settings):
    return asyncio.run(AsyncTransport(credentials(call, settings)).send(call[1]))


def in_bulk(call, **settings):
    return asyncio.run(AsyncTransport(credentials(call, settings)).attempt(call[1], b"{}"))


@pytest.fixture(params=[blocking, in_loop, in_bulk])
def send(request, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return request.param


TARGET = Target(model_id="abc")


def chunked(body, *headers):
    """Send without saying how much it is."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]).encode()
    return raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def endless(begin, rest):
    """Send until the client has enough, or much more than it should want."""

    def behave(connection):
        with suppress(OSError):
            connection.sendall(begin)
            for _ in range(64 * MB // len(rest)):
                connection.sendall(rest)

    return behave


def packed(megabytes):
    """Return deflate's form of a text that repeats itself: a thousandth of its size."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return (packer.compress(b"0" * MB) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes + packer.flush()


class TestModelAnswers:
    def test_large_one_comes_whole(self, send):
        body = b'"' + b"x" * (6 * MB) + b'"'
        with ScriptedServer(answer(body=body)) as server:
            response = send((server.url, build_predict(TARGET, {})))
        assert (response.size, response.read(), response.output()) == (len(body), body, "x" * (6 * MB))

    def test_large_one_is_in_a_file(self):
        body = b"x" * (6 * MB)
        with ScriptedServer(answer(body=body)) as server:
            for way in (blocking, in_loop):
                response = way((server.url, build_predict(TARGET, {})))
                assert (response.body, response.large.read()) == (b"", body)

    @pytest.mark.parametrize("make", [lambda body: answer(body=body), chunked])
    def test_one_byte_too_many(self, send, make):
        with ScriptedServer(make(b"1" * 1000), make(b"1" * 1001)) as server:
            assert send((server.url, build_predict(TARGET, {})), max_response_bytes=1000).size == 1000
            with pytest.raises(BasetenResponseError, match=r"more than 1,000 bytes.*\[baseten\] max_resp") as caught:
                send((server.url, build_predict(TARGET, {})), max_response_bytes=1000)
        assert (caught.value.status, caught.value.may_have_run, caught.value.retryable) == (200, True, False)

    def test_refused_one_is_not_in_flight_any_more(self):
        with (
            ScriptedServer(answer(body=b"1" * 1001)) as server,
            Client(Credentials(api_key="k.s", base_url=server.url, max_response_bytes=1000)) as client,
        ):
            with pytest.raises(BasetenResponseError, match="more than 1,000 bytes"):
                client.predict(TARGET, {})
            assert client.attempt_in_flight is None

    def test_size_counts_unpacked(self, send):
        headers = ["Content-Encoding: gzip", "X-Baseten-Request-Id: r1"]
        with (
            ScriptedServer(chunked(gzip.compress(b"1" * 1001), *headers)) as server,
            pytest.raises(BasetenResponseError, match="request id r1"),
        ):
            send((server.url, build_predict(TARGET, {})), max_response_bytes=1000)

    def test_bulk_has_a_limit_of_its_own(self):
        body = packed(65)
        with (
            ScriptedServer(answer(body=body, headers=["Content-Encoding: deflate"])) as server,
            pytest.raises(BasetenResponseError, match="more than 67,108,864 bytes"),
        ):
            in_bulk((server.url, build_predict(TARGET, {})))

    def test_folder_for_temporary_files_is_missing(self, send, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
        with (
            ScriptedServer(answer(body=b"1" * (6 * MB))) as server,
            pytest.raises(BasetenResultStoreError, match="folder for temporary files") as caught,
        ):
            send((server.url, build_predict(TARGET, {})))
        assert caught.value.may_have_run


class TestStatusAndErrorAnswers:
    @pytest.mark.parametrize(
        "build",
        [
            lambda t: build_status(t, "r1"),
            lambda t: build_cancel(t, "r1"),
            build_queue_status,
            build_wake,
            lambda t: build_async_predict(t, {}),
        ],
    )
    def test_status_is_small(self, send, build):
        with (
            ScriptedServer(answer(body=b'"' + b"x" * MB + b'"')) as server,
            pytest.raises(BasetenResponseError, match="more than 1,048,576 bytes"),
        ):
            send((server.url, build(TARGET)))

    def test_long_error_is_cut_and_its_status_counts(self, send):
        with (
            ScriptedServer(answer(429, b"too busy " * MB)) as server,
            pytest.raises(BasetenRateLimitError, match="too busy too busy") as caught,
        ):
            send((server.url, build_predict(TARGET, {})))
        assert len(str(caught.value)) < 1000

    def test_error_that_can_not_be_unpacked_keeps_its_status(self, send):
        headers = ["Content-Encoding: gzip", "X-Baseten-Error-Source: 04", "X-Baseten-Error-Code: 600"]
        with ScriptedServer(answer(500, b"no gzip", headers)) as server, pytest.raises(BasetenModelError):
            send((server.url, build_predict(TARGET, {})))

    def test_status_that_is_allowed_is_an_answer(self, send):
        with ScriptedServer(answer(404, b"1" * (2 * MB))) as server:
            route = build_sync_route(TARGET, "r", allowed_statuses=[404])
            assert send((server.url, route)).size == 2 * MB


class TestPackedAnswers:
    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", gzip.compress(b'{"a":1}')),
            ("x-gzip", gzip.compress(b'{"a":1}')),
            ("GZip", gzip.compress(b'{"a"') + gzip.compress(b":1}")),
            ("gzip", gzip.compress(b'{"a":1}') + b"\0\0\0"),
            ("deflate", zlib.compress(b'{"a":1}')),
            ("deflate", zlib.compress(b'{"a":1}')[2:-4]),
            ("gzip, gzip", gzip.compress(gzip.compress(b'{"a":1}'))),
            ("deflate,gzip", gzip.compress(zlib.compress(b'{"a":1}'))),
            ("identity", b'{"a":1}'),
            ("utf-8", b'{"a":1}'),
            ("", b'{"a":1}'),
        ],
    )
    @pytest.mark.parametrize("cut", [1, 7, 1000])
    def test_forms(self, send, encoding, body, cut):
        parts = [body[at : at + cut] for at in range(0, len(body), cut)]
        data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        with ScriptedServer(raw(f"{head}Content-Encoding: {encoding}\r\n\r\n".encode() + data)) as server:
            assert send((server.url, build_predict(TARGET, {}))).output() == {"a": 1}

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", b"no gzip"),
            ("gzip", gzip.compress(b"1" * 1000)[:-9]),
            ("deflate", b"\x78"),
            ("deflate", zlib.compress(b"1" * 1000)[:-1]),
            ("deflate", zlib.compress(b"1" * 1000)[2:-6]),
            ("deflate", b"\xff\xff\xff"),
            ("zstd", b"\x28\xb5\x2f\xfd"),
            ("br", b"1"),
            (", ".join(["gzip"] * 9), b"1"),
        ],
    )
    def test_broken_ones(self, send, encoding, body):
        with (
            ScriptedServer(answer(body=body, headers=[f"Content-Encoding: {encoding}"])) as server,
            pytest.raises(BasetenResponseError, match="can't be decompressed") as caught,
        ):
            send((server.url, build_predict(TARGET, {})))
        assert caught.value.may_have_run

    @pytest.mark.parametrize(
        ("encoding", "begin", "rest"),
        [
            ("gzip", b"", gzip.compress(b"") * 1000),
            ("gzip", gzip.compress(b"1"), b"\0" * 65536),
            ("gzip", gzip.compress(b"")[:3] + b"\x08" + gzip.compress(b"")[4:10], b"a name" * 10_000),
            ("deflate", zlib.compress(b"1"), b"\0" * 65536),
            ("deflate", b"", b"\0\0\0\xff\xff" * 10_000),
        ],
        ids=["empty members", "after gzip", "name of a file", "after deflate", "empty blocks"],
    )
    @pytest.mark.parametrize("status", [200, 404])
    def test_those_that_go_on_without_unpacking_to_anything(self, send, encoding, begin, rest, status):
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n\r\n"
        with (
            ScriptedServer(endless(head.encode() + begin, rest)) as server,
            pytest.raises(BasetenResponseError if status == 200 else BasetenNotFoundError) as caught,
        ):
            send((server.url, build_predict(TARGET, {})), max_response_bytes=MB)
        assert caught.value.status == status
        if status == 200:
            assert "with more than 1,048,576 bytes" in str(caught.value)

    def test_what_is_offered(self, send):
        with ScriptedServer(answer()) as server:
            send((server.url, build_predict(TARGET, {})))
        assert b"\r\naccept-encoding: gzip, deflate\r\n" in server.requests[0].lower()


MEASURE = """
import asyncio, resource, sys
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.transport import Transport

way, url = sys.argv[1:]
request = build_predict(Target(model_id="abc"), {})
credentials = Credentials(api_key="k.s", base_url=url, max_response_bytes=500 * 1024**2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    if way == "blocking":
        result = Transport(credentials).send(request)
    elif way == "in_loop":
        result = asyncio.run(AsyncTransport(credentials).send(request))
    else:
        result = asyncio.run(AsyncTransport(credentials).attempt(request, b"{}"))
except BasetenError as error:
    result = error
print(type(result).__name__, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.processes
class TestMemory:
    @pytest.mark.parametrize("way", ["blocking", "in_loop", "in_bulk"])
    @pytest.mark.parametrize("kind", ["plain", "packed"])
    def test_of_a_process(self, way, kind):
        """A large answer, and a small one that unpacks to 2 GB, need some megabytes of memory."""
        if kind == "packed":
            behaviour = answer(body=packed(2048), headers=["Content-Encoding: deflate"])
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (400 * MB)

            def behaviour(connection):
                connection.sendall(head)
                for _ in range(400):
                    connection.sendall(b"1" * MB)

        with ScriptedServer(behaviour) as server:
            command = [sys.executable, "-c", MEASURE, way, server.url]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        name, grown = out.split()
        assert name == ("Response" if kind == "plain" and way != "in_bulk" else "BasetenResponseError")
        assert int(grown) < 40


class TestLargeBody:
    def test_is_read_several_times_at_once(self):
        body = LargeBody()
        body.append(b"abc" * MB)
        body.append(b"end")
        with body.open() as first, body.open() as second:
            assert (first.read(4), second.read(2), first.read(2)) == (b"abca", b"ab", b"bc")
            assert (first.read()[-4:], second.read(1)) == (b"cend", b"c")
        assert (body.read(), body.size) == (b"abc" * MB + b"end", 3 * MB + 3)

    def test_open_file_outlives_the_body(self):
        body = LargeBody()
        body.append(b"abc")
        file = body.open()
        del body
        assert file.read() == b"abc"

    def test_empty(self):
        assert (LargeBody().read(), LargeBody().size) == (b"", 0)


async def predict_async(hook):
    async with await hook.async_client() as client:
        return await client.predict(TARGET, {})


class TestOption:
    def test_default(self):
        assert config.MAX_RESPONSE_BYTES.get() == 1024**3

    def test_reaches_both_transports(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__MAX_RESPONSE_BYTES", "1000")
        with ScriptedServer(answer(body=b"1" * 1001)) as server:
            fields = {"conn_type": "baseten", "password": "k.s", "host": server.url}
            monkeypatch.setenv("AIRFLOW_CONN_BASETEN_DEFAULT", json.dumps(fields))
            hook = BasetenHook(request_retries=ONCE)
            with pytest.raises(BasetenResponseError, match="more than 1,000 bytes"):
                hook.predict(TARGET, {})
            with pytest.raises(BasetenResponseError, match="more than 1,000 bytes"):
                asyncio.run(predict_async(hook))

    @pytest.mark.parametrize("value", ["1 GB", "0", "-1", "1e9", "\u0661\u0660", "9" * 30])
    def test_wrong_value(self, monkeypatch, value):
        monkeypatch.setenv("AIRFLOW__BASETEN__MAX_RESPONSE_BYTES", value)
        monkeypatch.setenv("AIRFLOW_CONN_BASETEN_DEFAULT", '{"conn_type": "baseten", "password": "k.s"}')
        with pytest.raises(BasetenInputError, match="max_response_bytes"):
            BasetenHook().predict(Target(model_id="abc"), {})
