"""A relay with many or large deliveries in its queue: bounded memory, few listings."""

import threading
import time

import pytest

from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.webhook import relay, relay_listing
from airflow_provider_baseten.webhook.relay_listing import QueueListing
from airflow_provider_baseten.webhook.relay_queue import RelayQueue
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
        monkeypatch.setattr(relay, "_MAX_ENTRIES", 10)
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

    def test_is_listed_again_after_some_minutes(self, make_relay, listings, monkeypatch, tmp_path):
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        listing = QueueListing(RelayQueue(str(tmp_path)))
        assert len(listing.take(10)) == 10
        assert (len(listing.take(10)), len(listings)) == (10, 1)
        (tmp_path / "new.json").write_bytes(entry(body("new")))
        monkeypatch.setattr(relay_listing, "_LISTING_SECONDS", 0.0)
        assert "new.json" in [found.name for found in listing.take(100)]
        assert len(listings) == 2

    def test_while_a_store_is_down_each_round_is_bounded_and_followed_by_a_pause(
        self, make_relay, listings, pauses, monkeypatch, tmp_path, caplog
    ):
        caplog.set_level("INFO", "airflow_provider_baseten")
        (tmp_path / "down").write_text("")
        for number in range(95):
            (tmp_path / f"{number}.json").write_bytes(entry(body(f"r{number}")))
        read = []
        monkeypatch.setattr(
            RelayQueue, "read", lambda queue, entry: read.append(entry) or (tmp_path / entry.name).read_bytes()
        )
        mover = make_relay(tmp_path, {"prod": connection(f"file://{tmp_path}/down")}.get)
        waited = pauses(mover, 5)
        mover.run(5.0)
        assert (len(listings), len(read), waited) == (1, 50, [10.0, 20.0, 30.0, 30.0, 30.0])
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
