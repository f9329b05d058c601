"""A Baseten with chat models, and connections of type `pydanticai_baseten` to it."""

import json

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.chat_server import ChatServer
from tests.openai.conftest import llm_url  # noqa: F401

KEY = "abcd1234.s3cr3t"
SLUG = "org/Chat-1"
UNPRICED = "org/Chat-2"


@pytest.fixture
def server():
    """Answers with `hello`; a test gives it other answers."""
    return ChatServer(lambda body: "hello")


@pytest.fixture
def connect_llm(monkeypatch):
    """Define an Airflow connection of type pydanticai_baseten for one test; what has no field of its own is extra."""

    def define(conn_id="llm", *, host=None, password=KEY, **extra):
        fields = {"conn_type": "pydanticai_baseten", "host": host, "password": password, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return define


@pytest.fixture
def baseten(server, connect_llm):
    with Emulator(
        models={"chat": server},
        model_apis={SLUG: server, UNPRICED: server},
        model_prices={SLUG: (0.5, 2)},
        api_key=KEY,
        api_keys={"invoke.key": "WORKSPACE_INVOKE"},
    ) as emulator:
        connect_llm(host=emulator.url, model=SLUG)
        yield emulator


@pytest.fixture
def sent(baseten):
    """The paths of the requests so far."""

    def paths():
        return [request.path for request in baseten.requests]

    return paths
