"""``airflow baseten check`` as its users run it."""

import json
import re
import subprocess

import pytest

from airflow_provider_baseten.cli.__main__ import main
from tests.checks.conftest import CHECKS
from tests.cli.conftest import AIRFLOW, KEY, MODULE, environment
from tests.webhook.deliveries import SECRET
from tests.webhook.test_standalone import Standalone

WITHOUT_PROXY = {"NO_PROXY": "127.0.0.1", "HTTPS_PROXY": "", "HTTP_PROXY": "", "ALL_PROXY": ""}


def connection(url, **extra):
    return json.dumps({"conn_type": "baseten", "host": url, "password": KEY, "extra": extra})


def test_an_installation_with_a_receiver_of_its_own(run, baseten, tmp_path):
    store = f"file://{tmp_path}/results"
    receiver = Standalone(tmp_path, "--result-store", store, BASETEN_WEBHOOK_SECRETS=SECRET)
    try:
        extra = {"result_store": store, "webhook_secrets": [SECRET], "webhook_endpoint": receiver.url}
        here = WITHOUT_PROXY | {"AIRFLOW_CONN_PROD": connection(baseten.url, **extra)}
        done = run("check", "--conn-id", "prod", program=AIRFLOW, **here)
        assert done.code == 0, done.out + done.err
        lines = done.out.splitlines()
        assert lines[-1] == f"{len(CHECKS)} ok, 0 failed, 0 skipped."
        assert [line[9:24].strip() for line in lines if line.startswith("ok")] == list(CHECKS)

        extra["webhook_secrets"] = ["whsec_other"]
        here["AIRFLOW_CONN_PROD"] = connection(baseten.url, **extra)
        done = run("check", "--conn-id", "prod", "--json", **here)
    finally:
        receiver.end()
    assert done.code == 1
    results = {result["check"]: result for result in done.output}
    assert list(results) == list(CHECKS)
    assert results["test delivery"].keys() == {"check", "status", "message", "advice"}
    assert results["test delivery"]["status"] == "failed"
    assert {result["status"] for name, result in results.items() if name != "test delivery"} == {"ok"}
    for secret in (KEY, SECRET, "whsec_other"):
        assert secret not in done.out + done.err + receiver.log.read_text()
    assert list((tmp_path / "results").iterdir()) == []


def test_a_connection_in_airflows_database(run, baseten, airflow_db):
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Connection("of_database", conn_type="baseten", host=baseten.url, password=KEY))
    try:
        done = run("check", "--conn-id", "of_database", "--json", **WITHOUT_PROXY)
        broken = {"AIRFLOW_CONN_OF_DATABASE": '{"conn_type": "baseten", "password": "hunter2"'}
        ignored = run("check", "--conn-id", "of_database", "--json", **WITHOUT_PROXY, **broken)
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="of_database").delete()
    (found,) = [result["message"] for result in done.output if result["check"] == "connection"]
    assert found == "Connection 'of_database' is valid. It comes from Airflow's database."
    assert done.code == 0

    (failed,) = [result for result in ignored.output if result["status"] == "failed"]
    assert failed["check"] == "connection"
    assert failed["message"].startswith(
        "AIRFLOW_CONN_OF_DATABASE is set, but Airflow can't read a connection from it, because it is not valid JSON ("
    )
    assert failed["message"].endswith("Airflow uses another connection with this id. It comes from Airflow's database.")
    assert "hunter2" not in ignored.out + ignored.err


def test_a_plugin_that_is_not_loaded(baseten):
    here = environment(baseten.url, **WITHOUT_PROXY, AIRFLOW__BASETEN__WEBHOOK_TOLERANCE_SECONDS="soon")
    # Airflow itself writes the error with its traceback to stderr.
    done = subprocess.run([*MODULE, "check", "--json"], env=here, capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    (failed,) = [result for result in json.loads(done.stdout) if result["status"] == "failed"]
    assert failed["check"] == "plugin"
    assert "[baseten] webhook_tolerance_seconds='soon' is not a number above 0" in failed["message"]


@pytest.mark.parametrize(("conn_id", "check"), [("nobody", "connection"), ("refused", "key"), ("unreachable", "host")])
def test_a_fault(run_here, monkeypatch, conn_id, check):
    for name, value in WITHOUT_PROXY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "80")
    done = run_here("check", "--conn-id", conn_id)
    assert done.code == 1
    assert re.findall(r"^failed +(\S+)", done.out, re.MULTILINE) == [check]
    assert re.search(r"^ +-> ", done.out, re.MULTILINE)
    assert ", 1 failed, " in done.out.splitlines()[-1]
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--conn-id", ""], ["--conn-id"], ["--model-id", "abc"], ["extra"]])
def test_a_command_line_that_is_not_valid(capfd, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    assert ended.value.code == 2
    assert capfd.readouterr().out == ""
