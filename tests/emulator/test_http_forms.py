"""Requests in the forms that other people's HTTP clients give them."""

import gzip
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator

BODY = b'{"a": 1}'
ANSWER = b'{"got": {"a": 1}}'
PATH = b"/model-m/environments/production/predict"
LENGTH = b"Content-Length: 8"
HOST = b"Host: 127.0.0.1"
CHUNKS = b'4\r\n{"a"\r\n4;x=1\r\n: 1}\r\n0\r\nX-Trailer: 1\r\n\r\n'


def stream(_: Any) -> Iterator[str]:
    yield '{"got": '
    yield '{"a": 1}}'


@pytest.fixture(scope="module")
def baseten() -> Iterator[Emulator]:
    with Emulator({"m": lambda model_input: {"got": model_input}, "s": stream}) as baseten:
        yield baseten


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "uvicorn.error")


def post(*headers: bytes, target: bytes = PATH, version: bytes = b"1.1", body: bytes = BODY) -> bytes:
    return b"\r\n".join([b"POST " + target + b" HTTP/" + version, *headers, b"", body])


def exchange(baseten: Emulator, request: bytes, then: bytes = b"") -> bytes:
    """Send a request, wait for the interim answer if there is more to send, and return the last answer."""
    with socket.create_connection(("127.0.0.1", int(baseten.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request)
        file = connection.makefile("rb")
        if then:
            assert file.readline() + file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(then)
        head = b"".join(iter(file.readline, b"\r\n"))
        length = next(
            (line.split()[1] for line in head.splitlines() if line.lower().startswith(b"content-length")), None
        )
        return head + b"\r\n" + (file.read() if length is None else file.read(int(length)))


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


@pytest.mark.parametrize(
    "request_",
    {
        "h2c, as Java offers it": post(HOST, *UPGRADE, LENGTH),
        "h2c, in chunks": post(HOST, *UPGRADE, b"Transfer-Encoding: chunked", body=CHUNKS),
        "another protocol": post(HOST, b"Connection: keep-alive, upgrade", b"Upgrade: TLS/1.0, foo", LENGTH),
        "websocket": post(HOST, b"Connection: Upgrade", b"Upgrade: websocket", LENGTH),
        "upgrade without Connection": post(HOST, b"Upgrade: h2c", LENGTH),
        "chunks with extensions and trailers": post(HOST, b"Transfer-Encoding: chunked", body=CHUNKS),
        "HTTP/1.0": post(LENGTH, version=b"1.0"),
        "HTTP/1.0 that stays": post(b"Connection: keep-alive", LENGTH, version=b"1.0"),
        "HTTP/1.0 and a stream": post(LENGTH, version=b"1.0", target=PATH.replace(b"-m", b"-s")),
        "absolute": post(HOST, LENGTH, target=b"http://127.0.0.1:8700" + PATH + b"?a=1"),
        "absolute, host of a model": post(HOST, LENGTH, target=b"HTTP://model-m.api.baseten.co/production/predict"),
        "names in upper case": post(HOST.upper(), LENGTH.upper()),
        "names in lower case": post(HOST.lower(), LENGTH.lower()),
        "large header": post(HOST, b"X-Large: " + b"x" * 100_000, LENGTH),
        "header beyond ASCII": post(HOST, b"X-Name: caf\xc3\xa9", LENGTH),
        "length and chunks": post(HOST, LENGTH, b"Transfer-Encoding: chunked", body=CHUNKS),
        "line feeds": post(HOST, LENGTH).replace(b"\r", b""),
    }.items(),
    ids=lambda item: item[0],
)
def test_the_model_gets_the_body(baseten: Emulator, request_: tuple[str, bytes]) -> None:
    answer = exchange(baseten, request_[1])
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(ANSWER)


def test_expect_100_continue(baseten: Emulator) -> None:
    answer = exchange(baseten, post(HOST, b"Expect: 100-continue", LENGTH, body=b""), then=BODY)
    assert answer.endswith(ANSWER)


def test_what_is_refused_needs_no_body(baseten: Emulator) -> None:
    length = b"Content-Length: 200000000"
    answer = exchange(baseten, post(HOST, b"Expect: 100-continue", length, body=b""))
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        # Without its end: a head that arrives whole in one piece is not measured.
        (post(HOST, b"X-Large: " + b"x" * 300_000, body=b"").removesuffix(b"\r\n\r\n"), 400),
        (post(LENGTH), 400),
        (post(HOST, b"Transfer-Encoding: gzip, chunked"), 400),
        (post(HOST, LENGTH, b"Content-Length: 9"), 400),
        (post(HOST, b"Content-Length: -1"), 400),
        (post(HOST, b"Content-Length: " + b"9" * 5000), 400),
        (post(HOST, b"Content-Length: 99999999999999999999"), 413),
        (post(HOST, b"Content-Length: 4"), 400),
        (post(HOST, LENGTH, target=b"*"), 404),
        (post(HOST, LENGTH, target=b"http://"), 404),
        (post(HOST, LENGTH, target=b"/%ff%00"), 404),
        (post(HOST, LENGTH, target=PATH + b"\xc3\xa9"), 400),
    ],
)
def test_what_is_refused(baseten: Emulator, request_: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", int(baseten.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request_)
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 %d" % status)


def test_compressed_bodies_are_not_unpacked(baseten: Emulator) -> None:
    """Truss takes them for JSON; a small one can't become a large one."""
    body = gzip.compress(b"[" + b"0," * 10_000_000 + b"0]")
    length = b"Content-Length: %d" % len(body)
    answer = exchange(baseten, post(HOST, b"Content-Encoding: gzip", length, body=body))
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"UnicodeDecodeError" in answer
