"""A task of a real Airflow that waits in its trigger."""

import time

import pendulum
from airflow.sdk import DAG, BaseOperator

from tests.scripted_server import ScriptedServer, answer
from tests.triggers.support import deliver, trigger


class Waiting(BaseOperator):
    def execute(self, context):
        self.defer(
            trigger=trigger("r1", "r2", expects_delivery=True, deadline=time.time() + 20, poll_interval=2),
            method_name="execute_complete",
        )

    def execute_complete(self, context, event):
        return event


def test_a_task_resumes_with_the_outcomes(connect, run_dag, store, caplog):
    deliver(store, "r1")
    with ScriptedServer(answer(body=b'{"status": "EXPIRED", "errors": []}')) as server:
        connect(host=server.url, password="secret-key-1", extra={"result_store": f"file://{store}"})
        with DAG("waiting", start_date=pendulum.datetime(2026, 1, 1), schedule=None) as dag:
            Waiting(task_id="wait")
        run = run_dag(dag)
    assert run.states == {"wait": "success"}
    assert run.xcom("wait")["outcomes"] == {"r1": "ended", "r2": "failed"}
    assert all(request.startswith(b"GET /model-abc/async_request/r2 ") for request in server.requests), server.requests
    assert "secret-key-1" not in caplog.text
    assert "the-output" not in caplog.text
