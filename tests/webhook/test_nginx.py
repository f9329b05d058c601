"""The receiver behind nginx, which ends TLS: as its own server, and in Airflow's API server."""

import asyncio
import json
import os
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_baseten.emulator import AsyncRequest, Emulator
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from tests.ports import closed_port
from tests.webhook.deliveries import NOWHERE, OLD_SECRET, SECRET, SECRET_OUTPUT, body, signature
from tests.webhook.nginx import Nginx, nginx
from tests.webhook.test_standalone import Standalone
from tools.airflow_api import wait_until
from tools.airflow_stack import Service, free_port

pytestmark = pytest.mark.processes

PATH = "/baseten/webhooks/baseten_default"
LIMIT = 64 * 1024 * 1024
# Addresses of this machine.
HERE, THERE = "127.0.0.1", "127.0.0.2"


def post(server: Nginx, content: Any, *, path: str = PATH, source: str = HERE, **headers: str) -> httpx.Response:
    signed = content if isinstance(content, bytes) else b"".join(content)
    given = {"X-BASETEN-SIGNATURE": signature(signed)} | headers
    with client(server, source) as session:
        return session.post(f"{server.url}{path}", content=content, headers=given)


def client(server: Nginx, source: str = HERE) -> httpx.Client:
    trusted = ssl.create_default_context(cafile=str(server.certificate))
    return httpx.Client(transport=httpx.HTTPTransport(verify=trusted, local_address=source), timeout=60)


def ask(server: Nginx, path: str) -> int:
    """Send a GET of a path as it is, and return the status."""
    address = urlsplit(server.url)
    trusted = ssl.create_default_context(cafile=str(server.certificate))
    with (
        socket.create_connection((address.hostname, address.port), timeout=10) as connection,
        trusted.wrap_socket(connection, server_hostname=address.hostname) as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return int(tls.recv(65536).split()[1])


def deliver_by_emulator(server: Nginx, path: str, monkeypatch: pytest.MonkeyPatch) -> AsyncRequest:
    """Let the emulator deliver a result over HTTPS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    with Emulator({"m": str.upper}, webhook_secrets=(OLD_SECRET, SECRET)) as baseten:
        body = {"model_input": "hello", "webhook_endpoint": f"{server.url}{path}"}
        answer = httpx.post(f"{baseten.url}/model-m/production/async_predict", json=body, trust_env=False)
        request = baseten.async_requests[answer.json()["request_id"]]
        wait_until(lambda: request.settled_at is not None, 30, "the delivery", every=0.01)
        return request


class TestStandalone:
    @pytest.fixture
    def store(self, tmp_path: Path) -> ResultStore:
        return ResultStore(f"file://{tmp_path}/results")

    @pytest.fixture
    def receiver(self, tmp_path: Path, store: ResultStore) -> Iterator[int]:
        """Port of the receiver."""
        started = Standalone(tmp_path, "--result-store", store.uri, BASETEN_WEBHOOK_SECRETS=SECRET)
        yield urlsplit(started.url).port or 0
        started.end()

    @pytest.fixture
    def server(self, tmp_path: Path, receiver: int) -> Iterator[Nginx]:
        with nginx(tmp_path, receiver) as server:
            yield server

    def test_the_emulator_delivers(self, server, store, monkeypatch):
        request = deliver_by_emulator(server, PATH, monkeypatch)
        assert (request.status, [attempt.status for attempt in request.webhook_attempts]) == ("SUCCEEDED", [200])
        assert Deliveries(store).load(request.request_id).output() == "HELLO"

    def test_a_body_arrives_unchanged_whole_or_in_chunks(self, server, store):
        whole = body("r1", data={"text": "Grüße \u2028"}) + b" \r\n"
        assert post(server, whole).status_code == 200
        chunked = body("r2", data="x" * 100_000)
        parts = [chunked[at : at + 7000] for at in range(0, len(chunked), 7000)]
        with client(server) as session:
            headers = {"X-BASETEN-SIGNATURE": signature(chunked)}
            answer = session.post(f"{server.url}{PATH}", content=iter(parts), headers=headers)
        assert (answer.status_code, answer.request.headers["transfer-encoding"]) == (200, "chunked")
        assert (store.read("r1.json"), store.read("r2.json")) == (whole, chunked)
        assert post(server, whole, **{"X-BASETEN-SIGNATURE": signature(whole, OLD_SECRET)}).status_code == 401

    def test_limit_of_the_body(self, server, store):
        largest = body("r1")
        largest += b" " * (LIMIT - len(largest))
        # On a busy machine the receiver may respond with 503; Baseten sends again too.
        wait_until(lambda: post(server, largest).status_code == 200, 60, "the largest body to be stored")
        assert store.read("r1.json") == largest
        assert post(server, body("r2") + b" " * LIMIT).status_code == 413
        assert store.names() == ["r1.json"]

    def test_nothing_else_gets_through(self, server):
        assert ask(server, PATH) == 405  # The receiver's own response.
        paths = ("/", "/api/v2/version", "/baseten/health", "/baseten/", "/ui", "/execution/", "//api/v2/version")
        around = ("../../api/v2/version", "%2e%2e/%2e%2e/api/v2/version", "..%2f..%2fapi/v2/version", "../health")
        for path in (*paths, *(f"/baseten/webhooks/{path}" for path in around)):
            assert ask(server, path) == 404, path

    def test_a_receiver_that_is_down_is_tried_again_by_baseten(self, tmp_path):
        with closed_port() as port, nginx(tmp_path, port) as server:  # After a 502 Baseten sends again.
            assert post(server, body("r1")).status_code == 502

    def test_a_delivery_goes_to_the_next_server_of_several(self, tmp_path, receiver, store):
        working = f"server 127.0.0.1:{receiver};"
        with closed_port() as port:
            both = f"server 127.0.0.1:{port};\n    {working}"
            with nginx(tmp_path, receiver, {working: both}) as server:
                assert {post(server, body(f"r{number}")).status_code for number in range(4)} == {200}
        assert len(store.names()) == 4

    def test_one_address_does_not_use_up_the_rate_of_another(self, tmp_path, receiver, store):
        async def flood(server: Nginx) -> Counter[int]:
            trusted = ssl.create_default_context(cafile=str(server.certificate))
            transport = httpx.AsyncHTTPTransport(verify=trusted, local_address=THERE)
            async with httpx.AsyncClient(transport=transport, timeout=60) as session:
                answers = await asyncio.gather(*(session.post(f"{server.url}{PATH}") for _ in range(80)))
            return Counter(answer.status_code for answer in answers)

        with nginx(tmp_path, receiver, {"rate=200r/s": "rate=5r/s", "burst=1000": "burst=10"}) as server:
            statuses = asyncio.run(flood(server))
            assert {*statuses} == {401, 503}
            assert statuses[503] > statuses[401]
            assert post(server, body("r1")).status_code == 200
            assert post(server, body("r2"), source=THERE).status_code in {200, 503}
        assert "r1.json" in store.names()


class TestApiServer:
    """With a path in ``[api] base_url``."""

    PATH = "/airflow/baseten/webhooks/in_database"

    @pytest.fixture
    def api_server(self, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
        port = free_port()
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/airflow")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
        program = str(Path(sys.executable).parent / "airflow")
        command = [program, "api-server", "--host", "127.0.0.1", "--port", str(port), "--proxy-headers"]
        with Service("API server", command, tmp_path / "log" / "api-server.log", env=os.environ) as service:
            service.port = port
            service.wait_for_http(f"http://127.0.0.1:{port}/airflow/baseten/health", 120)
            yield service

    def test_deliveries(self, database_connection, api_server, tmp_path, monkeypatch):
        database_connection(SECRET)
        store = ResultStore(f"file://{tmp_path}/results")
        own = {"location /baseten/webhooks/ {": "location /airflow/baseten/webhooks/ {"}
        with nginx(tmp_path, api_server.port, own) as server:
            request = deliver_by_emulator(server, self.PATH, monkeypatch)
            assert (request.status, [attempt.status for attempt in request.webhook_attempts]) == ("SUCCEEDED", [200])
            assert Deliveries(store).load(request.request_id).output() == "HELLO"

            large = body("large", data="x" * 4_000_000)
            assert post(server, large, path=self.PATH).status_code == 200
            assert store.read("large.json") == large
            assert post(server, body("too_large") + b" " * LIMIT, path=self.PATH).status_code == 413
            assert post(server, body("r1"), path=self.PATH, **{"X-BASETEN-SIGNATURE": "v1=0"}).status_code == 401

            with httpx.Client(trust_env=False) as direct:
                version = direct.get(f"http://127.0.0.1:{api_server.port}/airflow/api/v2/version")
            assert "version" in json.loads(version.text)
            for path in ("/airflow/api/v2/version", "/airflow/", "/airflow/baseten/health", "/airflow/execution/"):
                assert ask(server, path) == 404, path
            for path in ("../../api/v2/version", "%2e%2e/%2e%2e/api/v2/version", "..%2f..%2fapi/v2/version"):
                assert ask(server, f"/airflow/baseten/webhooks/{path}") == 404, path

            # The API server sees the address of the sender, and not what the sender claims.
            claimed = {"X-Forwarded-For": "203.0.113.9"}
            assert post(server, body("r2"), path=self.PATH, source=THERE, **claimed).status_code == 200
            wait_until(lambda: THERE in api_server.log.read_text(), 10, "the address in the log")
        log = api_server.log.read_text()
        for hidden in ("203.0.113.9", SECRET, SECRET_OUTPUT):
            assert hidden not in log
