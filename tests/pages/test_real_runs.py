"""The pages show what the operators of this package have recorded."""

import time

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

pytestmark = pytest.mark.airflow


@pytest.fixture
def run(connect, run_dag, tmp_path):
    models = {"abc": lambda model_input: model_input, "bad": lambda model_input: 1 / 0}
    with Emulator(models=models, api_key="k") as emulator, DAG("shown") as dag:
        connect(host=emulator.url, password="k")
        BasetenBatchPredictOperator(task_id="bulk", model_id="abc", inputs=[1, 2, 3], output_path=f"{tmp_path}/o")
        BasetenAsyncPredictOperator(task_id="queued", model_id="abc", model_input="an input", deferrable=True)
        BasetenPredictOperator(task_id="failed", model_id="bad", model_input="an input")
        yield run_dag(dag)


def test_of_a_run_that_has_ended(run):
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    from airflow_provider_baseten.pages.app import show_overview
    from airflow_provider_baseten.pages.overview import read_overview
    from airflow_provider_baseten.pages.queries import Queries

    now = time.time()
    with create_session() as session:
        page = read_overview(Queries(session, {"shown"}, now), now)
        (job,) = page.ended_jobs
        assert (job.state, job.rows_of_total, job.percent) == ("finished", "3 of 3 rows", "100%")
        assert job.target.startswith("model abc")
        assert job.model_url.endswith("/v1/models/abc")
        assert "too few values" not in job.latency_chart
        (failure,) = page.failures
        assert failure.task.key.task_id == "failed"
        assert failure.request_id in failure.message
        assert page.failed_tasks == 1
        assert not page.waits.tasks
        (day,) = page.days
        assert [(line.name, line.tasks, line.requests, line.rows) for line in day.lines] == [("shown", "2", "4", "3")]

        # Airflow keeps the record of the wait, so a task that waits again is shown with it.
        (task,) = session.query(TaskInstance).filter_by(dag_id="shown", task_id="queued").all()
        task.state = "deferred"
        session.flush()
        waits = read_overview(Queries(session, {"shown"}, now), now).waits
        assert (waits.tasks, waits.requests) == (1, 1)
        session.rollback()
    html = show_overview(frozenset({"shown"})).body.decode()
    assert "3 of 3 rows" in html
    assert "an input" not in html
