"""The receiver in Airflow's own API server, with a connection in Airflow's database."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import requests

from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.plugins.baseten import BasetenPlugin
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from tests.webhook.deliveries import HEALTHY, NOWHERE, OLD_SECRET, SECRET, SECRET_OUTPUT, body, signature
from tools.airflow_api import loopback_session, wait_until
from tools.airflow_stack import Service, free_port

# Parts of the package that the plugin may load when Airflow starts; none of them imports a library outside Python.
LOADED = {"arguments", "compat", "config", "exceptions", "pages", "plugins", "webhook"}


@pytest.fixture
def api_server(airflow_db, tmp_path) -> Iterator[Service]:
    port = free_port()
    command = [str(Path(sys.executable).parent / "airflow"), "api-server", "--host", "127.0.0.1", "--port", str(port)]
    with Service("API server", command, tmp_path / "log" / "api-server.log", env=os.environ) as service:
        service.url = f"http://127.0.0.1:{port}"
        service.wait_for_http(f"{service.url}/baseten/health", 120)
        yield service


def test_plugin_is_found_by_its_entry_point():
    (entry,) = metadata.entry_points(group="airflow.plugins", name="baseten")
    assert entry.load() is BasetenPlugin


@pytest.mark.processes
def test_plugin_loads_nothing_heavy():
    """Every scheduler, worker and DAG processor imports it."""
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); "
        "from airflow_provider_baseten.plugins.baseten import BasetenPlugin; BasetenPlugin.on_load(); "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {name.split(".")[1] for name in loaded if name.startswith("airflow_provider_baseten.")} <= LOADED
    assert not {name.partition(".")[0] for name in loaded} & {
        "starlette",
        "fastapi",
        "uvicorn",
        "requests",
        "pyreqwest",
    }


@pytest.mark.parametrize("value", ["five minutes", "0", "-1", "inf", "nan"])
def test_wrong_tolerance_is_told_when_airflow_starts(monkeypatch, value):
    monkeypatch.setenv("AIRFLOW__BASETEN__WEBHOOK_TOLERANCE_SECONDS", value)
    with pytest.raises(BasetenInputError, match="webhook_tolerance_seconds"):
        BasetenPlugin.on_load()


@pytest.mark.parametrize("value", ["64 MiB", "0", "-1", "1.5"])
def test_wrong_limit_is_told_when_airflow_starts(monkeypatch, value):
    monkeypatch.setenv("AIRFLOW__BASETEN__WEBHOOK_MAX_BODY_BYTES", value)
    with pytest.raises(BasetenInputError, match=r"webhook_max_body_bytes=.* is not a number of bytes"):
        BasetenPlugin.on_load()


def test_an_airflow_that_has_changed_inside_is_told_at_start_and_the_receiver_stays(monkeypatch, caplog):
    BasetenPlugin.on_load()
    assert not caplog.records
    monkeypatch.delattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded")
    BasetenPlugin.on_load()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "newer version of airflow-provider-baseten" in record.getMessage()


@pytest.mark.processes
def test_deliveries_to_a_real_api_server(monkeypatch, database_connection, tmp_path, request):
    monkeypatch.setenv("AIRFLOW__BASETEN__WEBHOOK_MAX_BODY_BYTES", "1000")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    database_connection(SECRET)
    server = request.getfixturevalue("api_server")
    session = loopback_session()
    store = ResultStore(f"file://{tmp_path}/results")

    def deliver(content: bytes, secret: str, conn_id: str = "in_database") -> requests.Response:
        headers = {"X-BASETEN-SIGNATURE": signature(content, secret), "Content-Type": "application/json"}
        url = f"{server.url}/baseten/webhooks/{conn_id}"
        return session.post(url, data=content, headers=headers, timeout=10, allow_redirects=False)

    taken = deliver(body("r1"), SECRET)
    assert (taken.status_code, taken.json()) == (200, {"request_id": "r1"})
    assert Deliveries(store).load("r1").output() == {"text": SECRET_OUTPUT}
    assert deliver(body("r2"), OLD_SECRET).status_code == 401
    assert deliver(body("r2"), SECRET, "no_such_connection").status_code == 401
    assert deliver(body("r2", data="x" * 1000), SECRET).status_code == 413
    assert deliver(body("r2"), SECRET, "in_database/").status_code == 404
    assert deliver(body("r2"), SECRET, "..%2f..%2fin_database").status_code == 404
    assert session.get(f"{server.url}/baseten/webhooks/in_database", timeout=10).status_code == 405
    assert session.get(f"{server.url}/baseten/health", timeout=10).json() == HEALTHY

    database_connection("whsec_new-one")
    wait_until(lambda: deliver(body("r3"), "whsec_new-one").status_code == 200, 15, "the new secret to be known")
    assert deliver(body("r4"), SECRET).status_code == 401

    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["r1.json", "r3.json"]
    log = server.log.read_text()
    assert "r1 was delivered for connection in_database" in log
    assert "Traceback" not in log
    for secret in (SECRET, OLD_SECRET, "whsec_new-one", SECRET_OUTPUT):
        assert secret not in log


def test_a_result_store_with_a_password_is_told_at_start_and_the_receiver_stays(monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", "s3://user:hunter2@bucket")
    BasetenPlugin.on_load()
    assert "Webhook deliveries can't be stored: [baseten] result_store has a colon" in caplog.text
    assert "hunter2" not in caplog.text
