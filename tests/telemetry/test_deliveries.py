"""Counts of deliveries: each that the receiver or the relay gets, and what became of it."""

import json
import time
from base64 import b64encode
from collections import Counter

import pytest

from airflow_provider_baseten.storage.files import create
from airflow_provider_baseten.webhook import app
from airflow_provider_baseten.webhook.clock import DeliveryClock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.relay import Relay
from airflow_provider_baseten.webhook.relay_queue import RelayQueue
from airflow_provider_baseten.webhook.spool import Spool
from tests.webhook.deliveries import NOWHERE, Sender, body, connection, signature
from tools.airflow_api import wait_until

HOUR = 3600.0


@pytest.fixture
def store(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def receiver(store, tmp_path):
    known = {"prod": connection(f"file://{store}", base_url=NOWHERE)}
    made = app.create_app(
        Connections(known.get, seconds=0), spool=Spool(tmp_path / "spool"), max_body_bytes=5000, clock=DeliveryClock()
    )
    sender = Sender(made)
    yield sender
    sender.close()


def counted(sent, via):
    assert {(method, value) for method, _, value, _ in sent} <= {("incr", 1)}
    assert {tags["via"] for *_, tags in sent} <= {via}
    return Counter(name.removeprefix("baseten.deliveries.") for _, name, _, _ in sent)


def test_stored_and_delivered_again(receiver, sent):
    receiver.deliver(body("r1"))
    receiver.deliver(body("r1"))
    receiver.deliver(body("r2"))
    assert counted(sent, "receiver") == {"stored": 2, "duplicate": 1}


@pytest.mark.parametrize(
    ("content", "options", "outcome"),
    [
        (body("r1"), {"signed": "v1=" + "0" * 64}, "refused_signature"),
        (body("r1"), {"conn_id": "unknown"}, "refused_signature"),
        (b"{}", {}, "refused_invalid"),
        (body("r1", data="x" * 6000), {}, "refused_size"),
    ],
)
def test_refused(content, options, outcome, receiver, sent):
    receiver.deliver(content, **options)
    assert counted(sent, "receiver") == {outcome: 1}


def test_held(receiver, sent):
    assert receiver.deliver(body("r1", age=HOUR)).status_code == 403
    assert counted(sent, "receiver") == {"held": 1, "refused_time": 1}


def test_spooled_and_stored_later(receiver, store, sent):
    store.write_text("no folder")
    receiver.deliver(body("r1"))
    assert counted(sent, "receiver") == {"spooled": 1}
    store.unlink()
    wait_until(lambda: len(sent) == 2, 30, "the delivery to be stored", every=0.05)
    assert counted(sent, "receiver") == {"spooled": 1, "stored": 1}


def test_the_relay(store, tmp_path, sent):
    def entry(content, signed):
        fields = {"conn_id": "prod", "signature": signed, "request_id": None, "arrived": time.time()}
        return json.dumps(fields | {"body": b64encode(content).decode()}).encode()

    queue = tmp_path / "queue"
    for number, content in enumerate([body("r1"), body("r2"), body("r1")]):
        create(f"{queue}/{number}.json", entry(content, signature(content)))
    create(f"{queue}/forged.json", entry(body("r3"), "v1=" + "0" * 64))
    known = {"prod": connection(f"file://{store}")}
    Relay(RelayQueue(str(queue)), Connections(known.get, seconds=0), tolerance=300.0, max_body_bytes=5000).run_round()
    counts = counted(sent, "relay")
    assert counts.pop("refused_signature") == 1
    assert counts.total() == 3
    assert counts["stored"] >= 2
