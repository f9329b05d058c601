"""``airflow baseten relay`` as its users run it, up to the task that waits for the result."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_provider_baseten.checks import delivery, run_checks
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting import state
from airflow_provider_baseten.webhook.relay import _PART
from tests.relay.conftest import Bucket
from tests.relay.function_url import function_url
from tests.webhook.deliveries import OLD_SECRET, SECRET, SECRET_OUTPUT, body, connection
from tools.airflow_api import wait_until

KEY = "abcd1234.s3cr3t"
AIRFLOW = str(Path(sys.executable).parent / "airflow")
COMMAND = [sys.executable, "-m", "airflow_provider_baseten.cli", "relay"]


@pytest.fixture(autouse=True)
def known(connect: Callable[..., None], store: str) -> None:
    connect("prod", password=KEY, extra={"webhook_secrets": [SECRET], "result_store": store})


@contextmanager
def relaying(bucket: Bucket, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the relay as a process of its own; it has begun when the block begins."""
    command = [*COMMAND, "--queue", bucket.uri("queue"), "--interval", "0.2"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == f"Storing the deliveries in {bucket.uri('queue')}; stop with Ctrl-C.\n", log.read_text()
            yield process
        finally:
            process.kill()


def once(queue: str) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "--queue", queue, "--once"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_until_interrupted(bucket, send, store, tmp_path, number):
    with relaying(bucket, tmp_path / "relay.log") as process:
        send(body("r1"))
        send(body("r2"), OLD_SECRET)
        wait_until(lambda: bucket.keys("queue/refused/") and ResultStore(store).names() != [], 30, "the results")
        wait_until(lambda: len(bucket.keys("")) == 1, 30, "the queue to be empty")
        process.send_signal(number)
        assert process.wait(30) == 0
    log = (tmp_path / "relay.log").read_text()
    assert "async request r1 for connection prod was stored" in log
    assert "1 stored" in log
    for secret in (SECRET, OLD_SECRET, SECRET_OUTPUT, KEY, "Traceback"):
        assert secret not in log


class TestOnce:
    def test_stored_and_refused(self, bucket, send, store):
        send(body("r1"))
        send(body("r2"), OLD_SECRET)
        done = once(bucket.uri("queue"))
        assert (done.returncode, done.stdout) == (0, "Deliveries: 1 stored, 1 refused.\n")
        assert "1 stored, 1 refused" in done.stderr
        assert Deliveries(ResultStore(store)).load("r1").output() == {"text": SECRET_OUTPUT}

    def test_not_stored(self, bucket, send, connect, tmp_path):
        (tmp_path / "down").write_text("")
        connect("prod", password=KEY, extra={"webhook_secrets": [SECRET], "result_store": f"file://{tmp_path}/down"})
        send(body("r1"))
        done = once(bucket.uri("queue"))
        assert done.returncode == 1
        (key,) = bucket.keys()
        assert done.stderr.splitlines()[-1] == (
            "Error: Number of deliveries that stay in the queue: 1. Reasons: the result store of connection prod fails "
            f"(BasetenResultStoreError from NotADirectoryError) for the file {key.removeprefix('queue/')}: "
            "'python -m airflow_provider_baseten.cli check --conn-id prod' on this machine says what is wrong."
        )

    def test_the_connection_is_not_valid(self, bucket, send, connect, store):
        connect("prod", password=KEY, extra={"webhook_secret": SECRET, "result_store": store})
        send(body("r1"))
        done = once(bucket.uri("queue"))
        assert (done.returncode, done.stdout, len(bucket.keys())) == (1, "Deliveries: 0 stored, 0 refused.\n", 1)
        assert "connection prod is not valid for the file" in done.stderr
        assert "has no field 'webhook_secret'" in done.stderr
        connect("prod", password=KEY, extra={"webhook_secrets": [SECRET], "result_store": store})
        assert once(bucket.uri("queue")).returncode == 0
        assert Deliveries(ResultStore(store)).load("r1").output() == {"text": SECRET_OUTPUT}

    def test_the_variable_of_the_connection_can_not_be_read(self, bucket, send, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_PROD", '{"conn_type": "baseten", "password": "hunter2", }')
        send(body("r1"))
        done = once(bucket.uri("queue"))
        assert (done.returncode, len(bucket.keys())) == (1, 1)
        assert "AIRFLOW_CONN_PROD is set, but Airflow can't read a connection from it" in done.stderr
        assert "hunter2" not in done.stdout + done.stderr

    def test_no_such_queue(self, s3):
        done = once("s3://aws_default@no-such-bucket/queue")
        assert done.returncode == 1
        assert "There is no bucket no-such-bucket: check the queue's URI." in done.stderr
        assert "Traceback" not in done.stderr

    def test_more_than_a_part_of_a_round(self, tmp_path):
        for number in range(_PART + 1):
            (tmp_path / f"{number}.json").write_text("{")
        assert once(str(tmp_path)).returncode == 0
        assert list(tmp_path.glob("*.json")) == []

    def test_a_scheme_with_one_slash(self, tmp_path):
        done = once("s3:/bucket/queue")
        assert done.returncode == 1
        assert "There is no folder s3:/bucket: check the queue's URI." in done.stderr

    def test_empty_queue(self):
        done = once(" ")
        assert done.returncode == 2
        assert "--queue is empty" in done.stderr

    def test_without_a_queue(self):
        done = subprocess.run([*COMMAND, "--once"], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 2
        assert "--queue" in done.stderr


@pytest.fixture
def baseten(
    bucket: Bucket, function: Any, connect: Callable[..., None], store: str, tmp_path: Path
) -> Iterator[Emulator]:
    """A Baseten that delivers to the function, and that nobody else can be reached by."""
    with (
        function_url(function.handle) as url,
        Emulator(models={"shout": str.upper}, api_key=KEY, webhook_secrets=[SECRET]) as baseten,
    ):
        extra = {
            "result_store": store,
            "webhook_endpoint": f"{url}/baseten/webhooks/prod",
            "webhook_secrets": [SECRET],
        }
        connect("prod", host=baseten.url, password=KEY, extra=extra)
        yield baseten


def shout(**options: Any) -> None:
    """A task that waits for a result."""
    BasetenAsyncPredictOperator(
        task_id="shout",
        baseten_conn_id="prod",
        model_id="shout",
        model_input="grüße",
        poll_interval=0.5,
        timeout=120,
        **options,
    )


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_waiting_task_gets_its_result(baseten, bucket, run_dag, tmp_path, monkeypatch, deferrable):
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.2")
    # The first response to Baseten is lost, so it delivers twice.
    baseten.inject(Fault(action="webhook", after_model=True, status=503))
    with DAG(f"relayed_{deferrable}") as dag:
        shout(deferrable=deferrable)
    with relaying(bucket, tmp_path / "relay.log"):
        run = run_dag(dag)
    assert (run.state, run.xcom("shout")) == ("success", "GRÜSSE")
    (request,) = baseten.async_requests.values()
    wait_until(lambda: request.settled_at is not None, 20, "the second delivery")
    assert [attempt.status for attempt in request.webhook_attempts] == [503, 200]
    assert bucket.keys("queue/refused/") == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_while_no_relay_runs_a_task_fails_and_its_retry_gets_the_result(
    baseten, bucket, run_dag, capfd, monkeypatch, deferrable
):
    monkeypatch.setattr(state, "GRACE", 1.0)
    with DAG(f"late_{deferrable}") as dag:
        shout(
            deferrable=deferrable,
            retries=1,
            retry_delay=timedelta(0),
            on_retry_callback=lambda context: once(bucket.uri("queue")),
        )
    run = run_dag(dag)
    assert (run.state, run.xcom("shout"), run.tries) == ("success", "GRÜSSE", {("shout", -1): 2})
    assert "BasetenResultLostError" in "".join(capfd.readouterr())
    assert len(baseten.async_requests) == 1


def test_in_a_task(bucket, send, store, run_dag):
    send(body("r1"))
    command = f"{AIRFLOW} baseten relay --queue {bucket.uri('queue')} --once"
    with DAG("relay") as dag:
        BashOperator(task_id="relay", bash_command=command, env=dict(os.environ))
    assert run_dag(dag).state == "success"
    assert ResultStore(store).names() == ["r1.json"]


class TestCheck:
    """``airflow baseten check`` with the function's URL as webhook endpoint."""

    def delivery(self):
        results = {result.check: result for result in run_checks("prod")}
        assert results["receiver"].status == "skipped"
        return results["test delivery"]

    def test_with_a_relay(self, baseten, bucket, make_relay, store):
        relay = make_relay(bucket.uri("queue"), {"prod": connection(store)}.get)
        thread = threading.Thread(target=relay.run, args=[0.2])
        thread.start()
        try:
            assert self.delivery().status == "ok"
        finally:
            relay.stop()
            thread.join()

    def test_without_a_relay(self, baseten, monkeypatch):
        monkeypatch.setattr(delivery, "_WAIT_SECONDS", 1)
        result = self.delivery()
        assert result.status == "failed"
        assert "the endpoint is that of a relay, which does not run" in result.message
