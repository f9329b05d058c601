"""Links from a task to what it called."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk import BaseOperatorLink

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.compat import push_link
from airflow_provider_baseten.exceptions import BasetenError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_provider_baseten.compat import TaskInstanceKey

APP_URL = "https://app.baseten.co"


class BasetenLink(BaseOperatorLink):
    """The page of the model or chain that the task called, or the logs of the deployment if the task names one; for the
    Model APIs their page.

    It is there while the task runs or is deferred, and after its end. Where the connection's management API is not
    Baseten's own (an emulator or a proxy), it leads to what that says of the model or chain.

    It carries ids and the address of a host, nothing else. Baseten documents no address for the logs of one request:
    search them for the task's ``request_id``.
    """

    name = "Baseten"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the link; empty if the task has no valid target or no usable connection.

        :param operator: the task, with its templates rendered.
        :param ti_key: not used.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        task: Any = operator
        names = ("model_id", "chain_id", "environment", "deployment_id")
        named: dict[str, Any] = {name: getattr(task, name, None) for name in names}
        try:
            target = None if getattr(task, "model_apis", False) else Target(**named)
            return page_of(target, BasetenHook(task.baseten_conn_id).connection.management_url)
        except BasetenError:
            return ""


class LinkMixin:
    """Mixed into an operator or sensor: the link is there as soon as it runs; Airflow itself sets links at the end."""

    operator_extra_links: ClassVar[Any] = (BasetenLink(),)

    def pre_execute(self, context: "Context") -> None:
        """Set the link. Without one the task runs all the same."""
        super().pre_execute(context)  # type: ignore[misc]
        with suppress(Exception):
            link, task = BasetenLink(), context["ti"]
            operator, key = cast("BaseOperator", self), cast("TaskInstanceKey", task)
            if page := link.get_link(operator, ti_key=key):
                push_link(task, link.xcom_key, page)


def page_of(target: Target | None, management_url: str) -> str:
    """Return the address of a page about what was called; empty if there is none.

    :param target: model or chain, and its environment or deployment; ``None`` for the Model APIs.
    :param management_url: management API of the connection.
    """
    from airflow_provider_baseten.client.credentials import MANAGEMENT_URL

    if target is None:
        return f"{APP_URL}/model-apis" if management_url == MANAGEMENT_URL else ""
    kind, id_ = ("models", target.model_id) if target.model_id is not None else ("chains", target.chain_id)
    if management_url != MANAGEMENT_URL:
        deployment = f"/deployments/{target.deployment_id}" if target.deployment_id else ""
        return f"{management_url}/v1/{kind}/{id_}{deployment}"
    # The logs of a chain belong to its chainlets.
    if target.deployment_id and kind == "models":
        return f"{APP_URL}/models/{id_}/logs/{target.deployment_id}"
    return f"{APP_URL}/{kind}/{id_}/overview"
