"""Connections as the receiver finds them: looked up rarely, and never mistaken for missing."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from airflow.sdk import Connection
from airflow.sdk.execution_time import supervisor

from airflow_provider_baseten.compat import AirflowNotFoundException, BaseHook
from airflow_provider_baseten.webhook.connections import Connections, find_airflow_connection
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery, Refusal
from tests.webhook.deliveries import SECRET, body, connection, signature
from tools.airflow_api import wait_until


class Database:
    """Counts lookups; fails while it is down."""

    def __init__(self, **connections):
        self.connections = connections
        self.lookups = []
        self.down = False

    def __call__(self, conn_id):
        self.lookups.append(conn_id)
        if self.down:
            raise OSError("down")
        return self.connections.get(conn_id)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


class TestConnections:
    @pytest.mark.parametrize("conn_id", ["prod", "other"])
    def test_a_burst_is_one_lookup(self, clock, conn_id):
        database = Database(prod=connection("x"))
        connections = Connections(database, clock=clock)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(connections.find, [conn_id] * 100))
        assert database.lookups == [conn_id]
        assert found == [database.connections.get(conn_id)] * 100

    def test_a_slow_lookup_of_one_holds_no_other(self, clock):
        asked, go_on = threading.Event(), threading.Event()

        def lookup(conn_id):
            if conn_id == "slow":
                asked.set()
                assert go_on.wait(30)
            return connection("x")

        connections = Connections(lookup, clock=clock)
        connections.find("prod")
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(connections.find, "slow")
            assert asked.wait(10)
            assert connections.find("prod") is not None
            assert not slow.done()
            go_on.set()

    def test_new_secret_is_seen_after_seconds(self, clock):
        database = Database(prod=connection("x", webhook_secrets=("old",)))
        connections = Connections(database, seconds=5, clock=clock)
        assert connections.find("prod").webhook_secrets == ("old",)
        database.connections["prod"] = connection("x", webhook_secrets=("new", "old"))
        clock.now += 4.9
        assert connections.find("prod").webhook_secrets == ("old",)
        clock.now += 0.1
        assert connections.find("prod").webhook_secrets == ("new", "old")

    def test_new_and_deleted_connections_are_seen_after_seconds(self, clock):
        database = Database()
        connections = Connections(database, seconds=5, clock=clock)
        assert connections.find("prod") is None
        database.connections["prod"] = connection("x")
        clock.now += 5
        assert connections.find("prod") is not None
        database.connections.clear()
        clock.now += 5
        assert connections.find("prod") is None

    def test_an_outage_is_not_a_missing_connection(self, clock):
        database = Database(prod=connection("x"))
        connections = Connections(database, seconds=5, clock=clock)
        assert connections.find("other") is None
        assert connections.find("prod") is not None
        database.down = True
        clock.now += 5
        assert connections.find("prod") is not None
        for conn_id in ("other", "never seen"):
            with pytest.raises(OSError, match="down"):
                connections.find(conn_id)

    def test_a_delivery_is_not_refused_for_what_was_remembered(self, clock):
        database = Database()
        connections = Connections(database, clock=clock)
        content = body("r1")
        attempt = ReceivedDelivery(body=content, signature=signature(content), request_id=None)

        def is_taken():
            clock.now += 0.01
            try:
                return connections.identify(attempt, "prod").request_id == "r1"
            except Refusal:
                return False

        assert connections.find("prod") is None
        assert not is_taken()
        database.connections["prod"] = connection("x", webhook_secrets=("another",))
        assert not is_taken()
        database.connections["prod"] = connection("x", webhook_secrets=("another", SECRET))
        assert is_taken()
        lookups = len(database.lookups)
        assert is_taken()
        assert len(database.lookups) == lookups

    def test_forged_deliveries_at_once_share_a_lookup(self):
        asked, go_on = threading.Event(), threading.Event()
        lookups = []

        def lookup(conn_id):
            lookups.append(conn_id)
            if len(lookups) == 2:
                asked.set()
                assert go_on.wait(30)
            return connection("x")

        connections = Connections(lookup)
        connections.find("prod")
        forged = ReceivedDelivery(body=body("r1"), signature="v1=" + 64 * "0", request_id=None)
        with ThreadPoolExecutor(9) as threads:
            attempts = [threads.submit(connections.identify, forged, "prod")]
            assert asked.wait(10)
            attempts += [threads.submit(connections.identify, forged, "prod") for _ in range(8)]
            wait_until(threads._work_queue.empty, 10, "the threads to begin", every=0.01)
            go_on.set()
            for attempt in attempts:
                assert isinstance(attempt.exception(), Refusal)
        # Those that came during one lookup may have asked too late for its answer, but not for the next.
        assert len(lookups) <= 4

    def test_made_up_ids_take_no_memory(self, clock):
        connections = Connections(Database(), clock=clock)
        for number in range(2000):
            connections.find(f"made-up-{number}")
        assert len(connections._entries) <= 256


class TestOfAirflow:
    def test_found(self, connect):
        connect("prod", password="k", extra={"webhook_secrets": ["a", "b"], "result_store": "s3://b/r"})
        found = find_airflow_connection("prod")
        assert (found.webhook_secrets, found.result_store) == (("a", "b"), "s3://b/r")

    def test_missing(self):
        assert find_airflow_connection("no_such_connection") is None

    def test_of_another_type(self, connect):
        connect("prod", conn_type="http", password="k", extra={"webhook_secrets": ["a"]})
        assert find_airflow_connection("prod") is None

    def test_not_usable(self, connect, caplog):
        connect("prod", extra={"webhook_secrets": ["a"]})
        assert find_airflow_connection("prod") is None
        assert "prod" in caplog.text
        assert "has no password" in caplog.text

    def test_a_backend_that_is_down_is_not_a_missing_connection(self, monkeypatch):
        class Down:
            def get_connection(self, conn_id):
                raise ConnectionError("database is down")

        class Empty:
            def get_connection(self, conn_id):
                return None

        monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [Empty(), Down()])
        with pytest.raises(ConnectionError):
            find_airflow_connection("prod")
        monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [Empty(), Empty()])
        assert find_airflow_connection("prod") is None

    def test_an_airflow_without_that_private_name(self, monkeypatch):
        places = {"prod": Connection(conn_id="prod", conn_type="baseten", password="k")}

        def get_connection(conn_id):
            if conn_id not in places:
                raise AirflowNotFoundException(conn_id)
            return places[conn_id]

        monkeypatch.setattr(BaseHook, "get_connection", get_connection)
        monkeypatch.delattr(supervisor, "ensure_secrets_backend_loaded")
        assert find_airflow_connection("prod").api_key == "k"
        assert find_airflow_connection("no_such_connection") is None
