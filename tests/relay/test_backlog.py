"""A relay with many or large deliveries in its queue: bounded memory, few listings."""

import threading
import time
from itertools import count

import pytest

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.webhook import relay
from airflow_provider_baseten.webhook.relay_kept import KeptDeliveries
from airflow_provider_baseten.webhook.relay_queue import QueueEntry, RelayQueue
from tests.relay.test_relay import counts, entry, stored
from tests.webhook.deliveries import body, connection


class TestMemory:
    def test_many_large_deliveries_are_not_all_in_memory(self, make_relay, monkeypatch, tmp_path, store):
        for number in range(10):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}", data="x" * 30_000)))
        monkeypatch.setattr(relay, "_MAX_BYTES", 100_000)  # Two files of 41,000 bytes.
        in_memory: set[str] = set()
        crowded = threading.Event()
        read, remove = RelayQueue.read, RelayQueue.remove

        def counted(queue, entry):
            in_memory.add(entry.name)
            if len(in_memory) > 2:
                crowded.set()
            crowded.wait(0.1)  # Time for a third one, if there may be one.
            return read(queue, entry)

        def removed(queue, entry):
            in_memory.remove(entry.name)
            remove(queue, entry)

        monkeypatch.setattr(RelayQueue, "read", counted)
        monkeypatch.setattr(RelayQueue, "remove", removed)
        assert counts(make_relay(tmp_path).run_round()) == (10, 0, 0)
        assert not crowded.is_set()

    def test_a_delivery_that_is_larger_than_the_budget_is_stored(self, make_relay, monkeypatch, tmp_path, store):
        for number in range(20):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}", data="x" * (number * 1000))))
        monkeypatch.setattr(relay, "_MAX_BYTES", 5000)
        assert counts(make_relay(tmp_path).run_round()) == (20, 0, 0)
        assert len(stored(store)) == 20


class TestBacklog:
    @pytest.fixture
    def listings(self, monkeypatch):
        """The times at which the queue was listed."""
        times = []
        entries = RelayQueue.entries

        def listed(queue):
            times.append(time.monotonic())
            return entries(queue)

        monkeypatch.setattr(RelayQueue, "entries", listed)
        monkeypatch.setattr(relay, "_PART", 10)
        return times

    @pytest.fixture
    def pauses(self, monkeypatch):
        """The pauses that a relay makes, of which the last one stops it."""

        def record(mover, last):
            pauses = []

            def wait(seconds):
                pauses.append(seconds)
                if len(pauses) == last:
                    mover.stop()

            monkeypatch.setattr(mover._stopped, "wait", wait)
            return pauses

        return record

    def test_is_listed_once_and_stored_without_a_pause(self, make_relay, listings, pauses, tmp_path, store):
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        mover = make_relay(tmp_path)
        waited = pauses(mover, 2)
        mover.run(5.0)
        assert len(stored(store)) == 95
        assert (len(listings), waited) == (2, [5.0, 5.0])  # The second one has found nothing.

    def test_new_deliveries_are_tried_before_those_that_a_round_did_not_reach(
        self, make_relay, listings, monkeypatch, tmp_path, store
    ):
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        now = [0.0]
        monkeypatch.setattr(relay.time, "monotonic", lambda: now[0])
        save = Deliveries.save

        def late(deliveries, request_id, content):
            now[0] = 1000.0
            return save(deliveries, request_id, content)

        monkeypatch.setattr(Deliveries, "save", late)
        mover = make_relay(tmp_path)
        assert counts(mover.run_round(300.0)) == (10, 0, 0)
        now[0] = 0.0
        (tmp_path / "new.json").write_bytes(entry(body("new")))
        assert counts(mover.run_round(300.0)) == (10, 0, 0)
        assert "new" in stored(store)
        now[0] = 0.0
        monkeypatch.setattr(Deliveries, "save", save)
        assert counts(mover.run_round(300.0)) == (76, 0, 0)

    def test_a_listing_that_takes_longer_than_a_round(self, make_relay, monkeypatch, tmp_path, store):
        (tmp_path / "1.json").write_bytes(entry(body("r1")))
        now = [0.0]
        monkeypatch.setattr(relay.time, "monotonic", lambda: now[0])
        entries = RelayQueue.entries

        def slow(queue):
            now[0] += 1000.0
            return entries(queue)

        monkeypatch.setattr(RelayQueue, "entries", slow)
        assert counts(make_relay(tmp_path).run_round(300.0)) == (1, 0, 0)

    def test_while_a_store_is_down_a_round_tries_a_few(
        self, make_relay, listings, pauses, monkeypatch, tmp_path, caplog
    ):
        caplog.set_level("INFO", "airflow_provider_baseten")
        (tmp_path / "down").write_text("")
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        reads = []
        read = RelayQueue.read
        monkeypatch.setattr(RelayQueue, "read", lambda queue, entry: reads.append(entry) or read(queue, entry))
        known = {"prod": connection(f"file://{tmp_path}/down")}
        mover = make_relay(tmp_path, known.get)
        waited = pauses(mover, 5)
        mover.run(5.0)
        assert (len(reads), waited) == (95 + 4 * 20, [10.0, 20.0, 30.0, 30.0, 30.0])
        assert caplog.text.count("stay in the queue") == 1
        assert "for 95 files" in caplog.text
        assert counts(mover.run_round()) == (0, 0, 0)  # The relay was stopped.

    def test_after_an_outage_all_are_stored(self, make_relay, listings, tmp_path):
        (tmp_path / "down").write_text("")
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        known = {"prod": connection(f"file://{tmp_path}/down")}
        mover = make_relay(tmp_path, known.get)
        assert [counts(mover.run_round()) for _ in range(2)] == [(0, 0, 95)] * 2
        (tmp_path / "down").unlink()
        assert [counts(mover.run_round()) for _ in range(2)] == [(20, 0, 0), (75, 0, 0)]
        assert len(stored(known["prod"].result_store)) == 95

    def test_one_that_always_fails_does_not_keep_the_others(self):
        entries = [QueueEntry(f"{number}.json", 1) for number in range(100)]
        kept = KeptDeliveries()
        kept.update(entries, entries, {entry.name: "the store" for entry in entries})
        due, waiting = kept.split(entries)
        assert (len(due), waiting) == (20, {"the store": 80})
        failed, *stored = due
        left = [entry for entry in entries if entry not in stored]
        kept.update(left, due, {failed.name: "the store"})
        assert kept.split(left) == (left, {})

    def test_of_another_connection_delays_nothing(self, make_relay, listings, tmp_path, store):
        (tmp_path / "down").write_text("")
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}"), conn_id="broken"))
        known = {"prod": connection(store), "broken": connection(f"file://{tmp_path}/down")}
        mover = make_relay(tmp_path, known.get)
        assert counts(mover.run_round()) == (0, 0, 95)
        for number in range(50):
            (tmp_path / f"new{number}.json").write_bytes(entry(body(f"n{number}")))
        assert counts(mover.run_round()) == (50, 0, 95)

    def test_the_end_of_a_stopped_relay_is_no_recovery(self, make_relay, monkeypatch, tmp_path, caplog):
        caplog.set_level("INFO", "airflow_provider_baseten")
        (tmp_path / "down").write_text("")
        (tmp_path / "1.json").write_bytes(entry(body("r1")))
        mover = make_relay(tmp_path, {"prod": connection(f"file://{tmp_path}/down")}.get)
        entries = RelayQueue.entries
        rounds = []

        def listed(queue):
            rounds.append(queue)
            if len(rounds) == 2:
                mover.stop()
            return entries(queue)

        monkeypatch.setattr(RelayQueue, "entries", listed)
        monkeypatch.setattr(mover._stopped, "wait", lambda seconds: None)
        mover.run(5.0)
        assert "stay in the queue" in caplog.text
        assert "no error any more" not in caplog.text

    def test_an_error_of_the_listing_is_logged_once(self, make_relay, pauses, monkeypatch, tmp_path, caplog):
        numbers = count()

        def entries(queue):
            raise BasetenResultStoreError(f"No answer on <Connection object at {next(numbers):#x}>.")

        monkeypatch.setattr(RelayQueue, "entries", entries)
        mover = make_relay(tmp_path)
        pauses(mover, 5)
        mover.run(5.0)
        assert caplog.text.count("stay in the queue") == 1

    def test_a_problem_of_a_few_is_logged_once(self, make_relay, listings, pauses, monkeypatch, tmp_path, caplog):
        caplog.set_level("INFO", "airflow_provider_baseten")
        (tmp_path / "down").write_text("")
        for number in range(50):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        (tmp_path / "kept.json").write_bytes(entry(body("kept"), conn_id="broken"))
        known = {"prod": connection(f"file://{tmp_path}/results"), "broken": connection(f"file://{tmp_path}/down")}
        mover = make_relay(tmp_path, known.get)
        pauses(mover, 5)
        mover.run(5.0)
        assert caplog.text.count("stay in the queue") == 1
        assert "no error any more" not in caplog.text

    def test_ends_soon_after_a_signal(self, make_relay, listings, monkeypatch, tmp_path, store):
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        mover = make_relay(tmp_path)
        save = Deliveries.save

        def stop(deliveries, request_id, content):
            mover.stop()
            return save(deliveries, request_id, content)

        monkeypatch.setattr(Deliveries, "save", stop)
        mover.run(5.0)
        assert 1 <= len(stored(store)) <= 10
