"""Deliveries to /events: they are noted for the trigger that starts DAGs, once, and all others are not."""

import pytest

from airflow_provider_baseten.storage.arrivals import Arrivals
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.spool import Spool
from tests.webhook.deliveries import OLD_SECRET, SECRET_OUTPUT, body, connection, signature
from tools.airflow_api import wait_until

EVENTS = "prod/events"


@pytest.fixture
def store(tmp_path):
    return ResultStore(f"file://{tmp_path}/in")


@pytest.fixture
def sender(receive, store):
    return receive({"prod": connection(store.uri), "other": connection(store.uri)})


def noted(store, conn_id="prod"):
    return Arrivals(store, conn_id).ids()


def test_a_delivery_is_stored_and_noted_for_its_connection_only(sender, store):
    answer = sender.deliver(body("r1"), conn_id=EVENTS)
    assert (answer.status_code, answer.json()) == (200, {"request_id": "r1"})
    assert Deliveries(store).load("r1").output() == {"text": SECRET_OUTPUT}
    assert (noted(store), noted(store, "other")) == (["r1"], [])
    (arrival,) = Arrivals(store, "prod").load(["r1"])
    assert (arrival.request_id, arrival.status) == ("r1", "SUCCEEDED")


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"data": None, "errors": [{"code": "E", "message": "no"}]}, "FAILED"), ({"data": None, "errors": None}, None)],
)
def test_the_note_names_the_status(sender, store, fields, status):
    sender.deliver(body("r1", **fields), conn_id=EVENTS)
    assert [arrival.status for arrival in Arrivals(store, "prod").load(["r1"])] == [status]


def test_notes_hold_no_output(sender, tmp_path):
    sender.deliver(body("r1"), conn_id=EVENTS)
    (note,) = (tmp_path / "in" / "arrivals").rglob("r1")
    assert SECRET_OUTPUT not in note.read_text()


def test_a_delivery_for_a_task_is_not_noted(sender, store):
    assert sender.deliver(body("r1")).status_code == 200
    assert noted(store) == []


def test_a_copy_is_not_noted_again(sender, store):
    sender.deliver(body("r1"), conn_id=EVENTS)
    Arrivals(store, "prod").remove("r1")
    assert sender.deliver(body("r1"), conn_id=EVENTS).status_code == 200
    assert noted(store) == []


def test_a_forged_delivery_and_a_test_delivery_are_not_noted(sender, store):
    content = body("r1")
    assert sender.deliver(content, conn_id=EVENTS, signed=signature(content, OLD_SECRET)).status_code == 401
    assert sender.deliver(body("airflow-check-1"), conn_id=EVENTS).status_code == 200
    assert noted(store) == []


def test_a_note_without_its_result_is_no_arrival(store, monkeypatch):
    def fail(*args):
        raise OSError("the receiver dies")

    with monkeypatch.context() as patch:
        patch.setattr(Deliveries, "save", fail)
        with pytest.raises(OSError, match="dies"):
            Arrivals(store, "prod").save("r1", body("r1"))
    assert Arrivals(store, "prod").load(noted(store)) == []
    Arrivals(store, "prod").save("r1", body("r1"))  # Baseten repeats the delivery.
    assert [arrival.request_id for arrival in Arrivals(store, "prod").load(noted(store))] == ["r1"]


def test_a_spooled_delivery_is_noted_when_it_is_stored(receive, bucket, tmp_path):
    spool = Spool(tmp_path / "spool")
    sender = receive({"prod": connection(bucket.uri)}, spool=spool)
    bucket.read_only = True
    assert sender.deliver(body("r1"), conn_id=EVENTS).status_code == 200
    assert sender.deliver(body("r2")).status_code == 200
    bucket.read_only = False
    sender.app.state.start()
    store = ResultStore(bucket.uri)
    wait_until(lambda: len(Deliveries(store).delivered(["r1", "r2"])) == 2, 20, "the results", every=0.02)
    assert noted(store) == ["r1"]


def test_a_delivery_that_could_not_be_checked_is_noted_later(receive, looks_often, store, tmp_path):
    known = {}

    def lookup(conn_id):
        if not known:
            raise ConnectionError("the database is down")
        return known[conn_id]

    sender = receive(lookup, spool=Spool(tmp_path / "spool"))
    assert sender.deliver(body("r1"), conn_id=EVENTS).status_code == 200
    known["prod"] = connection(store.uri)
    sender.app.state.start()
    wait_until(lambda: noted(store) == ["r1"], 20, "the note", every=0.02)


def test_connections_with_awkward_ids_have_folders_of_their_own(store):
    for conn_id in ("..", "a/b", "ü"):
        Arrivals(store, conn_id).save("r1" + str(len(conn_id)) + conn_id[0].encode().hex(), body("x"))
        assert len(noted(store, conn_id)) == 1
