"""Training submission: the training job of a task instance, created once for all its attempts."""

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.management.training import create_training_job, stop_training_job
from airflow_provider_baseten.api.management.training_jobs import ENDED, SUCCEEDED, TrainingJob
from airflow_provider_baseten.compat import count_resumable_job
from airflow_provider_baseten.exceptions import BasetenError, BasetenNotFoundError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.idempotency.ledger import (
    Attach,
    Entry,
    Ledger,
    Replace,
    fingerprint_request,
    intent,
    plan,
    write_persistently,
)
from airflow_provider_baseten.storage.files import consequence

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_provider_baseten.client.management import Management

# Seconds after which a job that was created is surely found by its name.
_VISIBLE_AFTER = 60.0
_PAUSE = 2.0
# Searches after a lost answer, before the attempt gives up and leaves the search to the next one.
_SEARCHES = 5
_NAME_CHARACTERS = 40


class TrainingSubmission:
    """The training job of a task instance. One attempt creates it, and each later attempt finds it.

    Two things make the job known to a later attempt: the ledger, which records that the job is about to be created and
    then its id; and the name of the job, which only this task instance uses. If an attempt dies between the two
    records, or the answer to the request is lost, the next attempt searches the project for the name.

    :param operator: operator of the task, for its log and its id.
    :param context: context of the task.
    :param ledger: ledger of the task instance.
    """

    def __init__(self, operator: "BaseOperator", context: "Context", ledger: Ledger) -> None:
        self._operator = operator
        self._context = context
        self._ledger = ledger
        self._log = operator.log

    def ensure_created(self, management: "Management", project_id: str, spec: dict[str, Any]) -> TrainingJob:
        """Create the job, or find the job that an earlier attempt has created; return the job.

        :param project_id: id of the project.
        :param spec: what to run, checked.
        """
        with consequence("This attempt created nothing."):
            entry = self._ledger.read()
        fingerprint = fingerprint_request(create_training_job(project_id, spec).request)  # type: ignore[arg-type]
        wanted = intent(self._context, fingerprint, "training_job")
        name = self._name(spec, wanted)
        match plan(entry, wanted, "resubmit"):
            case Attach(job_id):
                job = self._attach(management, project_id, job_id)
                if job is not None:
                    return job
            case Replace(job_id):
                self._stop(management, project_id, job_id)
            case _ if entry is not None:
                job = self._find_orphan(management, project_id, entry)
                if job is not None and entry.matches(wanted):
                    return self._keep(job, wanted)
                if job is not None:
                    self._stop(management, project_id, job.id)
        with consequence("This attempt created nothing."):
            self._ledger.write(wanted)
        job = self._create(management, project_id, {**spec, "name": name})
        count_resumable_job("fresh_submit" if entry is None else "terminal_resubmit", self._operator)
        return self._keep(job, wanted)

    def _name(self, spec: dict[str, Any], wanted: Entry) -> str:
        """Return the name of the job: readable, and the same for all attempts until a clear or another input."""
        readable = re.sub(r"[^a-z0-9]+", "-", str(spec.get("name") or self._operator.task_id).lower()).strip("-")
        return f"{readable[:_NAME_CHARACTERS].rstrip('-') or 'job'}{self._ending(wanted)}"

    def _ending(self, entry: Entry) -> str:
        """Return how the name of the job of an entry ends."""
        identity = replace(identity_of(self._context), run=entry.run, max_tries=entry.max_tries)
        return f"-{identity.request_key(entry.fingerprint)[:16]}"

    def _attach(self, management: "Management", project_id: str, job_id: str) -> TrainingJob | None:
        """Return the job of an earlier attempt; ``None`` if it has ended without success or was deleted."""
        try:
            job = management.get_training_job(project_id, job_id)
        except BasetenNotFoundError:
            self._log.warning("Training job %s of an earlier attempt was deleted; creating a new one.", job_id)
            return None
        if job.current_status in ENDED - {SUCCEEDED}:
            self._log.info("Training job %s of an earlier attempt ended as %s.", job_id, job.current_status)
            return None
        self._log.info("Attached to training job %s, which an earlier attempt created.", job_id)
        count_resumable_job("reconnect_success", self._operator)
        return job

    def _stop(self, management: "Management", project_id: str, job_id: str) -> None:
        self._log.info(
            "The task was cleared, its training_job has changed or its run was made again: training job %s is "
            "replaced.",
            job_id,
        )
        try:
            if management.get_training_job(project_id, job_id).current_status not in ENDED:
                management.call(stop_training_job(project_id, job_id))
        except BasetenNotFoundError:
            return
        except BasetenError as error:
            self._log.warning("Training job %s may still run: it could not be stopped. %s", job_id, error)

    def _find_orphan(self, management: "Management", project_id: str, entry: Entry) -> TrainingJob | None:
        """Return the job that an attempt created which died before it recorded the id; ``None`` if there is none."""
        ending = self._ending(entry)
        self._log.info("An earlier attempt may have created a training job; looking for a name with %s.", ending)
        while True:
            job = self._search(management, project_id, ending)
            if job is not None or time.time() >= entry.created_at + _VISIBLE_AFTER:
                return job
            time.sleep(_PAUSE)

    def _search(self, management: "Management", project_id: str, ending: str) -> TrainingJob | None:
        """Return the newest job whose name has this ending and that has not ended without success."""
        found = (job for job in management.search_training_jobs(project_id) if (job.name or "").endswith(ending))
        return next((job for job in found if job.current_status not in ENDED - {SUCCEEDED}), None)

    def _create(self, management: "Management", project_id: str, spec: dict[str, Any]) -> TrainingJob:
        try:
            job = management.create_training_job(project_id, spec)  # type: ignore[arg-type]
        except BasetenError as error:
            if not error.may_have_run:
                with consequence(f"No job was created: {error}"):
                    self._ledger.delete()
                raise
            return self._find_after_loss(management, project_id, spec["name"], error)
        self._log.info("Created training job %s (%s).", job.id, spec["name"])
        return job

    def _find_after_loss(
        self, management: "Management", project_id: str, name: str, error: BasetenError
    ) -> TrainingJob:
        self._log.warning("%s Looking for a job with the name %s.", error, name)
        for _ in range(_SEARCHES):
            job = self._search(management, project_id, name)
            if job is not None:
                self._log.info("Found training job %s: it was created, and only the answer was lost.", job.id)
                return job
            time.sleep(_PAUSE)
        raise error

    def _keep(self, job: TrainingJob, wanted: Entry) -> TrainingJob:
        """Record the id of the job, and return the job. If that fails, the next attempt finds the job by its name."""
        with consequence(f"Training job {job.id} was created; the next attempt looks for it by its name."):
            write_persistently(self._ledger, replace(wanted, request_id=job.id))
        return job
