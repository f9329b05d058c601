"""Strangers who hold connections open, or send all they can: signed deliveries get through."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest
import uvicorn

from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.buffer import Body, Buffer, choose_victim, peer_of
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.guard import Guard
from tests.webhook.deliveries import SECRET, body, connection, signature
from tests.webhook.test_standalone import Standalone
from tools.airflow_api import wait_until

pytestmark = pytest.mark.processes

PATH = "/baseten/webhooks/baseten_default"
FORGED = f"x-baseten-signature: v1={'0' * 64}\r\n"
MIB = 1024 * 1024


@pytest.fixture
def receiver(tmp_path):
    started = Standalone(
        tmp_path,
        *("--result-store", f"file://{tmp_path}/results"),
        BASETEN_WEBHOOK_SECRETS=SECRET,
        AIRFLOW__BASETEN__WEBHOOK_SPOOL=str(tmp_path / "spool"),
    )
    yield started
    started.end()


def connected(url: str, source: str = "127.0.0.1") -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20, source_address=(source, 0))


def deliver(url: str, name: str, *, source: str = "127.0.0.1", attempts: int = 1, size: int = 0) -> int:
    """Deliver as Baseten does: ten seconds for each attempt, and a second one after two seconds."""
    content = body(name, data="x" * size)
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx-baseten-signature: {signature(content)}\r\n"
    status = 0
    for attempt in range(attempts):
        if attempt:
            time.sleep(2)
        with suppress(OSError), connected(url, source) as server:
            server.settimeout(10)
            server.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
            status = int(server.recv(65536).split()[1])
        if status == 200:
            break
    return status


@contextmanager
def flood(url: str, source: str, *, senders: int, size: int):
    """Send bodies of that size with forged signatures, one after the other, and of each all but the last byte."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\n{FORGED}content-length: {size}\r\n\r\n".encode()
    chunk = bytes(MIB)
    stop = threading.Event()
    sent = [0] * senders

    def send(number: int) -> None:
        while not stop.is_set():
            with suppress(OSError), connected(url, source) as server:
                server.sendall(head)
                for start in range(0, size, MIB):
                    if stop.is_set():
                        return
                    server.sendall(chunk[: size - 1 - start])
                    sent[number] += 1
                server.settimeout(0.1)
                while not stop.is_set():
                    with suppress(TimeoutError):
                        server.recv(65536)
                        break

    with ThreadPoolExecutor(senders) as threads:
        for number in range(senders):
            threads.submit(send, number)
        try:
            wait_until(lambda: sum(sent) * MIB >= 4 * size, 60, "more to be sent than may be in memory")
            yield sent
        finally:
            stop.set()


@pytest.mark.parametrize("number", [300, 900])
@pytest.mark.parametrize("start", ["", "POST /baseten/web", f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx-slow: "])
def test_half_sent_headers_hold_up_nobody(receiver, tmp_path, number, start):
    with ExitStack() as strangers:
        for _ in range(number):
            stranger = strangers.enter_context(connected(receiver.url, "127.0.0.2"))
            stranger.sendall(start.encode())
        began = time.monotonic()
        assert deliver(receiver.url, "r1") == 200
        assert time.monotonic() - began < 5
    assert Deliveries(ResultStore(f"file://{tmp_path}/results")).delivered(["r1"])


def test_half_sent_bodies_hold_up_nobody(receiver):
    with ExitStack() as strangers:
        for _ in range(300):
            stranger = strangers.enter_context(connected(receiver.url, "127.0.0.2"))
            stranger.sendall(f"POST {PATH} HTTP/1.1\r\nhost: a\r\n{FORGED}content-length: 1000000\r\n\r\n{{".encode())
        began = time.monotonic()
        assert deliver(receiver.url, "r1") == 200
        assert time.monotonic() - began < 5
        assert stranger.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.1"], ids=["another peer", "the same peer"])
def test_a_flood_crowds_out_no_signed_delivery(receiver, tmp_path, source):
    names = [f"r{number}" for number in range(20)]
    attempts = 1 if source == "127.0.0.2" else 2
    with flood(receiver.url, source, senders=4, size=64 * MIB):
        statuses = [deliver(receiver.url, name, attempts=attempts, size=100_000) for name in names]
    assert statuses == [200] * 20
    assert Deliveries(ResultStore(f"file://{tmp_path}/results")).delivered(names) == set(names)


class TestGuard:
    @contextmanager
    def serving(self, tmp_path, **limits):
        app = create_app(
            Connections({"baseten_default": connection(f"file://{tmp_path}/results")}.get), prefix="/baseten"
        )
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", headers=[("connection", "close")])
        config.load()
        config.http_protocol_class = Guard(**limits).protocol(config.http_protocol_class)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_until(lambda: server.started, 20, "the receiver to listen", every=0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()

    def test_closes_what_takes_too_long(self, tmp_path):
        with self.serving(tmp_path, seconds=0.5, most=500) as url, ExitStack() as strangers:
            waiting = [strangers.enter_context(connected(url)) for _ in range(50)]
            for number, stranger in enumerate(waiting):
                stranger.sendall(b"POST / HTTP/1.1\r\nx: "[: number % 20])
            for stranger in waiting:
                with suppress(ConnectionResetError):
                    assert stranger.recv(100) == b""
            assert deliver(url, "r1") == 200

    def test_beyond_the_limit_the_oldest_of_the_crowd_goes(self, tmp_path):
        with self.serving(tmp_path, seconds=30, most=10) as url, ExitStack() as connections:
            quiet = connections.enter_context(connected(url, "127.0.0.3"))
            crowd = [connections.enter_context(connected(url, "127.0.0.2")) for _ in range(10)]
            with suppress(ConnectionResetError):
                assert crowd[0].recv(100) == b""
            for still_there in (quiet, crowd[9]):
                still_there.sendall(b"GET /baseten/health HTTP/1.1\r\nhost: a\r\n\r\n")
                assert still_there.recv(100).startswith(b"HTTP/1.1 200 ")

    def test_an_answered_connection_counts_no_longer(self, tmp_path):
        with self.serving(tmp_path, seconds=30, most=2) as url:
            assert [deliver(url, f"r{number}") for number in range(10)] == [200] * 10

    def test_a_transport_without_an_address(self):
        class Unnamed(asyncio.Transport):
            def get_extra_info(self, name, default=None):
                return default

        async def admit():
            Guard(seconds=1, most=1).admit(Unnamed())

        asyncio.run(admit())


class TestBuffer:
    def bodies(self, **sizes):
        made = []
        for name, size in sizes.items():
            made.append(Body(name[0], len(made), bytearray(size)))
        return dict(zip(sizes, made, strict=True))

    def test_the_largest_of_the_peer_with_the_most(self):
        bodies = self.bodies(a1=5, a2=6, b1=9)
        assert choose_victim(bodies.values()) is bodies["a2"]

    def test_the_newest_of_equals(self):
        bodies = self.bodies(a1=5, a2=5, b1=5)
        assert choose_victim(bodies.values()) is bodies["a2"]

    def test_never_what_has_arrived_whole(self):
        bodies = self.bodies(a1=5, b1=2)
        bodies["a1"].is_open = False
        assert choose_victim(bodies.values()) is bodies["b1"]
        bodies["b1"].is_open = False
        assert choose_victim(bodies.values()) is None

    def test_what_is_verified_does_not_count_against_its_peer(self):
        bodies = self.bodies(a1=50, a2=1, b1=2)
        bodies["a1"].is_open = False
        bodies["a1"].mark_verified()
        assert choose_victim(bodies.values()) is bodies["b1"]

    def test_memory_stays_below_the_limit(self):
        buffer = Buffer(total=100, peer_share=60)
        with ExitStack() as stack:
            bodies = [stack.enter_context(buffer.body(f"10.0.0.{number % 3}")) for number in range(30)]
            for round_ in range(1000):
                body = bodies[round_ * 7 % 30]
                buffer.add(body, b"x" * (round_ % 11))
                sizes = {}
                for other in bodies:
                    sizes[other.peer] = sizes.get(other.peer, 0) + len(other.content)
                assert sum(sizes.values()) <= 100
                assert max(sizes.values()) <= 60

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("2001:db8::1", "2001:db8::ffff:2", True),
            ("2001:db8::1", "2001:db8:1::1", False),
            ("10.0.0.1", "10.0.0.2", False),
            (None, "", True),
            ("testclient", "testclient", True),
        ],
    )
    def test_peers(self, one, other, same):
        assert (peer_of(one) == peer_of(other)) is same
