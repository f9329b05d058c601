"""Controls of a running emulator: what a test lets happen to deployments, training jobs and the async queue."""

import asyncio
from collections.abc import Callable
from functools import partial

from airflow_provider_baseten.emulator.deployments import FAILED_STATUSES, Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.gateway import Gateway
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.training.jobs import JobStatus, TrainingJob


class Controls:
    """Methods of the emulator that change its state. They can be called from any thread."""

    _gateway: Gateway
    _workspace: Workspace
    _loop: asyncio.AbstractEventLoop | None = None

    def hold(self, id_: str | None = None) -> None:
        """Pause the async queue: queued and new requests do not start. Running requests continue.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._run_in_loop(lambda: self._gateway.async_inference.hold(id_))

    def release(self, id_: str | None = None) -> None:
        """Resume the async queue after :meth:`hold`.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._run_in_loop(lambda: self._gateway.async_inference.release(id_))

    def deactivate(self, id_: str, deployment_id: str | None = None) -> None:
        """Deactivate deployments: new and waiting requests get status 400.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(deployment.deactivate)

    def activate(self, id_: str, deployment_id: str | None = None) -> None:
        """Activate deployments again.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(deployment.activate)

    def set_status(self, id_: str, status: str, deployment_id: str | None = None) -> None:
        """Let deployments fail, become unhealthy or recover, at once.

        :param id_: id of the model or chain.
        :param status: ``BUILD_FAILED``, ``BUILD_STOPPED``, ``DEPLOY_FAILED`` or ``FAILED``, ``UNHEALTHY``, or
            ``ACTIVE`` for the recovery.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        if status not in {*FAILED_STATUSES, "UNHEALTHY", "ACTIVE"}:
            raise EmulatorError(f"A deployment can't be set to the status {status}.")
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(partial(deployment.set_status, status))

    def fail_next_start(self, id_: str, status: str = "DEPLOY_FAILED", deployment_id: str | None = None) -> None:
        """Let the next start of deployments fail: an activation, a retry, or a redeployment by a promotion.

        Several calls let several starts fail, one after the other.

        :param id_: id of the model or chain.
        :param status: status with which the start ends, one of the failures or ``UNHEALTHY``.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        if status not in {*FAILED_STATUSES, "UNHEALTHY"}:
            raise EmulatorError(f"A start can't fail with the status {status}.")
        for deployment in self._deployments(id_, deployment_id):
            deployment.next_failures.append(status)

    def fail_promotion(self, id_: str, message: str, environment: str = "production") -> None:
        """Let the promotion in progress fail; if none is in progress, the next one.

        :param id_: id of the model or chain.
        :param message: ``error_message`` of the promotion.
        :param environment: name of the environment.
        """
        found = self._endpoint(id_).environments.get(environment)
        if found is None:
            raise EmulatorError(f"{id_} has no environment {environment}.")
        promotion = found.promotion
        if promotion is None or not promotion.is_in_progress:
            found.next_failure = message
        else:
            self._run_in_loop(lambda: promotion.fail(message))

    def delete(self, id_: str) -> None:
        """Delete a model or chain, as a user of the workspace could at any time."""
        endpoint = self._endpoint(id_)
        self._run_in_loop(lambda: self._workspace.delete_endpoint(endpoint))

    @property
    def training_jobs(self) -> dict[str, TrainingJob]:
        """Training jobs by id, the oldest first."""
        return dict(self._workspace.training.jobs)

    def hold_training(self) -> None:
        """Let new training jobs wait for capacity until :meth:`release_training`."""
        self._run_in_loop(self._workspace.training.hold)

    def release_training(self) -> None:
        """Let training jobs start that have waited because of :meth:`hold_training`."""
        self._run_in_loop(self._workspace.training.release)

    def fail_training_job(self, job_id: str, message: str, status: JobStatus = "TRAINING_JOB_FAILED") -> None:
        """Let a training job fail that has not ended, for example as if its node had been preempted.

        :param job_id: id of the job.
        :param message: its ``error_message``.
        :param status: ``TRAINING_JOB_FAILED`` or ``TRAINING_JOB_DEPLOY_FAILED``.
        """
        job = self._workspace.training.jobs.get(job_id)
        if job is None or job.has_ended:
            raise EmulatorError(f"There is no training job {job_id} that has not ended.")
        self._run_in_loop(lambda: self._workspace.training.fail_job(job, status, message))

    def _check_id(self, id_: str | None) -> None:
        if id_ is not None:
            self._deployments(id_, None)

    def _deployments(self, id_: str, deployment_id: str | None) -> list[Deployment]:
        endpoint = self._endpoint(id_)
        if deployment_id is None:
            return list(endpoint.deployments.values())
        if deployment_id not in endpoint.deployments:
            raise EmulatorError(f"{endpoint.kind.capitalize()} {id_} has no deployment {deployment_id}.")
        return [endpoint.deployments[deployment_id]]

    def _endpoint(self, id_: str) -> Endpoint:
        endpoint = self._workspace.models.get(id_) or self._workspace.chains.get(id_)
        if endpoint is None:
            raise EmulatorError(f"There is no model or chain {id_}.")
        return endpoint

    def _run_in_loop(self, function: Callable[[], object]) -> None:
        """Call a function in the server's event loop. If the server is not running, call the function directly.

        :raises EmulatorError: the function needs time, and the server is not running.
        """
        if self._loop is None:
            try:
                function()
            except RuntimeError as exc:  # There is no event loop that could measure the time.
                raise EmulatorError("Start the emulator first: this change takes time.") from exc
            return

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
