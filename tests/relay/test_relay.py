"""The relay: each delivery of the queue is stored once, refused, or stays where it is."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from base64 import b64encode

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.arrivals import Arrivals
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook import relay
from airflow_provider_baseten.webhook.relay import round_pause
from airflow_provider_baseten.webhook.relay_queue import QueuedDelivery, RelayQueue
from tests.webhook.deliveries import OLD_SECRET, SECRET, SECRET_OUTPUT, body, connection, signature

HOUR = 3600.0


def counts(result):
    return result.stored, result.refused, result.kept.total()


def stored(store):
    return [name.removesuffix(".json") for name in ResultStore(store).names()]


def entry(content, *, conn_id="prod", arrived=None, **fields):
    """A file as the function writes it."""
    given = {
        "conn_id": conn_id,
        "signature": signature(content),
        "request_id": None,
        "arrived": time.time() if arrived is None else arrived,
        "body": b64encode(content).decode(),
    }
    return json.dumps(given | fields).encode()


def test_a_delivery_is_stored_and_deleted_from_the_queue(bucket, send, make_relay, store, caplog):
    caplog.set_level("INFO", "airflow_provider_baseten")
    content = body("r1") + b" \n"
    assert send(content, X_BASETEN_REQUEST_ID="r1") == 200
    assert counts(make_relay(bucket.uri("queue")).run_round()) == (1, 0, 0)
    assert ResultStore(store).read("r1.json") == content
    assert Deliveries(ResultStore(store)).load("r1").output() == {"text": SECRET_OUTPUT}
    assert bucket.keys("") == []
    assert "async request r1 for connection prod was stored" in caplog.text
    assert "1 stored, 0 refused" in caplog.text
    for secret in (SECRET, SECRET_OUTPUT):
        assert secret not in caplog.text


def test_copies_are_stored_once(bucket, send, make_relay, store):
    content = body("r1")
    relay = make_relay(bucket.uri("queue"))
    send(content)
    send(content)
    assert counts(relay.run_round()) == (1, 0, 0)
    send(content)
    send(body("r1", data="another one"))
    assert counts(relay.run_round()) == (2, 0, 0)
    assert ResultStore(store).read("r1.json") == content
    assert bucket.keys("") == []


@pytest.mark.parametrize(
    ("content", "signed_with", "conn_id", "headers"),
    [
        pytest.param(body("r1"), "whsec_another", "prod", {}, id="forged"),
        pytest.param(body("r1"), SECRET, "unknown", {}, id="unknown connection"),
        pytest.param(body("r1", age=HOUR), SECRET, "prod", {}, id="replayed"),
        pytest.param(body("r1", time=None), SECRET, "prod", {}, id="without a time"),
        pytest.param(body("../r1"), SECRET, "prod", {}, id="a path as id"),
        pytest.param(b"no JSON", SECRET, "prod", {}, id="not a delivery"),
        pytest.param(body("r1"), SECRET, "prod", {"X_BASETEN_REQUEST_ID": "r2"}, id="two ids"),
    ],
)
def test_what_the_receiver_refuses_is_moved_aside(
    bucket, send, make_relay, store, caplog, content, signed_with, conn_id, headers
):
    assert send(content, signed_with, conn_id=conn_id, **headers) == 200
    (key,) = bucket.keys()
    file = bucket.read(key)
    assert counts(make_relay(bucket.uri("queue")).run_round()) == (0, 1, 0)
    name = key.removeprefix("queue/")
    assert bucket.keys("") == [f"queue/refused/{name}"]
    assert bucket.read(f"queue/refused/{name}") == file
    assert stored(store) == []
    assert name in caplog.text
    for hidden in (SECRET, SECRET_OUTPUT, "../r1"):
        assert hidden not in caplog.text


def test_a_connection_without_secrets_keeps_deliveries(bucket, send, make_relay):
    send(body("r1"))
    known = {"prod": connection("", webhook_secrets=())}
    assert make_relay(bucket.uri("queue"), known.get).run_round().kept == {"connection prod has no webhook_secrets": 1}


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({}, "There is no Baseten connection prod here."),
        ({"prod": connection("", webhook_secrets=(OLD_SECRET,))}, "The signature is not valid for connection prod."),
    ],
)
def test_the_log_says_what_is_wrong_with_the_connection(bucket, send, make_relay, caplog, known, reason):
    send(body("r1"))
    assert counts(make_relay(bucket.uri("queue"), known.get).run_round()) == (0, 1, 0)
    assert reason in caplog.text


def test_a_copy_of_an_old_result_that_is_still_stored_changes_nothing(bucket, send, make_relay, store):
    Deliveries(ResultStore(store)).save("r1", body("r1"))
    first = ResultStore(store).read("r1.json")
    send(body("r1", age=HOUR))
    assert counts(make_relay(bucket.uri("queue")).run_round()) == (1, 0, 0)
    assert (ResultStore(store).read("r1.json"), bucket.keys("")) == (first, [])


class TestTime:
    """The time of arrival counts, not that of the relay."""

    def test_a_delivery_that_waited_is_stored_and_an_old_copy_is_not(self, make_relay, store, tmp_path):
        queue = tmp_path / "queue"
        queue.mkdir()
        for name, arrived in {"waited": time.time() - HOUR, "replayed": time.time()}.items():
            (queue / f"{name}.json").write_bytes(entry(body(name, age=HOUR), arrived=arrived))
        assert counts(make_relay(queue).run_round()) == (1, 1, 0)
        assert stored(store) == ["waited"]
        assert (queue / "refused" / "replayed.json").exists()


def test_after_a_wrong_secret_was_repaired_refused_deliveries_can_be_moved_back(bucket, make_relay, store):
    known = {"prod": connection(store, webhook_secrets=(OLD_SECRET,))}
    bucket.put("queue/r1.json", entry(body("r1", age=HOUR), arrived=time.time() - HOUR))
    assert counts(make_relay(bucket.uri("queue"), known.get).run_round()) == (0, 1, 0)
    (key,) = bucket.keys()
    bucket.move(key, key.replace("refused/", ""))
    known["prod"] = connection(store)
    assert counts(make_relay(bucket.uri("queue"), known.get).run_round()) == (1, 0, 0)
    assert (stored(store), bucket.keys("")) == (["r1"], [])


class TestOtherFileSystems:
    """File systems without buckets, such as SFTP. The one of the test holds its files in memory."""

    class Folders(MemoryFileSystem):
        cachable = False

        def cp_file(self, path1, path2, **kwargs):
            if not self.isdir(self._parent(path2)):
                raise FileNotFoundError(path2)
            super().cp_file(path1, path2, **kwargs)

    @pytest.fixture
    def uri(self):
        from airflow.sdk.io import attach

        fs = self.Folders()
        attach("memory", conn_id="of_the_relay", fs=fs)
        fs.makedirs("/share/team", exist_ok=True)
        yield "memory://of_the_relay@share/team"
        fs.rm("/share", recursive=True)

    def test_stores_and_refuses(self, make_relay, store, uri):
        queue = RelayQueue(f"{uri}/queue")
        queue.check()
        fs = MemoryFileSystem()
        fs.pipe("/share/team/queue/good.json", entry(body("r1")))
        fs.pipe("/share/team/queue/garbage.json", b"{")
        queue.check()
        assert counts(make_relay(queue.uri).run_round()) == (1, 1, 0)
        assert stored(store) == ["r1"]
        assert fs.find("/share") == ["/share/team/queue/refused/garbage.json"]

    def test_a_folder_that_does_not_exist(self, uri):
        with pytest.raises(BasetenResultStoreError, match="There is no folder /share/taem: check the queue's URI"):
            RelayQueue(f"{uri.replace('team', 'taem')}/queue").check()


@pytest.mark.parametrize("kind", ["local", "bucket", "memory"])
def test_a_refusal_is_counted_and_logged_by_the_relay_that_moved_the_file(
    make_relay, bucket, tmp_path, monkeypatch, caplog, kind
):
    from airflow.sdk.io import attach

    fs = MemoryFileSystem()
    attach("memory", conn_id="of_two_relays", fs=fs)
    bucket.put("queue/garbage.json", b"{")
    (tmp_path / "garbage.json").write_bytes(b"{")
    fs.pipe("/two/garbage.json", b"{")
    uri = {"local": tmp_path, "bucket": bucket.uri("queue"), "memory": "memory://of_two_relays@two"}[kind]
    mover, other = make_relay(uri), make_relay(uri)
    parse = QueuedDelivery.parse
    results = []

    def parsed(content):
        monkeypatch.setattr(QueuedDelivery, "parse", parse)
        results.append(other.run_round())  # After this relay has read the file, and before it moves it.
        return parse(content)

    monkeypatch.setattr(QueuedDelivery, "parse", parsed)
    results.append(mover.run_round())
    fs.rm("/two", recursive=True)
    assert sum(result.refused for result in results) == 1
    assert caplog.text.count("was moved to the folder") == 1


class TestOutage:
    def test_of_a_store(self, bucket, send, make_relay, store, tmp_path):
        in_the_way = tmp_path / "down"
        in_the_way.write_text("")
        known = {"prod": connection(f"file://{in_the_way}"), "other": connection(store)}
        for number in range(3):
            send(body(f"r{number}"))
        send(body("another"), conn_id="other")
        relay = make_relay(bucket.uri("queue"), known.get)
        result = relay.run_round()
        assert counts(result) == (1, 0, 3)
        assert [*result.kept] == [
            "the result store of connection prod fails (BasetenResultStoreError from NotADirectoryError)"
        ]
        assert (stored(store), len(bucket.keys(""))) == (["another"], 3)
        in_the_way.unlink()
        assert counts(relay.run_round()) == (3, 0, 0)
        assert stored(known["prod"].result_store) == ["r0", "r1", "r2"]

    def test_of_the_connections(self, bucket, send, make_relay, store):
        is_down = True

        def lookup(conn_id):
            if is_down:
                raise ConnectionError("postgresql://user:password@host")
            return connection(store)

        send(body("r1"))
        relay = make_relay(bucket.uri("queue"), lookup)
        assert [*relay.run_round().kept] == ["the lookup of connections fails (ConnectionError)"]
        is_down = False
        assert counts(relay.run_round()) == (1, 0, 0)

    def test_does_not_hold_all_deliveries_in_memory(self, make_relay, store, tmp_path):
        (tmp_path / "down").write_text("")
        queue = tmp_path / "queue"
        queue.mkdir()
        for number in range(200):
            (queue / f"{number}.json").write_bytes(entry(body(f"r{number}", data="x" * 250_000)))
        relay = make_relay(queue, {"prod": connection(f"file://{tmp_path}/down")}.get)
        tracemalloc.start()
        try:
            assert relay.run_round().kept.total() == 200
            assert tracemalloc.get_traced_memory()[1] < 60e6
        finally:
            tracemalloc.stop()

    def test_a_problem_names_a_file_and_the_next_step(self, make_relay, monkeypatch, tmp_path):
        for number in range(100):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))

        def read(self, entry):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(RelayQueue, "read", read)
        result = make_relay(tmp_path).run_round()
        (line,) = map(result.describe, result.kept)
        assert re.fullmatch(
            r"the queue fails \(PermissionError\) for 100 files, the first of which is \d+\.json: check that this "
            "process may read, write and delete files in the queue",
            line,
        )

    def test_of_the_lookup_does_not_take_its_time_for_each_delivery(self, make_relay, tmp_path):
        lookups = []

        def lookup(conn_id):
            lookups.append(conn_id)
            raise OSError

        for number in range(100):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        relay = make_relay(tmp_path, lookup)
        assert relay.run_round().kept == {"the lookup of connections fails (OSError)": 100}
        assert 1 <= len(lookups) <= 16

    def test_of_the_lookup_has_one_reason_for_all_ids_of_strangers(self, make_relay, tmp_path):
        def lookup(conn_id):
            raise OSError

        for number in range(20):
            (tmp_path / f"{number}.json").write_bytes(entry(body(), conn_id=f"forged{number}"))
        assert make_relay(tmp_path, lookup).run_round().kept == {"the lookup of connections fails (OSError)": 20}

    def test_of_the_queue(self, bucket, make_relay):
        with pytest.raises(BasetenResultStoreError, match=r"The queue .* could not be read"):
            make_relay("gopher://hole/queue").run_round()
        with pytest.raises(BasetenResultStoreError, match="There is no bucket no-such-bucket: check the queue's URI"):
            RelayQueue("s3://aws_default@no-such-bucket/queue").check()
        RelayQueue(bucket.uri("queue")).check()

    def test_is_logged_once(self, bucket, send, make_relay, store, tmp_path, caplog, monkeypatch):
        caplog.set_level("INFO", "airflow_provider_baseten")
        (tmp_path / "down").write_text("")
        known = {"prod": connection(f"file://{tmp_path}/down")}
        send(body("r1"))
        relay = make_relay(bucket.uri("queue"), known.get)
        rounds = 0

        def wait(seconds):
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                known["prod"] = connection(store)
            if rounds == 5:
                relay.stop()

        monkeypatch.setattr(relay._stopped, "wait", wait)
        relay.run(1.0)
        assert caplog.text.count("stay in the queue: the result store of connection prod fails") == 1
        assert caplog.text.count("The last round had no error any more") == 1
        assert stored(store) == ["r1"]

    def test_pause(self):
        assert [round_pause(failures, 5.0) for failures in (0, 1, 2, 3, 99)] == [5, 10, 20, 30, 30]
        assert round_pause(3, 60.0) == 60.0


# The process is killed when it is about to delete a file of the queue.
KILLED = """
import os, signal
from airflow_provider_baseten.cli.__main__ import main
from airflow_provider_baseten.webhook.relay_queue import QueuedDelivery, RelayQueue

RelayQueue.remove = lambda self, entry: os.kill(os.getpid(), signal.SIGKILL)
main(["relay", "--queue", "{queue}", "--once"])
"""


def test_killed_between_store_and_delete(bucket, send, make_relay, store):
    content = body("r1")
    send(content)
    extra = {"webhook_secrets": SECRET, "result_store": store}
    known = {"AIRFLOW_CONN_PROD": json.dumps({"conn_type": "baseten", "password": "k", "extra": extra})}
    script = KILLED.format(queue=bucket.uri("queue"))
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | known, check=False, timeout=120)
    assert done.returncode == -9
    assert (stored(store), len(bucket.keys())) == (["r1"], 1)
    assert counts(make_relay(bucket.uri("queue")).run_round()) == (1, 0, 0)
    assert (ResultStore(store).read("r1.json"), bucket.keys("")) == (content, [])


def test_two_relays_on_one_queue(bucket, send, make_relay, store):
    names = sorted(f"r{number}" for number in range(40))
    for name in names:
        send(body(name))
    for number in range(5):
        send(body(f"forged{number}"), OLD_SECRET)
    relays = [make_relay(bucket.uri("queue")) for _ in range(2)]
    results = []
    threads = [threading.Thread(target=lambda relay=relay: results.append(relay.run_round())) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.kept.total() for result in results) == 0
    assert stored(store) == names
    assert len(bucket.keys("")) == len(bucket.keys("queue/refused/")) == 5


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\x00",
        b"[" * 100_000,
        b"[]",
        b"null",
        b"{}",
        entry(b"{}", body="no base64!"),
        entry(b"{}", body=7),
        entry(b"{}", conn_id=None),
        entry(b"{}", conn_id="a\nb"),
        entry(b"{}", signature=[]),
        entry(b"{}", request_id={}),
        entry(b"{}", arrived="yesterday"),
        entry(b"{}", arrived=float("nan")),
    ],
)
def test_garbage_does_not_stop_the_others(make_relay, store, tmp_path, garbage):
    queue = tmp_path / "queue"
    queue.mkdir()
    (queue / "garbage.json").write_bytes(garbage)
    (queue / "good.json").write_bytes(entry(body("r1")))
    assert counts(make_relay(queue).run_round()) == (1, 1, 0)
    assert stored(store) == ["r1"]
    assert [file.name for file in queue.rglob("*.json")] == ["garbage.json"]


def test_what_is_no_delivery_stays_in_an_object_store(bucket, send, make_relay):
    bucket.put("queue/", b"")  # What the console makes for an empty folder.
    bucket.put("queue/README", b"The queue of Airflow.")
    bucket.put("queue/garbage.json", b"{")
    send(body("r1"))
    assert counts(make_relay(bucket.uri("queue")).run_round()) == (1, 1, 0)
    assert bucket.keys("") == ["queue/", "queue/README", "queue/refused/garbage.json"]


def test_the_queue_may_be_a_whole_bucket(bucket, send, make_relay, monkeypatch):
    monkeypatch.setenv("PREFIX", "")
    send(body("r1"))
    send(body("r2"), OLD_SECRET)
    assert counts(make_relay(f"s3://aws_default@{bucket.name}").run_round()) == (1, 1, 0)
    assert [key.rpartition("/")[0] for key in bucket.keys("")] == ["refused"]


@pytest.mark.parametrize("folder", ["team[1]", "team*", "te?m"])
def test_a_folder_with_characters_of_patterns(bucket, make_relay, folder):
    bucket.put(f"{folder}/garbage*.json", b"{")
    bucket.put(f"{folder}/garbage1.json", b"{")
    bucket.put(f"{folder}/good.json", entry(body("r1")))
    assert counts(make_relay(bucket.uri(folder)).run_round()) == (1, 2, 0)
    assert bucket.keys("") == [f"{folder}/refused/garbage*.json", f"{folder}/refused/garbage1.json"]


def test_an_entry_that_is_too_large_is_not_read(bucket, make_relay, monkeypatch, caplog):
    bucket.put("queue/large.json", b" " * 100_000)
    bucket.put("queue/largest.json", entry(body("r1", data="x" * 60_000)))
    read = []
    monkeypatch.setattr(relay.RelayQueue, "read", lambda self, entry: read.append(entry))
    assert counts(make_relay(bucket.uri("queue"), max_body_bytes=50_000).run_round()) == (0, 2, 0)
    assert read == []
    assert "more than 74,858 bytes" in caplog.text


@pytest.mark.parametrize("uri", ["{folder}/queue", "file://{folder}/queue"])
def test_a_queue_that_does_not_exist_yet_is_empty(make_relay, tmp_path, uri):
    assert counts(make_relay(uri.format(folder=tmp_path)).run_round()) == (0, 0, 0)


class TestEvents:
    def test_a_delivery_to_events_is_noted_for_its_trigger(self, bucket, send, make_relay, store):
        assert send(body("r1"), conn_id="prod/events") == 200
        assert send(body("r2")) == 200
        assert counts(make_relay(bucket.uri("queue")).run_round()) == (2, 0, 0)
        assert Arrivals(ResultStore(store), "prod").ids() == ["r1"]
        assert sorted(stored(store)) == ["r1", "r2"]

    def test_a_copy_sent_to_the_other_path_is_another_file(self, bucket, send):
        content = body("r1")
        assert [send(content, conn_id=path) for path in ("prod", "prod/events", "prod/events")] == [200] * 3
        assert len(bucket.keys()) == 2

    def test_a_file_of_an_earlier_version_of_the_function_is_no_event(self, tmp_path, make_relay, store):
        (tmp_path / "queue").mkdir()
        (tmp_path / "queue" / "1.json").write_bytes(entry(body("r1")))
        assert counts(make_relay(tmp_path / "queue").run_round()) == (1, 0, 0)
        assert Arrivals(ResultStore(store), "prod").ids() == []
