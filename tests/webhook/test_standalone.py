"""``python -m airflow_provider_baseten.webhook`` as a process of its own, reached through a socket."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from airflow_provider_baseten.storage.arrivals import Arrivals
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.__main__ import main
from tests.webhook.deliveries import HEALTHY, NOWHERE, OLD_SECRET, SECRET, SECRET_OUTPUT, body, signature
from tools.airflow_api import loopback_session

pytestmark = pytest.mark.processes

COMMAND = (sys.executable, "-m", "airflow_provider_baseten.webhook")


class Standalone:
    """A receiver that listens, and can be ended."""

    def __init__(self, folder, *options, **environment):
        self.log = folder / "receiver.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", "0", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"NO_PROXY": "127.0.0.1", "HTTPS_PROXY": NOWHERE} | environment,
            )
        for line in self.process.stdout:
            if found := re.search(r"http://\S+/webhooks/[^\s;]+", line):
                self.url = found[0]
                return
        raise AssertionError(self.log.read_text())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def deliver(self, content, *secrets, url=None):
        headers = {"X-BASETEN-SIGNATURE": signature(content, *secrets)}
        return loopback_session().post(url or self.url, data=content, headers=headers, timeout=10)

    def talk(self, request: bytes) -> bytes:
        """Send bytes as they are, and return the answer."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def standalone(tmp_path):
    started = Standalone(
        tmp_path,
        *("--result-store", f"file://{tmp_path}/results"),
        BASETEN_WEBHOOK_SECRETS=f"{SECRET}, {OLD_SECRET}",
    )
    yield started
    started.end()


def test_deliveries_through_a_socket(standalone, tmp_path):
    content = body("r1")
    assert urlsplit(standalone.url).path == "/baseten/webhooks/baseten_default"
    assert standalone.deliver(content, SECRET).status_code == 200
    assert standalone.deliver(content, OLD_SECRET).status_code == 200
    assert Deliveries(ResultStore(f"file://{tmp_path}/results")).load("r1").output() == {"text": SECRET_OUTPUT}
    assert standalone.deliver(content, "whsec_other").status_code == 401
    assert standalone.deliver(content, SECRET, url=standalone.url.replace("_default", "_other")).status_code == 401
    health = loopback_session().get(standalone.url.replace("webhooks/baseten_default", "health"), timeout=10)
    assert (health.status_code, health.json()) == (200, HEALTHY)
    assert "uvicorn" not in health.headers.get("server", "")

    assert standalone.end() == 0
    log = standalone.log.read_text()
    assert "r1" in log
    for secret in (SECRET, OLD_SECRET, SECRET_OUTPUT, str(tmp_path), "Traceback"):
        assert secret not in log


def test_a_delivery_to_events_is_noted(standalone, tmp_path):
    assert standalone.deliver(body("r1"), url=f"{standalone.url}/events").status_code == 200
    assert standalone.deliver(body("r2")).status_code == 200
    store = ResultStore(f"file://{tmp_path}/results")
    assert Deliveries(store).delivered(["r1", "r2"]) == {"r1", "r2"}
    assert Arrivals(store, "baseten_default").ids() == ["r1"]


def test_what_no_http_client_would_send(standalone, tmp_path):
    path = "/baseten/webhooks/baseten_default"
    content = body("r1")
    signed = f"x-baseten-signature: {signature(content)}\r\n"
    right_length = f"content-length: {len(content)}\r\n"
    requests = {
        "path with dots": (f"POST {path}/../../../r1 HTTP/1.1\r\nhost: a\r\n{signed}{right_length}\r\n", b"404"),
        "encoded dots": (
            f"POST /baseten/webhooks/%2e%2e%2fetc HTTP/1.1\r\nhost: a\r\n{signed}{right_length}\r\n",
            b"404",
        ),
        "too long": (f"POST {path} HTTP/1.1\r\nhost: a\r\n{signed}content-length: {10**12}\r\n\r\n", b"413"),
        "cut off": (f"POST {path} HTTP/1.1\r\nhost: a\r\n{signed}content-length: 9999\r\n\r\n", b""),
        "not a length": (f"POST {path} HTTP/1.1\r\nhost: a\r\n{signed}content-length: -5\r\n\r\n", b"400"),
        "two lengths": (f"POST {path} HTTP/1.1\r\nhost: a\r\n{signed}{right_length}content-length: 1\r\n\r\n", b"400"),
        "bad chunk": (f"POST {path} HTTP/1.1\r\nhost: a\r\n{signed}transfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        "no HTTP": ("\0\1\2\3\r\n\r\n", b"400"),
        "websocket": (
            f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            b"40",
        ),
    }
    for what, (head, status) in requests.items():
        answer = standalone.talk(head.encode() + content)
        assert answer.startswith(b"HTTP/1.1 " + status) or not (status or answer), (what, answer[:200])
        assert not answer.startswith(b"HTTP/1.1 5"), (what, answer[:200])
    assert not list(tmp_path.rglob("*.json"))
    assert standalone.deliver(content, SECRET).status_code == 200


def test_secrets_of_an_airflow_connection(tmp_path):
    store = f"file://{tmp_path}/of-the-connection"
    extra = {"webhook_secrets": SECRET, "result_store": store}
    connection = {"conn_type": "baseten", "password": "k", "extra": extra}
    receiver = Standalone(tmp_path, "--conn-id", "mine", AIRFLOW_CONN_MINE=json.dumps(connection))
    try:
        assert receiver.deliver(body("r1"), SECRET).status_code == 200
        assert receiver.deliver(body("r1"), OLD_SECRET).status_code == 401
    finally:
        assert receiver.end(signal.SIGINT) == 0
    assert Deliveries(ResultStore(store)).delivered(["r1"])


def test_secrets_in_airflows_database(tmp_path, database_connection):
    database_connection(SECRET)
    receiver = Standalone(tmp_path, "--conn-id", "in_database", BASETEN_WEBHOOK_SECRETS="")
    try:
        assert receiver.deliver(body("r1"), SECRET).status_code == 200
    finally:
        assert receiver.end() == 0
    assert Deliveries(ResultStore(f"file://{tmp_path}/results")).delivered(["r1"])


# The signal comes just before uvicorn begins to wait for one.
EARLY_SIGNAL = """
import os, signal, uvicorn
from airflow_provider_baseten.webhook.__main__ import main

def run(server, sockets, run=uvicorn.Server.run):
    os.kill(os.getpid(), signal.{name})
    run(server, sockets)

uvicorn.Server.run = run
raise SystemExit(main())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_it_starts_ends_it(tmp_path, name):
    script = EARLY_SIGNAL.format(name=name)
    options = ("--port", "0", "--result-store", f"file://{tmp_path}/results")
    environment = os.environ | {"HTTPS_PROXY": NOWHERE, "BASETEN_WEBHOOK_SECRETS": SECRET}
    done = subprocess.run([sys.executable, "-c", script, *options], env=environment, check=False, timeout=60)
    assert done.returncode == 0


def test_help_says_where_secrets_come_from(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "BASETEN_WEBHOOK_SECRETS" in text
    assert "/baseten/webhooks/CONN_ID" in text


class TestRefusesToStart:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch):
        monkeypatch.setenv("BASETEN_WEBHOOK_SECRETS", SECRET)
        monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")

    def refusal(self, capsys, *options):
        assert main(options) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert SECRET not in told
        return told

    def test_without_secrets(self, capsys, monkeypatch):
        for value in ("", " , "):
            monkeypatch.setenv("BASETEN_WEBHOOK_SECRETS", value)
            assert "set BASETEN_WEBHOOK_SECRETS, or add webhook_secrets" in self.refusal(capsys)

    def test_store_in_the_place_of_a_file(self, capsys, tmp_path):
        (tmp_path / "file").write_text("")
        told = self.refusal(capsys, "--result-store", f"file://{tmp_path}/file/results")
        assert f"{tmp_path}/file/results" in told

    def test_store_of_an_unknown_kind(self, capsys):
        assert "gopher://hole" in self.refusal(capsys, "--result-store", "gopher://hole/results")

    def test_port_in_use(self, capsys, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            told = self.refusal(capsys, "--port", str(port), "--result-store", f"file://{tmp_path}/results")
        assert f"Port {port} of 127.0.0.1 can't be used" in told

    @pytest.mark.parametrize("port", ["70000", "-1"])
    def test_no_port(self, capsys, tmp_path, port):
        told = self.refusal(capsys, "--port", port, "--result-store", f"file://{tmp_path}/results")
        assert told.endswith(f": Port {port} is not a number from 0 to 65535.\n")
