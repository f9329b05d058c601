"""Links from a task: to the page of its model or chain, and to the page in Airflow's UI that shows its progress."""

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink

from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.compat import push_early
from airflow_provider_baseten.exceptions import BasetenError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_provider_baseten.compat import TaskInstanceKey

APP_URL = "https://app.baseten.co"


class BasetenLink(BaseOperatorLink):
    """Link from a task to the page of its model or chain, or of the Model APIs.

    If the task names a deployment of a model, the link leads to the page with the logs of this deployment.

    The link is available while the task runs or is deferred, and after its end. If the management API of the connection
    is not Baseten's own (an emulator or a proxy), the link leads to the description of the model or chain in that API.

    The URL holds ids and a host name, nothing else. Baseten documents no URL for the logs of one request: search the
    logs for the task's ``request_id``.
    """

    name = "Baseten"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the URL; empty if the task has no valid target or no usable connection.

        :param operator: the task, with its templates rendered.
        :param ti_key: not used.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        task: Any = operator
        try:
            page: str = task.page_at(BasetenHook(task.baseten_conn_id).connection.management_url)
        except BasetenError:
            return ""
        return page


class BasetenProgressLink(BaseOperatorLink):
    """Link from a task to the page in Airflow's UI that shows its progress, its usage and its failure.

    The page is below ``[api] base_url``. Without this option, the link has no host, and works if Airflow's UI is at
    the root of its host.
    """

    name = "Progress"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the URL.

        :param operator: not used.
        :param ti_key: the task instance.
        """
        from airflow_provider_baseten.compat import conf
        from airflow_provider_baseten.pages import UI_PREFIX

        fields = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        base_url = (conf.get("api", "base_url", fallback=None) or "").rstrip("/")
        return f"{base_url}{UI_PREFIX}/task?{urlencode(fields | {'map_index': ti_key.map_index})}"


class LinkMixin:
    """Mixin of operators and sensors. It sets the links when the task starts; Airflow alone would set the links only
    when the task ends.
    """

    operator_extra_links: ClassVar[Any] = (BasetenLink(), BasetenProgressLink())

    @property
    def called_target(self) -> Target | ModelApis | None:
        """What the task calls; ``None`` for a task without a link.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return None

    def page_at(self, management_url: str) -> str:
        """Return the URL of the page of what the task calls; empty if there is none.

        :param management_url: URL of the management API of the connection.
        :raises BasetenInputError: a rendered argument is not valid.
        """
        return "" if self.called_target is None else page_of(self.called_target, management_url)

    def pre_execute(self, context: "Context") -> None:
        """Set the links; an error does not stop the task."""
        super().pre_execute(context)  # type: ignore[misc]
        with suppress(Exception):
            operator, key = cast("BaseOperator", self), cast("TaskInstanceKey", context["ti"])
            progress = BasetenProgressLink()
            push_early(context["ti"], progress.xcom_key, progress.get_link(operator, ti_key=key))
            if self.page:
                push_early(context["ti"], BasetenLink().xcom_key, self.page)

    @cached_property
    def page(self) -> str:
        """URL of the page of what the task calls; empty if there is none. It is known when the task runs."""
        return BasetenLink().get_link(cast("BaseOperator", self), ti_key=cast("TaskInstanceKey", None))


def page_of(target: Target | ModelApis, management_url: str) -> str:
    """Return the URL of the page of a target; empty if there is no page.

    :param target: model or chain, and its environment or deployment; or the Model APIs.
    :param management_url: URL of the management API of the connection.
    """
    from airflow_provider_baseten.client.credentials import MANAGEMENT_URL

    if isinstance(target, ModelApis):
        return f"{APP_URL}/model-apis" if management_url == MANAGEMENT_URL else ""
    kind, id_ = ("models", target.model_id) if target.model_id is not None else ("chains", target.chain_id)
    if management_url != MANAGEMENT_URL:
        deployment = f"/deployments/{target.deployment_id}" if target.deployment_id else ""
        return f"{management_url}/v1/{kind}/{id_}{deployment}"
    # Baseten has pages with logs for models and chainlets, but not for chains.
    if target.deployment_id and kind == "models":
        return f"{APP_URL}/models/{id_}/logs/{target.deployment_id}"
    return f"{APP_URL}/{kind}/{id_}/overview"


def page_of_training_job(project_id: str, job_id: str, management_url: str) -> str:
    """Return the URL of the page of a training job.

    :param management_url: URL of the management API of the connection.
    """
    from airflow_provider_baseten.client.credentials import MANAGEMENT_URL

    if management_url != MANAGEMENT_URL:
        return f"{management_url}/v1/training_projects/{project_id}/jobs/{job_id}"
    return f"{APP_URL}/training/{project_id}/logs/{job_id}"
