"""Results that can't be stored at once: they are spooled, and stored later, each of them once."""

import json
import os
import signal
import stat
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook import drain
from airflow_provider_baseten.webhook.clock import DeliveryClock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.drain import Drain, pause_after
from airflow_provider_baseten.webhook.spool import DeliveryKind, DeliveryMetadata, Spool
from tests.webhook.deliveries import OLD_SECRET, SECRET, SECRET_OUTPUT, body, connection, signature
from tests.webhook.test_standalone import Standalone
from tools.airflow_api import wait_until

MIB = 1024 * 1024


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "home" / "baseten" / "spool")


def files(spool: Spool) -> list[str]:
    return sorted(file.name for file in spool.folder.iterdir()) if spool.folder.exists() else []


def until_empty(spool: Spool) -> None:
    wait_until(lambda: not files(spool), 20, "the spool to be empty", every=0.02)


@contextmanager
def draining(spool: Spool, lookup, number: int = 1):
    """Several drains of one folder, as several processes have."""
    drains = [Drain(Spool(spool.folder), Connections(lookup, seconds=0), DeliveryClock()) for _ in range(number)]
    for started in drains:
        started.wake()
    try:
        yield
    finally:
        for started in drains:
            started.stop()


class TestAStoreThatFails:
    def test_read_only_and_back(self, receive, bucket, spool):
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        content = body("r1")
        answer = sender.deliver(content)
        assert (answer.status_code, answer.json()) == (200, {"request_id": "r1"})
        assert sender.health() == {"status": "ok", "clock": "ok", "spooled": 1, "held": 0}
        assert not Deliveries(ResultStore(bucket.uri)).delivered(["r1"])
        bucket.read_only = False
        until_empty(spool)
        assert bucket.cat("/bucket/results/r1.json") == content
        wait_until(lambda: sender.health()["spooled"] == 0, 5, "health to say so")

    def test_hangs_and_comes_back(self, receive, bucket, spool, tmp_path):
        """Deliveries for other connections are stored meanwhile, and all of them are answered in time."""
        other = ResultStore(f"file://{tmp_path}/other")
        sender = receive({"prod": connection(bucket.uri), "other": connection(other.uri)}, spool=spool, timeout=2.0)
        bucket.hangs.set()
        names = [f"r{number}" for number in range(40)]
        answers = sender.all(*(sender.adeliver(body(name)) for name in names))
        assert [answer.status_code for answer in answers] == [200] * 40
        assert len(files(spool)) == 40
        assert sender.deliver(body("r1"), conn_id="other").status_code == 200
        wait_until(lambda: Deliveries(other).delivered(["r1"]), 10, "the other connection's result")
        bucket.hangs.clear()
        bucket.go_on.set()
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).delivered(names) == set(names)

    def test_is_logged_once(self, receive, bucket, spool, monkeypatch, caplog):
        attempts = []
        save = Deliveries.save
        monkeypatch.setattr(drain, "pause_after", lambda failures: 0.01)
        monkeypatch.setattr(Deliveries, "save", lambda *arguments: attempts.append(arguments) or save(*arguments))
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        assert sender.deliver(body("r1")).status_code == 200
        wait_until(lambda: len(attempts) > 5, 20, "attempts to store the result")
        bucket.read_only = False
        until_empty(spool)
        assert caplog.text.count("can't be stored yet") == 1

    def test_each_kind_of_failure(self, receive, spool, tmp_path):
        """A file in the way of the folder, an unknown scheme, a connection that the URI names and nobody has."""
        (tmp_path / "file").write_text("")
        uris = [f"file://{tmp_path}/file/results", "gopher://hole/results", "s3://nobody@bucket/results"]
        sender = receive({f"c{number}": connection(uri) for number, uri in enumerate(uris)}, spool=spool)
        for number in range(len(uris)):
            assert sender.deliver(body("r1"), conn_id=f"c{number}").status_code == 200
        assert len(files(spool)) == 3

    def test_the_spool_holds_no_secret_and_is_its_owners_alone(self, receive, bucket, spool):
        old = os.umask(0)
        try:
            sender = receive({"prod": connection(bucket.uri)}, spool=spool)
            bucket.read_only = True
            assert sender.deliver(body("r1")).status_code == 200
        finally:
            os.umask(old)
        (file,) = spool.folder.iterdir()
        assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        first, content = file.read_bytes().split(b"\n", 1)
        assert json.loads(content)["request_id"] == "r1"
        metadata = json.loads(first)
        assert (metadata["conn_id"], metadata["request_id"], metadata["signature"]) == ("prod", "r1", "")
        assert SECRET.encode() not in file.read_bytes()
        assert SECRET_OUTPUT not in file.name

    def test_only_what_is_authentic_is_spooled(self, receive, bucket, spool):
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        forged = [
            sender.deliver(body(), signed=signature(body(data="other"))),
            sender.deliver(body(), signed=None),
            sender.deliver(body(), conn_id="other"),
            sender.deliver(body("../r1")),
            sender.deliver(b"{"),
            sender.deliver(body(time=None)),
        ]
        assert [answer.status_code for answer in forged] == [401, 401, 401, 400, 400, 403]
        assert files(spool) == []

    def test_the_first_of_two_stays(self, receive, bucket, spool):
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        for data in (1, 2):
            assert sender.deliver(body("r1", data=data)).status_code == 200
        assert len(files(spool)) == 1
        bucket.read_only = False
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).load("r1").output() == 1

    def test_what_was_stored_meanwhile_stays(self, receive, bucket, spool):
        spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r1"), body("r1", data="spooled"))
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        assert sender.deliver(body("r1", data="stored")).status_code == 200
        sender.app.state.start()
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).load("r1").output() == "stored"

    def test_without_signatures(self, receive, bucket, spool):
        unsigned = connection(bucket.uri, webhook_secrets=(), allow_unsigned_webhooks=True)
        sender = receive({"prod": unsigned}, spool=spool)
        bucket.read_only = True
        assert sender.deliver(body("r1"), signed=None).status_code == 200
        assert [name.partition(".")[2] for name in files(spool)] == ["unsigned"]
        bucket.read_only = False
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).delivered(["r1"])

    def test_no_spool_either(self, receive, bucket, spool, caplog):
        spool.folder.parent.mkdir(parents=True)
        spool.folder.write_text("a file in its place")
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        assert sender.deliver(body("r1")).status_code == 503
        assert "neither stored" in caplog.text
        assert sender.health() == {"status": "degraded", "clock": "ok", "spooled": None, "held": None}
        bucket.read_only = False
        assert sender.deliver(body("r1")).status_code == 200


class TestBounds:
    def test_a_full_spool_is_503_and_takes_again_when_it_is_drained(self, receive, bucket, tmp_path):
        spool = Spool(tmp_path / "spool", quotas={DeliveryKind.SIGNED: 20_000})
        sender = receive({"prod": connection(bucket.uri)}, spool=spool)
        bucket.read_only = True
        statuses = [sender.deliver(body(f"r{number}", data="x" * 5000)).status_code for number in range(4)]
        assert statuses == [200, 200, 503, 503]
        bucket.read_only = False
        until_empty(spool)
        bucket.read_only = True
        assert sender.deliver(body("r9", data="x" * 5000)).status_code == 200

    def test_many_small_ones_count_as_blocks_of_the_disk(self, tmp_path):
        spool = Spool(tmp_path / "spool", quotas={DeliveryKind.SIGNED: 10 * 4096})
        for number in range(10):
            spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id=f"r{number}"), b"{}")
        with pytest.raises(BasetenResultStoreError, match="is full of signed deliveries"):
            spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r10"), b"{}")

    def test_what_other_processes_spool_counts(self, tmp_path):
        quotas = {DeliveryKind.SIGNED: 4 * 4096}
        for number in range(4):
            Spool(tmp_path / "spool", quotas=quotas).add(
                DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id=f"r{number}"), b"{}"
            )
        with pytest.raises(BasetenResultStoreError):
            Spool(tmp_path / "spool", quotas=quotas).add(
                DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r4"), b"{}"
            )

    def test_strangers_take_neither_the_space_of_signed_ones_nor_that_of_each_other(self, spool):
        def unverified(peer, number):
            metadata = DeliveryMetadata(conn_id="prod", signature=f"v1={number:064x}")
            spool.add(DeliveryKind.UNVERIFIED, metadata, b"x" * (4 * MIB), peer=peer)

        for number in range(7):
            unverified("stranger", number)
        with pytest.raises(BasetenResultStoreError):
            unverified("stranger", 8)
        for peer in ("a", "b", "c"):
            for number in range(7):
                unverified(peer, number)
        for number in range(3):
            unverified("d", number)
        with pytest.raises(BasetenResultStoreError):
            unverified("d", 3)
        spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r1"), b"x" * MIB)

    def test_pauses_grow_but_stay_shorter_than_the_grace_of_a_waiting_task(self):
        assert [pause_after(failures) for failures in (0, 1, 2, 3, 4, 10_000)] == [0.5, 1, 2, 4, 5, 5]


class TestALookupThatFails:
    """A delivery for a connection that was never seen can't be checked until the lookup works again."""

    @pytest.fixture
    def database(self, bucket):
        class Database:
            down = True

            def __call__(self, conn_id):
                if self.down:
                    raise OSError("no database at db.internal")
                return connection(bucket.uri) if conn_id == "prod" else None

        return Database()

    @pytest.mark.usefixtures("looks_often")
    def test_the_right_one_is_stored_and_forged_ones_are_not(self, receive, bucket, spool, database):
        sender = receive(database, spool=spool)
        forged = signature(b"other")
        # Forged ones of the same request come before it and after it.
        answers = [
            sender.deliver(body("r1", data="forged"), signed=forged),
            sender.deliver(body("r1", data="right"), signed=signature(body("r1")) and "right"),
            sender.deliver(body("r1", data="forged too"), signed=forged),
            sender.deliver(body("r1"), conn_id="made-up"),
        ]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"request_id": None})] * 4
        assert not Deliveries(ResultStore(bucket.uri)).delivered(["r1"])
        database.down = False
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).load("r1").output() == "right"

    @pytest.mark.parametrize("signed", [None, "", "v1=", "v1=xyz", "v1=" + "0" * 63])
    def test_what_can_not_be_signed_is_not_kept(self, receive, spool, database, signed):
        assert receive(database, spool=spool).deliver(body(), signed=signed).status_code == 503
        assert files(spool) == []

    def test_a_lookup_that_hangs(self, receive, spool, bucket):
        go_on = threading.Event()

        def lookup(conn_id):
            assert go_on.wait(30)
            return connection(bucket.uri)

        sender = receive(lookup, spool=spool, timeout=0.4)
        assert sender.deliver(body("r1")).status_code == 200
        go_on.set()
        until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).delivered(["r1"])

    def test_its_age_is_that_of_its_arrival(self, receive, spool, database, bucket):
        sender = receive(database, spool=spool)
        assert sender.deliver(body("old", age=301)).status_code == 200
        database.down = False
        assert sender.deliver(body("new")).status_code == 200
        wait_until(lambda: Deliveries(ResultStore(bucket.uri)).delivered(["new"]), 10, "the new one")
        assert not Deliveries(ResultStore(bucket.uri)).delivered(["old"])


class TestDrain:
    def test_what_a_dead_process_left_is_stored_at_the_start(self, receive, bucket, spool):
        for number in range(100):
            name = f"r{number}"
            spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id=name), body(name))
        sender = receive({"prod": connection(bucket.uri)}, spool=Spool(spool.folder))
        sender.app.state.start()
        until_empty(spool)
        assert len(bucket.find("/bucket/results")) == 100

    def test_several_drains_store_each_result_once(self, bucket, spool):
        names = [f"r{number}" for number in range(200)]
        for name in names:
            spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id=name), body(name, data=name))
        written = Counter()
        opened = bucket._open

        def open_(path, mode="rb", *args, **kwargs):
            if mode != "rb":
                written[Path(path).stem] += 1
            return opened(path, mode, *args, **kwargs)

        bucket._open = open_
        with draining(spool, {"prod": connection(bucket.uri)}.get, number=4):
            until_empty(spool)
        assert written == dict.fromkeys(names, 1)
        store = ResultStore(bucket.uri)
        assert all(Deliveries(store).load(name).output() == name for name in names)

    def test_one_that_always_fails_keeps_no_other_back(self, bucket, spool):
        names = [f"r{number}" for number in range(20)]
        for name in ["bad", *names]:
            spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id=name), body(name))
        opened = bucket._open

        def open_(path, mode="rb", *args, **kwargs):
            if mode != "rb" and "bad" in path:
                raise OSError("no space for this one")
            return opened(path, mode, *args, **kwargs)

        bucket._open = open_
        with draining(spool, {"prod": connection(bucket.uri)}.get):
            wait_until(lambda: len(files(spool)) == 1, 30, "all but one to be stored", every=0.02)
        assert Deliveries(ResultStore(bucket.uri)).delivered(names) == set(names)

    def test_a_connection_that_is_gone_and_comes_back(self, bucket, spool, caplog):
        connections = {}
        spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r1"), body("r1"))
        with draining(spool, connections.get):
            wait_until(lambda: "connection prod is gone" in caplog.text, 10, "the trouble to be logged")
            assert len(files(spool)) == 1
            connections["prod"] = connection(bucket.uri)
            until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).delivered(["r1"])

    def test_a_delivery_that_a_later_version_has_spooled(self, bucket, spool):
        spool.check()
        head = {"conn_id": "prod", "request_id": "r1", "is_event": False, "of_a_later_version": {"a": 1}}
        file = spool.folder / f"{'0' * 32}-a.signed"
        file.write_bytes(json.dumps(head).encode() + b"\n" + body("r1"))
        with draining(spool, {"prod": connection(bucket.uri)}.get):
            until_empty(spool)
        assert Deliveries(ResultStore(bucket.uri)).delivered(["r1"])

    def test_files_that_are_no_deliveries(self, bucket, spool, caplog):
        spool.check()
        group = "0" * 32
        for name, content in {
            f"{group}-a.signed": b"",
            f"{group}-b.signed": b"[]\n{}",
            f"{group}-c.signed": b'{"request_id": "r1"}\n{}',
            f"{group}-d.signed": b"\xff\n{}",
            f"{group}-e.signed": b'{"conn_id": "prod", "request_id": "../../r1"}\n{}',
            "new.part": b"x",
            "old.part": b"x",
            "README": b"x",
        }.items():
            (spool.folder / name).write_bytes(content)
        os.utime(spool.folder / "old.part", (0, 0))
        with draining(spool, {"prod": connection(bucket.uri)}.get):
            wait_until(lambda: len(files(spool)) <= 3, 20, "the damaged ones to be deleted")
        assert files(spool) == [f"{group}-e.signed", "README", "new.part"]
        assert caplog.text.count("is damaged; it was deleted") == 4
        assert not bucket.find("/bucket")

    def test_what_nobody_can_judge_stays_however_old_it_seems(self, bucket, spool):
        """Ages are no reason to delete it: the clock may have jumped by years."""
        spool.add(
            DeliveryKind.HELD,
            DeliveryMetadata(conn_id="prod", request_id="r1", time="2020-01-01T00:00:00Z"),
            body("r1"),
        )
        spool.add(DeliveryKind.SIGNED, DeliveryMetadata(conn_id="prod", request_id="r2"), body("r2"))
        for file in spool.folder.iterdir():
            os.utime(file, (0, 0))
        with draining(spool, {"prod": connection(bucket.uri)}.get):
            wait_until(lambda: len(files(spool)) == 1, 10, "the signed one to be stored")
        assert files(spool)[0].endswith(".held")
        assert bucket.find("/bucket") == ["/bucket/results/r2.json"]


@pytest.mark.processes
class TestProcesses:
    @pytest.fixture
    def started(self, tmp_path):
        receivers = []

        def start(*options):
            environment = {
                "BASETEN_WEBHOOK_SECRETS": f"{SECRET},{OLD_SECRET}",
                "AIRFLOW__BASETEN__WEBHOOK_SPOOL": str(tmp_path / "spool"),
            }
            options = ("--result-store", f"file://{tmp_path}/results", *options)
            receivers.append(Standalone(tmp_path, *options, **environment))
            return receivers[-1]

        yield start
        for receiver in receivers:
            if receiver.process.poll() is None:
                receiver.end()

    def test_killed_between_spool_and_drain(self, started, tmp_path):
        """Started again while the store is still away, since results are spooled already."""
        store = ResultStore(f"file://{tmp_path}/results")
        receiver = started()
        (tmp_path / "results").rmdir()
        (tmp_path / "results").write_text("no folder")
        assert receiver.deliver(body("r1"), SECRET).status_code == 200
        receiver.end(signal.SIGKILL)
        again = started()
        assert again.deliver(body("r2"), SECRET).status_code == 200
        (tmp_path / "results").unlink()
        wait_until(lambda: Deliveries(store).delivered(["r1", "r2"]) == {"r1", "r2"}, 20, "both results")
        until_empty(Spool(tmp_path / "spool"))
        assert again.end() == 0

    def test_a_folder_that_can_not_be_made_is_told_at_the_start(self, tmp_path):
        receiver = Standalone(
            tmp_path,
            *("--result-store", f"file://{tmp_path}/results"),
            BASETEN_WEBHOOK_SECRETS=SECRET,
            AIRFLOW__BASETEN__WEBHOOK_SPOOL="/proc/no/such/folder",
        )
        try:
            assert receiver.deliver(body("r1"), SECRET).status_code == 200
            wait_until(lambda: "/proc/no/such/folder can't be created" in receiver.log.read_text(), 10, "the log")
        finally:
            assert receiver.end() == 0

    def test_several_on_one_folder(self, started, tmp_path):
        store = ResultStore(f"file://{tmp_path}/results")
        receivers = [started() for _ in range(3)]
        (tmp_path / "results").rmdir()
        (tmp_path / "results").write_text("no folder")
        names = [f"r{number}" for number in range(60)]
        for number, name in enumerate(names):
            assert receivers[number % 3].deliver(body(name), SECRET).status_code == 200
        (tmp_path / "results").unlink()
        receivers[0].end(signal.SIGKILL)
        until_empty(Spool(tmp_path / "spool"))
        assert Deliveries(store).delivered(names) == set(names)
