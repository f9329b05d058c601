"""Training service: starts training jobs when there is capacity, runs their processes, and stops them."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.limits import Durations
from airflow_provider_baseten.emulator.logs import LogLine
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.training.checkpoints import list_files, load_checkpoint
from airflow_provider_baseten.emulator.training.jobs import (
    AvailabilityModel,
    JobStatus,
    Recipe,
    TrainingJob,
    TrainingProject,
    select_startable,
)
from airflow_provider_baseten.emulator.training.process import NodeProcess


class TrainingService:
    """Training projects and jobs. The methods must be called in the server's event loop.

    :param clock: source of time.
    :param durations: durations of the statuses before a job runs.
    :param meter: meter of the minutes of jobs.
    :param capacity: number of GPUs by their kind; there is no limit for a kind that is missing.
    """

    def __init__(self, clock: Clock, durations: Durations, meter: Meter, capacity: Mapping[str, int]) -> None:
        self.capacity = dict(capacity)
        self.projects: dict[str, TrainingProject] = {}
        self.jobs: dict[str, TrainingJob] = {}
        self._clock = clock
        self._durations = durations
        self._meter = meter
        self._folder: Path | None = None
        self._is_held = False
        # Id of a running job -> number of a node -> its process.
        self._processes: dict[str, dict[int, NodeProcess]] = {}
        self._timers: dict[str, Timer] = {}
        self._stopping: set[str] = set()

    def upsert_project(self, name: str) -> TrainingProject:
        """Return the project with a name, which is created if there is none."""
        now = self._clock.now()
        for project in self.projects.values():
            if project.name == name:
                project.updated_at = now
                return project
        project = TrainingProject(uuid4().hex[:8], name, now, now)
        self.projects[project.id] = project
        return project

    def create_job(
        self,
        project_id: str,
        recipe: Recipe,
        *,
        name: str | None,
        priority: int = 0,
        availability_model: AvailabilityModel = "dedicated",
    ) -> TrainingJob:
        """Create a job, which starts as soon as there is capacity. Another job can have the same name.

        :param project_id: id of an existing project.
        :param recipe: what the job runs.
        :param name: name of the job.
        :param priority: jobs with a higher priority start first.
        :param availability_model: ``dedicated`` or ``spot``.
        """
        id_ = uuid4().hex[:8]
        job = TrainingJob(
            id_, project_id, name, recipe, self._folder_of(id_), self._clock.now(), priority, availability_model
        )
        same_gpus = (other for other in self.jobs.values() if other.recipe.accelerator == recipe.accelerator)
        job.ahead = [(other, other.status) for other in same_gpus if not other.has_ended]
        self.jobs[id_] = job
        # The response to the caller shows a job that has been created, not one that runs already.
        self._clock.call_later(0, self.start_jobs)
        return job

    def recreate_job(self, job: TrainingJob) -> TrainingJob:
        """Create a job that runs the same as another one."""
        return self.create_job(
            job.project_id,
            replace(job.recipe),
            name=job.name,
            priority=job.priority,
            availability_model=job.availability_model,
        )

    def stop_job(self, job: TrainingJob) -> None:
        """Stop a job that has not ended. A running job has ended when its processes have."""
        if timer := self._timers.pop(job.id, None):
            timer.cancel()
        processes = self._processes.get(job.id)
        if processes:
            self._stopping.add(job.id)
            for process in processes.values():
                process.stop()
        else:
            self._end(job, "TRAINING_JOB_STOPPED")

    def find_file(self, token: str, rank: int, name: str) -> Path | None:
        """Return a file of a checkpoint, ``None`` if there is none.

        :param token: secret part of its URL.
        :param rank: number of the node.
        :param name: path relative to the folder of the node.
        """
        for job in self.jobs.values():
            if job.files_token == token:
                return next(
                    (file.path for file in list_files(job) if (file.node_rank, file.name) == (rank, name)), None
                )
        return None

    def delete_job(self, job: TrainingJob) -> None:
        """Delete a job that has ended, with its files."""
        del self.jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)

    def delete_project(self, project: TrainingProject) -> None:
        """Delete a project whose jobs have ended, with these jobs."""
        for job in [job for job in self.jobs.values() if job.project_id == project.id]:
            self.delete_job(job)
        del self.projects[project.id]

    def hold(self) -> None:
        """Let new jobs wait for capacity until :meth:`release`."""
        self._is_held = True

    def release(self) -> None:
        """Let jobs start that have waited because of :meth:`hold`."""
        self._is_held = False
        self.start_jobs()

    def fail_job(self, job: TrainingJob, status: JobStatus, message: str) -> None:
        """Let a job fail that has not ended, and kill its processes."""
        if timer := self._timers.pop(job.id, None):
            timer.cancel()
        self._end(job, status, message)
        self._kill(job.id)

    def start_jobs(self) -> None:
        """Start the pending jobs for which there is capacity."""
        startable, reasons = select_startable(self.jobs.values(), self.capacity, is_held=self._is_held)
        for job in startable:
            job.set_status("TRAINING_JOB_DEPLOYING", self._clock.now())
            if self._durations.training_deploy > 0:
                self._timers[job.id] = self._clock.call_later(self._durations.training_deploy, partial(self._run, job))
            else:
                self._run(job)
        for job_id, reason in reasons.items():
            job = self.jobs[job_id]
            if job.status == "TRAINING_JOB_CREATED":
                job.set_status("TRAINING_JOB_PENDING", self._clock.now(), reason)

    def stop(self) -> None:
        """Kill the processes of all jobs, and delete all files. The jobs keep their statuses."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for job_id in list(self._processes):
            self._kill(job_id)
            self._meter.stop_job(job_id)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _run(self, job: TrainingJob) -> None:
        self._timers.pop(job.id, None)
        self._meter.start_job(job.id, job.recipe.node_count)
        job.set_status("TRAINING_JOB_RUNNING", self._clock.now())
        loaded = job.folder / "loaded_checkpoints"
        try:
            for source_id, name in job.recipe.loaded_checkpoints:
                load_checkpoint(self.jobs[source_id], name, loaded)
            processes = self._processes[job.id] = {}
            for rank in range(job.recipe.node_count):
                processes[rank] = self._start_node(job, rank, loaded)
        except (OSError, KeyError) as error:
            self.fail_job(job, "TRAINING_JOB_DEPLOY_FAILED", f"The job could not be started: {type(error).__name__}.")

    def _start_node(self, job: TrainingJob, rank: int, loaded: Path) -> NodeProcess:
        folder = job.folder / f"rank-{rank}"
        folder.mkdir(parents=True)
        environment = {**_base_environment(folder), **job.recipe.environment, **self._job_environment(job, rank)}
        if job.recipe.saves_checkpoints:
            checkpoints = job.checkpoint_folder / f"rank-{rank}"
            checkpoints.mkdir(parents=True)
            environment["BT_CHECKPOINT_DIR"] = str(checkpoints)
        if job.recipe.loaded_checkpoints:
            loaded.mkdir(exist_ok=True)
            environment["BT_LOAD_CHECKPOINT_DIR"] = str(loaded)
        loop = asyncio.get_running_loop()

        def add_line(message: str) -> None:
            job.log.add(LogLine(self._clock.now(), message, replica=f"{job.id}-{rank}"))

        def end(exit_code: int) -> None:
            _call_in_loop(loop, lambda: self._end_node(job, rank, exit_code))

        return NodeProcess(job.recipe.start_commands, folder, environment, add_line, end)

    def _job_environment(self, job: TrainingJob, rank: int) -> dict[str, str]:
        project = self.projects[job.project_id]
        return {
            "BT_TRAINING_JOB_ID": job.id,
            "BT_TRAINING_JOB_NAME": job.name or "",
            "BT_TRAINING_PROJECT_ID": project.id,
            "BT_TRAINING_PROJECT_NAME": project.name,
            "BT_NUM_GPUS": str(job.recipe.gpu_count),
            "BT_GROUP_SIZE": str(job.recipe.node_count),
            "BT_NODE_RANK": str(rank),
            "BT_LEADER_ADDR": "127.0.0.1",
        }

    def _end_node(self, job: TrainingJob, rank: int, exit_code: int) -> None:
        """End a job when its first node fails or its last node ends."""
        if (processes := self._processes.get(job.id)) is None:
            return
        del processes[rank]
        is_stopping = job.id in self._stopping
        if processes and (is_stopping or exit_code == 0):
            return
        self._kill(job.id)
        if is_stopping:
            self._end(job, "TRAINING_JOB_STOPPED")
        elif exit_code:
            self._end(job, "TRAINING_JOB_FAILED", f"A command ended with exit code {exit_code}.")
        else:
            self._end(job, "TRAINING_JOB_COMPLETED")

    def _kill(self, job_id: str) -> None:
        for process in self._processes.pop(job_id, {}).values():
            process.kill()

    def _end(self, job: TrainingJob, status: JobStatus, error_message: str | None = None) -> None:
        self._stopping.discard(job.id)
        self._meter.stop_job(job.id)
        job.set_status(status, self._clock.now(), error_message)
        self.start_jobs()

    def _folder_of(self, job_id: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="baseten-training-"))
        folder = self._folder / job_id
        folder.mkdir()
        return folder


def _base_environment(folder: Path) -> dict[str, str]:
    """Return the variables that every job has. Of the emulator's own environment, a job gets only the path."""
    python = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    # Python buffers the output to a pipe by default, and the log would show it only at the end.
    return {"PATH": f"{python}{os.pathsep}{path}", "HOME": str(folder), "PYTHONUNBUFFERED": "1"}


def _call_in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
