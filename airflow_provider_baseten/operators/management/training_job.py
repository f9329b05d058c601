"""Operator that runs a training job."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.arguments import check_exactly_one, check_flags, check_texts, given
from airflow_provider_baseten.compat import push_early
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.links import BasetenLink, page_of_training_job
from airflow_provider_baseten.operators.management.base import BasetenManagementOperator, UntimedWaitArguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.management.training_spec import TrainingJobSpec
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.management import Management
    from airflow_provider_baseten.exceptions import BasetenError
    from airflow_provider_baseten.waiting.management.watch import Watch

# Most checkpoints in the result of a task.
_MAX_CHECKPOINTS = 100


class BasetenTrainingJobOperator(BasetenManagementOperator):
    """Run a training job, wait for its end, and return its checkpoints.

    The lines that the job writes go to the task's log. While it waits for capacity, the log says why. In deferrable
    mode the triggerer logs the lines; after its restart, those of the last ten minutes are repeated.

    The job is recorded for the task instance before it is created, and gets a name of its own. So a retry, also after
    the death of a worker or a lost answer, finds the job and waits for it instead of creating, and paying for, another
    one. A new job is created if the task is cleared, if the job has ended without success, or if ``training_job`` has
    changed; a job that is replaced is stopped.

    Source code is not uploaded: use ``start_commands`` with an image that has it, or ``artifacts`` as ``truss train``
    uploads them.

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :param training_job: what to run, for example ``{"image": {"base_image": "python:3.11"}, "runtime":
        {"start_commands": ["python train.py"]}}``; see
        :class:`~airflow_provider_baseten.api.management.training_spec.TrainingJobSpec`. Its ``name``, by default the id
        of the task, becomes the beginning of the job's name. JSON as a text is allowed. (templated, not shown among the
        rendered templates)
    :param project: name of the training project, which is created if it does not exist; exactly one of ``project`` and
        ``project_id`` is given. (templated)
    :param project_id: id of the training project. (templated)
    :param stop_on_kill: stop the job if the task is killed; by default true. A worker that is told to end kills its
        tasks too. In deferrable mode only a user's act counts, and it needs Airflow 3.3 or newer.
    :param timeout: seconds to wait, by default 86400. After it, the job goes on, and the next attempt waits for it.

    :returns: ``{"training_job_id", "training_project_id", "name", "status", "checkpoints"}``, with at most 100
        checkpoints; without ``wait_for_completion`` the ids and the name.
    :raises BasetenInputError: ``training_job`` has an unknown field, lacks one, or a value is not valid.
    :raises BasetenTrainingError: the job failed, was stopped or was deleted.
    :raises BasetenTimeoutError: the job took longer than ``timeout``.
    :raises BasetenResultStoreError: the record of the job can't be read or written.

    https://docs.baseten.co/training/overview
    """

    template_fields = (*BasetenManagementOperator.template_fields, "training_job", "project", "project_id")
    hidden_fields = ("training_job",)
    native_fields = ("training_job",)

    def __init__(
        self,
        *,
        training_job: "TrainingJobSpec | Mapping[str, Any]",
        project: str | None = None,
        project_id: str | None = None,
        stop_on_kill: bool = True,
        timeout: float = 86_400.0,
        **kwargs: Unpack[UntimedWaitArguments],
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        check_texts(**given(project=project, project_id=project_id))
        check_exactly_one(project=project, project_id=project_id)
        check_flags(stop_on_kill=stop_on_kill)
        if given(value=training_job) and not isinstance(training_job, Mapping | str):
            raise BasetenInputError(
                "training_job takes an object, for example {'image': {'base_image': 'python:3.11'}}, not a "
                f"{type(training_job).__name__}."
            )
        self.training_job = training_job
        self.project = project
        self.project_id = project_id
        self.stop_on_kill = stop_on_kill

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch", dict[str, Any]]:
        """Create the job, or find the one of an earlier attempt, and return what to wait for."""
        from airflow_provider_baseten.api.management.body import object_of
        from airflow_provider_baseten.api.management.training_spec import check_training_job
        from airflow_provider_baseten.operators.management.training_submission import TrainingSubmission
        from airflow_provider_baseten.waiting.management.training import TrainingWatch

        spec = check_training_job(object_of("training_job", self.training_job))
        project_id = self._find_project(client.management)
        submission = TrainingSubmission(self, context, self.open_ledger(context, "training_job"))
        job = submission.ensure_created(client.management, project_id, spec)
        watch = TrainingWatch(began=began, project_id=project_id, job_id=job.id, stop_on_kill=self.stop_on_kill)
        self.facts = {"training_job_id": job.id, "training_project_id": project_id, "name": job.name}
        key: Any = context["ti"]
        push_early(context["ti"], BasetenLink().xcom_key, BasetenLink().get_link(self, ti_key=key))
        return watch, self.facts

    def _find_project(self, management: "Management") -> str:
        if self.project is None:
            return str(self.project_id)
        return management.ensure_training_project(self.project).id

    def conclude(self, management: "Management", context: "Context", result: dict[str, Any]) -> dict[str, Any]:
        """Add the checkpoints to the result."""
        found = management.list_checkpoints(result["training_project_id"], result["training_job_id"])
        if len(found) > _MAX_CHECKPOINTS:
            self.log.warning("The job has %d checkpoints; the result has the last %d.", len(found), _MAX_CHECKPOINTS)
        checkpoints = [checkpoint.model_dump(mode="json") for checkpoint in found[-_MAX_CHECKPOINTS:]]
        return {**result, "checkpoints": checkpoints}

    def fail(self, management: "Management", context: "Context", error: "BasetenError") -> None:
        """Remove the record of a job that has ended without success, so that the next attempt creates a new one."""
        from airflow_provider_baseten.exceptions import BasetenTrainingError

        if isinstance(error, BasetenTrainingError):
            self.open_ledger(context, "training_job").delete()

    def page_at(self, management_url: str) -> str:
        """Return the URL of the page of the job; empty until it is known."""
        if "training_job_id" not in self.facts:
            return ""
        return page_of_training_job(self.facts["training_project_id"], self.facts["training_job_id"], management_url)
