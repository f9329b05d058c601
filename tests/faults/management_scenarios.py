"""Runs of tasks that train and promote: how many jobs and promotions come of one task is counted at Baseten's side."""

from pathlib import Path
from typing import Any, Self

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.faults import Fault
from airflow_provider_baseten.emulator.records import RecordedRequest
from airflow_provider_baseten.emulator.training.jobs import TrainingJob
from tests.faults.cluster import Cluster
from tests.faults.models import API_KEY
from tests.faults.task_run import TaskRun
from tools.airflow_api import loopback_session

# A job that Baseten has to kill, because it does not end when it is asked to.
STUBBORN = "trap '' TERM"


class ManagementScenario(TaskRun):
    """A run of a task that calls the management API.

    :param creation: path of the call that is paid for, without `/v1/`
    :param root: beginning of the paths of all its calls
    """

    creation: str
    root: str

    def asked(self) -> list[RecordedRequest]:
        """What the emulator was sent below the path of this scenario."""
        return [request for request in self.baseten.requests if (request.action or "").startswith(f"{self.root}/")]

    def requests(self, path: str, method: str = "POST") -> int:
        """How many requests with this path the emulator was sent, whether or not it answered."""
        return sum((request.action, request.method) == (path, method) for request in self.asked())

    @property
    def posts(self) -> int:
        """How often the request was sent."""
        return self.requests(self.creation)

    def inject(self, **fault: Any) -> Self:
        """Let something go wrong with the next request."""
        self.baseten.inject(Fault(action=self.creation, method="POST", **fault))
        return self

    def kill_worker_when_posted(self) -> None:
        """Kill the worker while it waits for the answer."""
        self.wait_until(lambda: self.posts == 1, "the POST")
        self.kill_worker()

    def call(self, path: str, body: object = None) -> Any:
        """Call the management API as another client does."""
        session = loopback_session()
        answer = session.post(
            f"{self.baseten.url}/v1/{path}", json=body, headers={"Authorization": f"Api-Key {API_KEY}"}, timeout=60
        )
        answer.raise_for_status()
        return answer.json()


class TrainingScenario(ManagementScenario):
    """A run of a task that trains in a project of its own."""

    task_id = "train"

    def __init__(self, cluster: Cluster, baseten: Emulator, name: str, notes: Path) -> None:
        super().__init__(cluster, baseten, name, notes)
        project = self.call("training_projects", {"training_project": {"name": name}})["training_project"]
        self.project_id = project["id"]
        self.root = f"training_projects/{self.project_id}"
        self.creation = f"{self.root}/jobs"
        self._gate = notes / "gate"

    def start(self, dag_id: str, *, pause_at: str | None = None, before: str = ":") -> Self:
        """Start the run.

        :param pause_at: where the first try stops until it is killed: `start`, `defer` or `end`
        :param before: what the job does before it waits
        """
        command = f"{before}; until [ -e '{self._gate}' ]; do sleep 0.1; done"
        return self.start_run(dag_id, pause_at, project_id=self.project_id, command=command)

    @property
    def jobs(self) -> list[TrainingJob]:
        """The jobs of the project, the oldest first."""
        return [job for job in self.baseten.training_jobs.values() if job.project_id == self.project_id]

    @property
    def statuses(self) -> list[str]:
        """How the jobs stand."""
        return [job.status.removeprefix("TRAINING_JOB_") for job in self.jobs]

    def release(self) -> None:
        """Let the jobs end."""
        self._gate.touch()

    def wait_for_statuses(self, *statuses: str) -> None:
        """Wait until the jobs stand like this."""
        self.wait_until(lambda: self.statuses == list(statuses), f"{statuses}")

    def wait_until_watched(self) -> None:
        """Wait until somebody has asked for the status of a running job, so it is created and noted."""
        self.wait_until(
            lambda: self.statuses == ["RUNNING"] and self.requests(f"{self.creation}/{self.jobs[0].id}", "GET") > 0,
            "a status call",
        )

    def check(self, posts: int, *statuses: str) -> None:
        """Check how often a job was sent, how the jobs stand, and that the task has the result of the last one."""
        assert (self.posts, self.statuses) == (posts, list(statuses)), self.all_logs()
        if statuses[-1] == "COMPLETED":
            assert self.output["training_job_id"] == self.jobs[-1].id


class PromotionScenario(ManagementScenario):
    """A run of a task that promotes the new deployment of a model of its own to production."""

    task_id = "promote"

    def __init__(self, cluster: Cluster, baseten: Emulator, model: str, notes: Path) -> None:
        super().__init__(cluster, baseten, model, notes)
        self.model = baseten.models[model]
        self.new = new_deployment(model)
        self.root = f"models/{model}"
        self.creation = f"{self.root}/deployments/{self.new}/promote"
        self._environment = f"{self.root}/environments/production"

    def start(self, dag_id: str, *, pause_at: str | None = None) -> Self:
        """Start the run.

        :param pause_at: where the first try stops until it is killed: `start`, `defer` or `end`
        """
        return self.start_run(dag_id, pause_at, model=self.name, deployment=self.new)

    @property
    def candidate(self) -> str | None:
        """Id of the deployment that is being promoted."""
        environment = self.model.environments["production"]
        return environment.promotion.candidate.id if environment.promotion and environment.is_promoting else None

    @property
    def current(self) -> str | None:
        """Id of the deployment in production."""
        return self.model.environments["production"].deployment_id

    @property
    def cancels(self) -> int:
        """How often the promotion was canceled."""
        return self.requests(f"{self._environment}/cancel_promotion")

    def release(self) -> None:
        """Let the promotion in progress end."""
        self.wait_until(lambda: self.candidate is not None, "a promotion")
        self.call(f"{self._environment}/force_roll_forward_promotion")

    def wait_until_watched(self) -> None:
        """Wait until somebody has looked at the promotion, so it is sent and noted."""

        def is_watched() -> bool:
            asked = [(request.action, request.method) for request in self.asked()]
            sent = (self.creation, "POST")
            return sent in asked and (self._environment, "GET") in asked[asked.index(sent) :]

        self.wait_until(is_watched, "a look at the promotion")

    def check(self, posts: int, new_deployments: int = 0) -> None:
        """Check how often the promotion was sent, and that the task has the deployment that is in production.

        :param new_deployments: how many deployments promotions have made
        """
        added = list(self.model.deployments)[2:]
        assert (self.posts, len(added)) == (posts, new_deployments), self.all_logs()
        assert self.current == [self.new, *added][-1]
        assert self.output["deployment_id"] == self.current


def new_deployment(model: str) -> str:
    """Return the id of the deployment of a model that a scenario promotes."""
    return f"{model}new"
