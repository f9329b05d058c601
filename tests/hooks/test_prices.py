"""Price of a Model API for the usage of a task that has ended."""

import json
import socket
import threading

import pytest

from airflow_provider_baseten.api.prices import ModelPrice
from airflow_provider_baseten.hooks import prices
from tests.scripted_server import ScriptedServer, answer

BODY = json.dumps(
    {"name": "org/Chat-1", "cost_per_million_input_tokens": 1, "cost_per_million_output_tokens": 2}
).encode()


@pytest.fixture
def connect_to(connect):
    return lambda server: connect(host=server.url, password="abcd1234.s3cr3t")


def test_price(connect_to):
    with ScriptedServer(answer(200, BODY)) as server:
        connect_to(server)
        assert prices.known_price("baseten_default", "org/Chat-1") == ModelPrice(1, 2)


@pytest.mark.parametrize("behaviour", [answer(500), answer(200, b"[]"), answer(200, b"{}")])
def test_price_that_is_not_known(connect_to, behaviour):
    with ScriptedServer(behaviour) as server:
        connect_to(server)
        assert prices.known_price("baseten_default", "org/Chat-1") is None


def test_server_that_sends_byte_by_byte_is_not_waited_for(connect_to, monkeypatch):
    """Each byte comes within the timeout of a read, and the response never ends."""
    monkeypatch.setattr(prices, "_TIMEOUT", 0.5)
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
        while not ended.wait(0.05):
            connection.sendall(b" ")

    with ScriptedServer(drip) as server:
        connect_to(server)
        watchdog = threading.Timer(20, ended.set)
        watchdog.start()
        try:
            assert prices.known_price("baseten_default", "org/Chat-1") is None
            assert not ended.is_set()
        finally:
            watchdog.cancel()
            ended.set()
