"""Connections as the receiver finds them: looked up rarely, and never mistaken for missing."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, Connection
from airflow.sdk.execution_time import supervisor

from airflow_provider_baseten.webhook.connections import Cached, of_airflow
from tests.webhook.deliveries import connection


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


class TestCached:
    @pytest.mark.parametrize("conn_id", ["prod", "other"])
    def test_a_burst_is_one_lookup(self, clock, conn_id):
        database = Database(prod=connection("x"))
        cached = Cached(database, clock=clock)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(cached, [conn_id] * 100))
        assert database.lookups == [conn_id]
        assert found == [database.connections.get(conn_id)] * 100

    def test_a_slow_lookup_of_one_holds_no_other(self, clock):
        asked, go_on = threading.Event(), threading.Event()

        def lookup(conn_id):
            if conn_id == "slow":
                asked.set()
                assert go_on.wait(30)
            return connection("x")

        cached = Cached(lookup, clock=clock)
        cached("prod")
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(cached, "slow")
            assert asked.wait(10)
            assert cached("prod") is not None
            assert not slow.done()
            go_on.set()

    def test_new_secret_is_seen_after_seconds(self, clock):
        database = Database(prod=connection("x", webhook_secrets=("old",)))
        cached = Cached(database, seconds=5, clock=clock)
        assert cached("prod").webhook_secrets == ("old",)
        database.connections["prod"] = connection("x", webhook_secrets=("new", "old"))
        clock.now += 4.9
        assert cached("prod").webhook_secrets == ("old",)
        clock.now += 0.1
        assert cached("prod").webhook_secrets == ("new", "old")

    def test_new_and_deleted_connections_are_seen_after_seconds(self, clock):
        database = Database()
        cached = Cached(database, seconds=5, clock=clock)
        assert cached("prod") is None
        database.connections["prod"] = connection("x")
        clock.now += 5
        assert cached("prod") is not None
        database.connections.clear()
        clock.now += 5
        assert cached("prod") is None

    def test_an_outage_is_not_a_missing_connection(self, clock):
        database = Database(prod=connection("x"))
        cached = Cached(database, seconds=5, clock=clock)
        assert cached("other") is None
        assert cached("prod") is not None
        database.down = True
        clock.now += 5
        assert cached("prod") is not None
        for conn_id in ("other", "never seen"):
            with pytest.raises(OSError, match="down"):
                cached(conn_id)

    def test_made_up_ids_take_no_memory(self, clock):
        cached = Cached(Database(), clock=clock)
        for number in range(2000):
            cached(f"made-up-{number}")
        assert len(cached._entries) <= 256


class TestOfAirflow:
    def test_found(self, connect):
        connect("prod", password="k", extra={"webhook_secrets": ["a", "b"], "result_store": "s3://b/r"})
        found = of_airflow("prod")
        assert (found.webhook_secrets, found.result_store) == (("a", "b"), "s3://b/r")

    def test_missing(self):
        assert of_airflow("no_such_connection") is None

    def test_of_another_type(self, connect):
        connect("prod", conn_type="http", password="k", extra={"webhook_secrets": ["a"]})
        assert of_airflow("prod") is None

    def test_not_usable(self, connect, caplog):
        connect("prod", extra={"webhook_secrets": ["a"]})
        assert of_airflow("prod") is None
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
            of_airflow("prod")
        monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [Empty(), Empty()])
        assert of_airflow("prod") is None

    def test_an_airflow_without_that_private_name(self, monkeypatch):
        places = {"prod": Connection(conn_id="prod", conn_type="baseten", password="k")}

        def get_connection(conn_id):
            if conn_id not in places:
                raise AirflowNotFoundException(conn_id)
            return places[conn_id]

        monkeypatch.setattr(BaseHook, "get_connection", get_connection)
        monkeypatch.delattr(supervisor, "ensure_secrets_backend_loaded")
        assert of_airflow("prod").api_key == "k"
        assert of_airflow("no_such_connection") is None
