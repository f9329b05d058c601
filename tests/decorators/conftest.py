"""Models behind the emulator, and the receiver of their webhooks."""

import pytest

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.waiting import state
from tests.receiver import receiver

KEY = "abcd1234.s3cr3t"
SECRET = "whsec_test"


@pytest.fixture
def baseten(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "GRACE", 1.0)
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.2")
    store = f"file://{tmp_path}/store"
    known = BasetenConnection(
        conn_id="baseten_default", api_key=KEY, management_api_key=KEY, webhook_secrets=(SECRET,), result_store=store
    )
    models = {"echo": lambda model_input: model_input, "length": lambda model_input: [len(model_input["text"])]}
    chains = {"chain": lambda inputs: inputs["a"] + inputs["b"]}
    with (
        receiver({"baseten_default": known}.get) as receiver_url,
        Emulator(models=models, chains=chains, api_key=KEY, webhook_secrets=[SECRET]) as emulator,
    ):
        endpoint = f"{receiver_url}/webhooks/baseten_default"
        extra = {"result_store": store, "webhook_endpoint": endpoint, "webhook_secrets": [SECRET]}
        connect(host=emulator.url, password=KEY, extra=extra)
        yield emulator
        emulator.release()
