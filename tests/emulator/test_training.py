"""Training jobs: their statuses, their processes, and what is left of them.

What Baseten does not document and the emulator decides: a job that has ended can't be stopped (400), a job that has not
ended can't be deleted (400), an unknown secret is refused when the job is created (400); the commands run in one shell
until one fails; a job that is being stopped gets SIGTERM, then SIGKILL after 5 seconds.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from management_support import Caller, managing, until

from airflow_provider_baseten.emulator import Durations, Fault
from airflow_provider_baseten.emulator.training import process
from airflow_provider_baseten.emulator.training.jobs import Recipe, TrainingJob, order_jobs, select_startable

pytestmark = pytest.mark.processes


class Trainer:
    """A project, and jobs in it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.project = caller.post("training_projects", {"training_project": {"name": "p"}})["training_project"]["id"]
        self.jobs = f"training_projects/{self.project}/jobs"

    def body(self, *commands: str, compute: Any = None, name: str | None = None, **runtime: Any) -> dict[str, Any]:
        job = {"image": {"base_image": "python:3.12"}, "runtime": {"start_commands": commands, **runtime}}
        return {"training_job": {**job, "name": name, **({"compute": compute} if compute else {})}}

    def create(self, *commands: str, **options: Any) -> str:
        return self.caller.post(self.jobs, self.body(*commands, **options))["training_job"]["id"]

    def get(self, job_id: str) -> dict[str, Any]:
        return self.caller.get(f"{self.jobs}/{job_id}")["training_job"]

    def status(self, job_id: str) -> str:
        return self.get(job_id)["current_status"].removeprefix("TRAINING_JOB_")

    def ended(self, job_id: str, status: str = "COMPLETED") -> dict[str, Any]:
        until(lambda: self.status(job_id) == status)
        return self.get(job_id)

    def lines(self, job_id: str, **query: Any) -> list[str]:
        return [line["message"] for line in self.caller.get(f"{self.jobs}/{job_id}/logs", params=query)["logs"]]


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    with managing(secrets={"hf": "hf_secret"}) as caller:
        yield Trainer(caller)


def test_a_job_runs_its_commands(trainer: Trainer) -> None:
    created = trainer.caller.post(trainer.jobs, trainer.body("echo one", "echo two >&2", name="n"))["training_job"]
    assert (created["current_status"], created["name"]) == ("TRAINING_JOB_CREATED", "n")
    job = trainer.ended(created["id"])
    assert (job["error_message"], job["training_project"]) == (None, {"id": trainer.project, "name": "p"})
    assert trainer.lines(job["id"]) == ["one", "two"]
    assert trainer.lines(job["id"], direction="desc", limit=1) == ["two"]
    posted = trainer.caller.post(f"{trainer.jobs}/{job['id']}/logs", {"limit": 1})["logs"]
    assert [(line["message"], line["request_id"], line["level"]) for line in posted] == [("one", None, None)]
    assert re.fullmatch(r"\d{19}", posted[0]["timestamp"])


def test_a_command_that_fails_ends_the_job(trainer: Trainer) -> None:
    job = trainer.ended(trainer.create("echo one", "exit 3", "echo never"), "FAILED")
    assert "exit code 3" in job["error_message"]
    assert trainer.lines(job["id"]) == ["one"]


def test_environment_of_a_job(trainer: Trainer) -> None:
    variables = {"NAME": "x y", "TOKEN": {"name": "hf"}}
    job_id = trainer.create(
        'echo "$NAME/$TOKEN/$BT_NODE_RANK/$BT_GROUP_SIZE/$BT_TRAINING_JOB_ID"',
        'echo "${AIRFLOW_HOME-none}/${BT_CHECKPOINT_DIR-none}"',
        environment_variables=variables,
    )
    trainer.ended(job_id)
    assert trainer.lines(job_id) == [f"x y/hf_secret/0/1/{job_id}", "none/none"]
    unknown = trainer.body(environment_variables={"A": {"name": "other"}})
    assert trainer.caller.send("POST", trainer.jobs, unknown).status_code == 400


def test_stop_ends_the_whole_process_group(trainer: Trainer) -> None:
    job_id = trainer.create("sleep 600 & echo $!", "wait")
    until(lambda: trainer.lines(job_id))
    child = int(trainer.lines(job_id)[0])
    os.kill(child, 0)
    trainer.caller.post(f"{trainer.jobs}/{job_id}/stop", {})
    trainer.ended(job_id, "STOPPED")
    until(lambda: not _is_running(child))
    assert trainer.caller.send("POST", f"{trainer.jobs}/{job_id}/stop", {}).status_code == 400


def test_a_job_that_ignores_the_stop_is_killed(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SECONDS_TO_END", 0.1)
    job_id = trainer.create("trap 'echo asked' TERM; echo $$; while true; do sleep 0.05; done")
    until(lambda: trainer.lines(job_id))
    trainer.caller.post(f"{trainer.jobs}/{job_id}/stop", {})
    trainer.ended(job_id, "STOPPED")
    assert "asked" in trainer.lines(job_id)
    assert not _is_running(int(trainer.lines(job_id)[0]))


def test_the_end_of_the_emulator_ends_all_jobs() -> None:
    with managing() as caller:
        trainer = Trainer(caller)
        job_id = trainer.create("trap '' TERM; sleep 600 & echo $!; pwd; wait")
        until(lambda: len(trainer.lines(job_id)) == 2)
        child, folder = trainer.lines(job_id)
    until(lambda: not _is_running(int(child)))
    assert not Path(folder).exists()
    assert caller.baseten.training_jobs[job_id].status == "TRAINING_JOB_RUNNING"


def test_checkpoints_and_their_files(trainer: Trainer) -> None:
    job_id = trainer.create(
        'mkdir "$BT_CHECKPOINT_DIR/step-1"',
        'printf weights > "$BT_CHECKPOINT_DIR/step-1/model 1.bin"',
        """printf '{"base_model_name_or_path": "org/base"}' > "$BT_CHECKPOINT_DIR/step-1/adapter_config.json" """,
        checkpointing_config={"enabled": True},
    )
    assert trainer.ended(job_id)["checkpoint_sync_status"] == "COMPLETED"
    found = trainer.caller.get(f"{trainer.jobs}/{job_id}/checkpoints")["checkpoints"]
    assert [(one["checkpoint_id"], one["checkpoint_type"], one["base_model"]) for one in found] == [
        ("step-1", "lora", "org/base")
    ]
    files = trainer.caller.get(f"{trainer.jobs}/{job_id}/checkpoint_files", params={"page_size": 1, "page_token": 1})
    (file,) = files["presigned_urls"]
    assert (file["relative_file_name"], files["total_count"], files["next_page_token"]) == (
        "step-1/model 1.bin",
        2,
        None,
    )
    assert httpx.get(file["url"]).content == b"weights"
    for wrong in ("../other", "step-1/../../secret"):
        assert httpx.get(file["url"].replace("step-1/model%201.bin", wrong)).status_code == 404


def test_files_without_a_folder_are_a_checkpoint_too(trainer: Trainer) -> None:
    job_id = trainer.create('echo 1 > "$BT_CHECKPOINT_DIR/model.bin"', checkpointing_config={"enabled": True})
    trainer.ended(job_id)
    (found,) = trainer.caller.get(f"{trainer.jobs}/{job_id}/checkpoints")["checkpoints"]
    assert (found["checkpoint_id"], found["checkpoint_type"], found["size_bytes"]) == ("rank-0", "full", 2)


def test_no_web_page_can_run_a_job(trainer: Trainer) -> None:
    headers = {"origin": "https://other.example"}
    response = trainer.caller.send("POST", trainer.jobs, trainer.body("true"), headers=headers)
    assert (response.status_code, trainer.caller.baseten.training_jobs) == (403, {})


@pytest.mark.parametrize(("options", "status"), [({}, 403), ({"api_key": "abcd.the-key"}, 200)])
def test_jobs_from_other_machines_need_a_key(options: Any, status: int) -> None:
    with managing(host="127.0.0.2", **options) as caller:
        caller._client.headers["authorization"] = "Bearer abcd.the-key"
        trainer = Trainer(caller)
        assert caller.send("POST", trainer.jobs, trainer.body("true")).status_code == status


def test_a_job_that_loads_a_checkpoint(trainer: Trainer) -> None:
    saves = 'mkdir "$BT_CHECKPOINT_DIR/c"; echo 7 > "$BT_CHECKPOINT_DIR/c/state"'
    trainer.ended(trainer.create(saves, checkpointing_config={"enabled": True}))
    load = {"enabled": True, "checkpoints": [{"typ": "baseten_latest_checkpoint", "project_name": "p"}]}
    job_id = trainer.create('cat "$BT_LOAD_CHECKPOINT_DIR"/*/rank-0/c/state', load_checkpoint_config=load)
    trainer.ended(job_id)
    assert trainer.lines(job_id) == ["7"]


def test_presigned_urls_need_no_key_and_everything_else_does() -> None:
    with managing(api_key="abcd.the-key") as caller:
        path = f"{caller.baseten.url}/training_files/wrong/0/x"
        assert httpx.get(path).status_code == 404
        assert caller.send("GET", "training_projects").status_code == 401


def test_jobs_wait_for_capacity() -> None:
    with managing(training_capacity={"H100": 2}, durations=Durations(training_deploy=30)) as caller:
        trainer = Trainer(caller)
        compute = {"accelerator": {"accelerator": "H100", "count": 2}}
        first, second = (trainer.create("true", compute=compute) for _ in range(2))
        until(lambda: trainer.status(second) == "PENDING")
        assert trainer.status(first) == "DEPLOYING"
        assert "2 GPUs of the type H100; 0 are free" in trainer.get(second)["error_message"]
        (capacity,) = caller.get("training/capacity")["gpu_capacities"]
        assert (capacity["limit"], capacity["usage_count"], capacity["dedicated_usage_count"]) == (2, 2, 2)
        queue = caller.get(f"training/jobs/{second}/queue_context")
        assert [one["training_job_id"] for one in queue["active_at_submit"] + queue["pending_ahead_at_submit"]] == [
            first
        ]
        assert (queue["requested_gpus"], queue["released_at"], queue["org_capacity"]["max_gpus"]) == (2, None, 2)
        caller.patch(f"{trainer.jobs}/{second}", {"priority": 5})
        caller.advance(30)
        trainer.ended(first)
        until(lambda: trainer.status(second) == "DEPLOYING")
        assert caller.send("PATCH", f"{trainer.jobs}/{second}", {"priority": 1}).status_code == 400
        caller.advance(30)
        assert trainer.ended(second)["priority"] == 5
        assert caller.get(f"training/jobs/{second}/queue_context")["pending_seconds"] == 30


def test_held_jobs(trainer: Trainer) -> None:
    trainer.caller.baseten.hold_training()
    held, stopped = trainer.create("echo 1"), trainer.create("echo 2")
    until(lambda: trainer.status(held) == "PENDING")
    trainer.caller.post(f"{trainer.jobs}/{stopped}/stop", {})
    assert trainer.status(stopped) == "STOPPED"
    trainer.caller.baseten.release_training()
    trainer.ended(held)
    assert trainer.lines(stopped) == []


def test_a_job_that_fails_from_outside(trainer: Trainer) -> None:
    job_id = trainer.create("sleep 600")
    until(lambda: trainer.status(job_id) == "RUNNING")
    trainer.caller.baseten.fail_training_job(job_id, "The node was preempted.")
    assert trainer.get(job_id)["error_message"] == "The node was preempted."
    assert trainer.status(job_id) == "FAILED"


def test_a_lost_create_makes_a_job_that_the_search_finds(trainer: Trainer) -> None:
    trainer.caller.baseten.inject(Fault(action="training_projects/*/jobs", method="POST", after_model=True, reset=True))
    with pytest.raises(httpx.TransportError):
        trainer.create("true", name="mine")
    trainer.create("true", name="mine")
    search = {"project_id": trainer.project, "order_by": [{"field": "created_at", "order": "desc"}]}
    found = trainer.caller.post("training_jobs/search", search)["training_jobs"]
    assert [job["name"] for job in found] == ["mine", "mine"]
    none = trainer.caller.post("training_jobs/search", {"statuses": ["TRAINING_JOB_FAILED"]})
    assert none["training_jobs"] == []
    wrong = {"order_by": [{"field": "size", "order": "desc"}]}
    assert trainer.caller.send("POST", "training_jobs/search", wrong).status_code == 400


def test_several_nodes_and_the_meter(trainer: Trainer) -> None:
    job_id = trainer.create("while [ ! -e ../go ]; do sleep 0.01; done; echo $BT_NODE_RANK", compute={"node_count": 2})
    until(lambda: trainer.status(job_id) == "RUNNING")
    trainer.caller.advance(60)
    (trainer.caller.baseten.training_jobs[job_id].folder / "go").touch()
    trainer.ended(job_id)
    assert sorted(trainer.lines(job_id)) == ["0", "1"]
    assert trainer.caller.baseten.meter.training_minutes(job_id) == 2.0


def test_recreate_list_and_delete(trainer: Trainer) -> None:
    first = trainer.create("echo hello", name="n")
    trainer.ended(first)
    second = trainer.caller.post(f"{trainer.jobs}/{first}/recreate")["training_job"]
    assert (second["name"], second["id"] != first) == ("n", True)
    trainer.ended(second["id"])
    assert trainer.lines(second["id"]) == ["hello"]
    assert [job["id"] for job in trainer.caller.get(trainer.jobs)["training_jobs"]] == [first, second["id"]]
    assert trainer.caller.call("DELETE", f"{trainer.jobs}/{first}")["deleted"] is True
    running = trainer.create("sleep 600")
    project = f"training_projects/{trainer.project}"
    for path in (f"{trainer.jobs}/{running}", project):
        assert trainer.caller.send("DELETE", path).status_code == 400
    trainer.caller.post(f"{trainer.jobs}/{running}/stop", {})
    trainer.ended(running, "STOPPED")
    assert trainer.caller.call("DELETE", project) == {"id": trainer.project, "deleted": True}
    assert trainer.caller.get("training_projects") == {"training_projects": []}


def test_a_project_is_found_by_its_name(trainer: Trainer) -> None:
    body = {"training_project": {"name": "p"}}
    assert trainer.caller.post("training_projects", body)["training_project"]["id"] == trainer.project
    assert trainer.caller.post("teams/t/training_projects", body)["training_project"]["id"] == trainer.project


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"image": {}},
        {"image": {"base_image": "x"}, "compute": {"node_count": 0}},
        {"image": {"base_image": "x"}, "compute": {"memory": "much"}},
        {"image": {"base_image": "x"}, "runtime": {"start_commands": "echo"}},
        {"image": {"base_image": "x"}, "compute": {"availability_model": "cheap"}},
    ],
)
def test_wrong_jobs(trainer: Trainer, job: Any) -> None:
    assert trainer.caller.send("POST", trainer.jobs, {"training_job": job}).status_code == 400
    assert trainer.caller.get(trainer.jobs)["training_jobs"] == []


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _job(id_: str, gpus: int, *, created: float, priority: int = 0, status: Any = None) -> TrainingJob:
    job = TrainingJob(id_, "p", None, Recipe(accelerator="H100", gpu_count=gpus), Path(), created, priority)
    if status:
        job.set_status(status, created)
    return job


def test_which_jobs_start() -> None:
    running = _job("running", 4, created=0, status="TRAINING_JOB_RUNNING")
    large, small = _job("large", 8, created=1, priority=1), _job("small", 1, created=2)
    started, reasons = select_startable([running, small, large], {"H100": 8}, is_held=False)
    assert (started, set(reasons)) == ([], {"large", "small"})  # The small one does not overtake.
    started, reasons = select_startable([running, small], {"H100": 8}, is_held=False)
    assert ([job.id for job in started], reasons) == (["small"], {})
    started, _ = select_startable([large, small], {}, is_held=False)
    assert [job.id for job in started] == ["large", "small"]
    assert select_startable([small], {}, is_held=True)[0] == []


def test_order_of_jobs() -> None:
    jobs = [_job("a", 1, created=1, priority=1), _job("b", 1, created=2), _job("c", 1, created=3, priority=1)]
    ordered = order_jobs(jobs, [("priority", "desc"), ("created_at", "desc")])
    assert [job.id for job in ordered] == ["c", "a", "b"]
