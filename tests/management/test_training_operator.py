"""Operator that runs training jobs in a real Airflow, against the emulator, which runs them as processes."""

import asyncio
import sys
import time
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenTrainingJobOperator
from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.management.training_submission import TrainingSubmission
from airflow_provider_baseten.policies import BasetenRetryPolicy, Decision
from tests.management.conftest import MODES, NOW, OneEntry, options
from tools.airflow_api import wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.processes]

WRITE = (
    'for n in 1 2 3; do echo "epoch $n"; done; mkdir "$BT_CHECKPOINT_DIR/c1"; echo weights > "$BT_CHECKPOINT_DIR/c1/m"'
)


class RetryAnyway(BasetenRetryPolicy):
    """Retries also what is refused."""

    def decide(self, error):
        return Decision("default")


def job(command=WRITE, **others):
    runtime = {"start_commands": [command], "checkpointing_config": {"enabled": True}}
    return {"image": {"base_image": "python:3.11"}, "runtime": runtime, **others}


def train(task_id="train", **others):
    return BasetenTrainingJobOperator(task_id=task_id, **{"project": "retrain", "training_job": job()} | others)


def created(baseten):
    return [r for r in baseten.requests if r.method == "POST" and r.path.endswith("/jobs")]


@MODES
def test_a_job_and_its_checkpoints(run_dag, baseten, deferrable, logged):
    with DAG(f"train_{deferrable}") as dag:
        train(**options(deferrable))
    run = run_dag(dag)
    assert run.state == "success"
    result = run.xcom("train")
    assert result["status"] == "TRAINING_JOB_COMPLETED"
    assert result["name"].startswith("train-")
    assert [checkpoint["training_job_id"] for checkpoint in result["checkpoints"]] == [result["training_job_id"]]
    assert len(created(baseten)) == len(baseten.training_jobs) == 1
    text = logged()
    assert all(text.count(f"| epoch {number}") == 1 for number in (1, 2, 3))
    job_page = f"jobs/{result['training_job_id']}"
    assert run.links["train", -1].endswith(job_page)


@MODES
@pytest.mark.parametrize(
    "fault",
    [{"reset": True}, {"status": 500}, {"status": 502}, {"status": 200, "body": {"training_job": {}}}],
    ids=["reset", "500", "502", "odd"],
)
def test_a_lost_answer_pays_once(run_dag, baseten, deferrable, fault, logged):
    with BasetenHook().client() as client:
        project = client.management.ensure_training_project("retrain")
    baseten.inject(Fault(action=f"training_projects/{project.id}/jobs", method="POST", after_model=True, **fault))
    with DAG(f"lost_job_{deferrable}_{next(iter(fault.values()))}") as dag:
        train(**options(deferrable), **NOW)
    run = run_dag(dag)
    assert (run.state, run.tries["train", -1]) == ("success", 1)
    assert len(created(baseten)) == len(baseten.training_jobs) == 1
    assert "Looking for a job with the name train-" in logged()


def test_a_cleared_task_stops_the_job_of_an_attempt_that_died_before_it_recorded_the_id(baseten, monkeypatch):
    operator, ledger = train(), OneEntry()
    spec = job("sleep 600")

    def submission(max_tries):
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="train", map_index=-1, max_tries=max_tries)
        return TrainingSubmission(operator, {"ti": ti}, ledger)

    with BasetenHook().client() as client:
        project = client.management.ensure_training_project("retrain")
        with monkeypatch.context() as patch:
            patch.setattr(TrainingSubmission, "_keep", lambda *arguments: sys.exit())
            with pytest.raises(SystemExit):
                submission(1).ensure_created(client.management, project.id, spec)
        (first,) = baseten.training_jobs
        again = submission(2).ensure_created(client.management, project.id, spec)
        assert list(baseten.training_jobs) == [first, again.id]
        wait_until(
            lambda: baseten.training_jobs[first].status == "TRAINING_JOB_STOPPED", 30, "the end of the first job"
        )
        client.management.stop_training_job(project.id, again.id)


@MODES
def test_a_job_that_fails_is_created_again_by_a_retry(run_dag, baseten, deferrable, logged, tmp_path):
    marker = tmp_path / "tried"
    command = f'if [ -e {marker} ]; then exit 0; fi; touch {marker}; echo "no GPU memory" >&2; exit 3'
    with DAG(f"failed_job_{deferrable}") as dag:
        train(training_job=job(command), **options(deferrable), **NOW)
    run = run_dag(dag)
    assert (run.state, run.tries["train", -1]) == ("success", 2)
    assert len(baseten.training_jobs) == 2
    text = logged()
    assert "no GPU memory" in text
    assert "ended without success: failed" in text


def test_a_user_may_end_the_task_while_a_request_is_in_flight(baseten):
    """Airflow calls on_kill only if the cancellation of the trigger has its message."""
    from airflow_provider_baseten.triggers.management import BasetenManagementTrigger

    with BasetenHook().client() as client:
        project = client.management.ensure_training_project("retrain")
        created_job = client.management.create_training_job(project.id, job("sleep 600"))
        watch = {"kind": "training", "began": time.time(), "project_id": project.id, "job_id": created_job.id}
        baseten.inject(Fault(action="training_projects/*", method="GET", delay=60, times=None))
        before = len(baseten.requests)

        async def end_during_a_request():
            trigger = BasetenManagementTrigger(
                baseten_conn_id="baseten_default", watch=watch, facts={}, deadline=time.time() + 60, poll_interval=0.3
            )
            waiting = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.to_thread(wait_until, lambda: len(baseten.requests) > before, 30, "a request")
            waiting.cancel("by a user")
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await waiting
            return cancelled.value.args

        assert asyncio.run(end_during_a_request()) == ("by a user",)
        baseten.faults.clear()
        client.management.stop_training_job(project.id, created_job.id)


@MODES
def test_a_pending_job_says_why_it_waits(run_dag, baseten, deferrable, logged):
    baseten.hold_training()
    with DAG(f"pending_{deferrable}") as dag:
        train(
            **options(deferrable) | {"timeout": 2},
            retry_policy=RetryAnyway(),
            on_retry_callback=lambda context: baseten.release_training(),
            **NOW,
        )
    run = run_dag(dag)
    text = logged()
    assert "waiting for capacity: it needs" in text
    assert len(created(baseten)) == 1
    assert run.tries["train", -1] == 2
    assert "Attached to training job" in text


def test_a_kill_stops_the_job(baseten, run_dag):
    with DAG("kill_job") as dag:
        operator = train(training_job=job("sleep 600"), wait_for_completion=False)
    run = run_dag(dag)
    from airflow_provider_baseten.waiting.management.training import TrainingWatch

    found = run.xcom("train")
    operator.watch = TrainingWatch(began=0, project_id=found["training_project_id"], job_id=found["training_job_id"])
    operator.on_kill()
    job_id = found["training_job_id"]
    wait_until(lambda: baseten.training_jobs[job_id].status == "TRAINING_JOB_STOPPED", 30, "the end of the job")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, r"training_job\['image'\]"),
        ({"image": {"base_image": ""}}, "base_image"),
        (job(gpus=2), r"training_job\['gpus'\]"),
        (job(compute={"node_count": 0}), "node_count"),
        (job(runtime={"start_commands": "python"}), "start_commands"),
    ],
)
def test_a_job_that_is_not_valid_is_not_sent(baseten, spec, problem):
    with pytest.raises(BasetenInputError, match=problem):
        train(training_job=spec).start(None, {}, 0.0)
    assert not baseten.requests
