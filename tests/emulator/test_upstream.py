"""Forwarding to a real server on a socket, here one that a test can script to the byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model, Upstream
from tests.ports import closed_port


class Recorder(BaseHTTPRequestHandler):
    """Answers with what it got."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.seen.append((self.command, self.path, self.headers, body))  # type: ignore[attr-defined]
        content = b"" if self.command == "HEAD" else body.upper()
        self.send_response(207, "Odd")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "X-Private")
        self.send_header("X-Private", "between these two")
        self.send_header("Keep-Alive", "timeout=1")
        self.send_header("X-Public", "1")
        self.send_header("X-Public", "2")
        self.send_header("X-Baseten-Request-Id", "of the container")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.daemon_threads = True
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def baseten(recorder: ThreadingHTTPServer) -> Iterator[Emulator]:
    url = f"http://127.0.0.1:{recorder.server_port}"
    models = {"m": Upstream(url), "p": Model(Upstream(f"{url}/base/"), predict_path="/v1/complete")}
    with Emulator(models, {"c": Upstream(url)}, api_key="K") as baseten:
        yield baseten


@pytest.fixture
def client(baseten: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=baseten.url, headers={"Authorization": "Bearer K"}) as client:
        yield client


@contextmanager
def scripted(talk: Callable[[socket.socket], None]) -> Iterator[Emulator]:
    """An emulator in front of a server that does with each connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                talk(connection)

        served = pool.submit(serve)
        with Emulator({"m": Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}")}) as baseten:
            yield baseten
        served.result(10)


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    return received


@pytest.mark.parametrize(
    ("path", "arrives_at"),
    [
        ("/model-m/production/predict", "/v1/models/model:predict"),
        ("/chain-c/production/run_remote", "/v1/models/model:predict"),
        ("/model-p/production/predict", "/base/v1/complete"),
        ("/model-m/production/sync/v1/a%2Fb/?q=1%202&q=", "/v1/a%2Fb/?q=1%202&q="),
        ("/model-p/development/sync/rerank", "/base/rerank"),
        ("/model-m/production/sync", "/"),
    ],
)
def test_where_a_request_arrives(
    client: httpx.Client, recorder: ThreadingHTTPServer, path: str, arrives_at: str
) -> None:
    answer = client.post(path, content=b"body")
    assert (answer.status_code, answer.content) == (207, b"BODY")
    assert recorder.seen[0][:2] == ("POST", arrives_at)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_methods(client: httpx.Client, recorder: ThreadingHTTPServer, method: str) -> None:
    answer = client.request(method, "/model-m/production/sync/x")
    assert (answer.status_code, answer.content) == (207, b"")
    assert recorder.seen[0][0] == method  # type: ignore[attr-defined]


def test_headers_of_the_request(client: httpx.Client, recorder: ThreadingHTTPServer) -> None:
    headers = {"Connection": "X-Hop", "X-Hop": "1", "X-Own": "1", "Content-Type": "text/odd", "Accept": "x/y"}
    answer = client.post("/model-m/production/predict", content=b"b", headers=headers)
    _, _, seen, _ = recorder.seen[0]  # type: ignore[attr-defined]
    assert (seen["X-Own"], seen["Content-Type"], seen["Accept"]) == ("1", "text/odd", "x/y")
    assert (seen["Host"], seen["X-Hop"], seen["Authorization"]) == (
        f"127.0.0.1:{recorder.server_port}",
        None,
        None,
    )
    assert seen["X-Baseten-Request-Id"] == answer.headers["x-baseten-request-id"]


def test_headers_of_the_answer(client: httpx.Client) -> None:
    headers = client.get("/model-m/production/sync/x").headers
    assert headers.get_list("x-public") == ["1", "2"]
    assert not {"x-private", "keep-alive"} & set(headers)
    assert len(headers.get_list("date")) == 1
    assert headers.get_list("x-baseten-request-id") != ["of the container"]


@pytest.mark.parametrize("chunked", [False, True])
def test_body_keeps_its_framing(client: httpx.Client, recorder: ThreadingHTTPServer, chunked: bool) -> None:
    body = b"0123456789" * 100_000
    answer = client.post("/model-m/production/predict", content=iter([body]) if chunked else body)
    _, _, seen, arrived = recorder.seen[0]  # type: ignore[attr-defined]
    assert (arrived, answer.content) == (body, body)
    assert seen["Content-Length"] == (None if chunked else str(len(body)))


def test_streams_both_ways() -> None:
    """The server sees a request's beginning before its end is sent, and the client an answer's."""
    seen = threading.Event()
    proceed = threading.Event()

    def talk(connection: socket.socket) -> None:
        said = read_request(connection)
        while b"begin" not in said:
            said += connection.recv(65536)
        seen.set()
        while not said.endswith(b"0\r\n\r\n"):
            said += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert proceed.wait(10)
        connection.sendall(b"3\r\nbye\r\n0\r\n\r\n")

    def upload() -> Iterator[bytes]:
        yield b"begin"
        assert seen.wait(10)
        yield b"end"

    with (
        scripted(talk) as baseten,
        httpx.stream("POST", f"{baseten.url}/model-m/production/sync/talk", content=upload(), timeout=10) as answer,
    ):
        pieces = answer.iter_text()
        assert next(pieces) == "hello"
        proceed.set()
        assert "".join(pieces) == "bye"


def test_nobody_listens() -> None:
    with closed_port() as port, Emulator({"m": Upstream(f"http://127.0.0.1:{port}")}) as baseten:
        answer = httpx.post(f"{baseten.url}/model-m/production/predict", json={})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "model_unavailable")


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 2", b"not http at all\r\n\r\n"])
def test_server_that_dies_before_it_answers(reply: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    with scripted(talk) as baseten:
        answer = httpx.post(f"{baseten.url}/model-m/production/predict", json={})
    assert (answer.status_code, answer.json()["error"]) == (502, "Error making prediction")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nbegun", b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n"]
)
def test_server_that_dies_while_it_answers(framing: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing)

    with scripted(talk) as baseten, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{baseten.url}/model-m/production/predict", json={})


def test_client_that_leaves_ends_the_request_behind() -> None:
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        if connection.recv(65536) == b"":
            ended.set()

    with scripted(talk) as baseten:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{baseten.url}/model-m/production/sync/wait", timeout=httpx.Timeout(10, read=0.2))
        assert ended.wait(10)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9000", "ftp://h", "http://", "http://h?q=1", "http://h/#f", "http://h:port", ""]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(EmulatorError, match="is not a URL such as"):
        Upstream(url)
