"""Operator that promotes a deployment to an environment."""

from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_flags, check_texts, given
from airflow_provider_baseten.exceptions import BasetenDeploymentError
from airflow_provider_baseten.operators.management.base import BasetenManagementOperator, WaitArguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.management.call import Call
    from airflow_provider_baseten.api.management.deployments import Deployment
    from airflow_provider_baseten.api.management.environments import PromotionSettingsUpdate
    from airflow_provider_baseten.api.management.promotions import EnvironmentSettingsUpdate
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.management import Management
    from airflow_provider_baseten.exceptions import BasetenError
    from airflow_provider_baseten.waiting.management.watch import Watch


class BasetenPromoteDeploymentOperator(BasetenManagementOperator):
    """Promote a deployment of a model to an environment, and follow the promotion to its end.

    The log shows the status of the promotion and the percentage of the traffic that the new deployment gets. The
    deployment in the result can be another one than the one that was given, because an environment may deploy it again
    on promotion.

    Nothing is sent if the deployment is in the environment already: ``changed`` in the result is false. A retry finds
    the promotion of the attempt before it, also if the answer to the request was lost. If another deployment is being
    promoted to the environment, the task fails, and the message names that deployment.

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :param model_id: id of the model. (templated)
    :param deployment_id: id of the deployment to promote; for ``production`` also ``development``. (templated)
    :param environment: name of the environment, by default ``production``. (templated)
    :param scale_down_previous_deployment: scale the previous deployment down; by default true.
    :param preserve_env_instance_type: keep the instance type of the environment; by default true.
    :param environment_settings_update: settings that the environment keeps when the promotion completes, by default
        none: see :class:`~airflow_provider_baseten.api.management.promotions.EnvironmentSettingsUpdate`. JSON as a
        text is allowed. (templated)
    :param promotion_settings_override: settings for this promotion only, by default none; what they leave out comes
        from the environment: see
        :class:`~airflow_provider_baseten.api.management.environments.PromotionSettingsUpdate`. JSON as a text
        is allowed. (templated)
    :param cancel_on_kill: cancel the promotion if the task is killed, by default false. A promotion that the task found
        and did not begin goes on. In deferrable mode it needs Airflow 3.3 or newer.

    :returns: ``{"deployment_id", "environment", "status", "active_replica_count", "changed"}``; without
        ``wait_for_completion`` only ``deployment_id``, ``environment`` and ``changed``.
    :raises BasetenInputError: an argument is not valid.
    :raises BasetenDeploymentError: another promotion is in progress; or the promotion failed or was canceled; or the
        deployment failed or was deleted.
    :raises BasetenTimeoutError: the promotion took too long. It goes on.

    https://docs.baseten.co/deployment/environments
    """

    template_fields = (
        *BasetenManagementOperator.template_fields,
        "model_id",
        "deployment_id",
        "environment",
        "environment_settings_update",
        "promotion_settings_override",
    )
    native_fields = ("environment_settings_update", "promotion_settings_override")

    def __init__(
        self,
        *,
        model_id: str,
        deployment_id: str,
        environment: str = "production",
        scale_down_previous_deployment: bool = True,
        preserve_env_instance_type: bool = True,
        environment_settings_update: "EnvironmentSettingsUpdate | None" = None,
        promotion_settings_override: "PromotionSettingsUpdate | None" = None,
        cancel_on_kill: bool = False,
        **kwargs: Unpack[WaitArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_texts(**given(model_id=model_id, deployment_id=deployment_id, environment=environment))
        check_flags(
            scale_down_previous_deployment=scale_down_previous_deployment,
            preserve_env_instance_type=preserve_env_instance_type,
            cancel_on_kill=cancel_on_kill,
        )
        self.model_id = model_id
        self.deployment_id = deployment_id
        self.environment = environment
        self.scale_down_previous_deployment = scale_down_previous_deployment
        self.preserve_env_instance_type = preserve_env_instance_type
        self.environment_settings_update = environment_settings_update
        self.promotion_settings_override = promotion_settings_override
        self.cancel_on_kill = cancel_on_kill

    @property
    def called_target(self) -> Target:
        """The environment.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(model_id=self.model_id, environment=self.environment)

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch | None", dict[str, Any]]:
        """Promote the deployment, or find its promotion, and return what to wait for."""
        from airflow_provider_baseten.operators.management.promotion_request import PromotionRequest
        from airflow_provider_baseten.waiting.management.promotion import PromotionWatch

        environment = str(self.called_target.environment)
        call = self._build(environment)
        request = PromotionRequest(
            self.model_id, self.deployment_id, environment, self.open_ledger(context, "promotion"), self.log
        )
        deployment_id, is_complete = request.ensure_sent(client.management, context, call)
        facts = {"deployment_id": deployment_id, "environment": environment, "changed": request.was_sent}
        if is_complete:
            return None, {**facts, **request.state}
        watch = PromotionWatch(
            began=began,
            model_id=self.model_id,
            environment=environment,
            deployment_id=deployment_id,
            cancel_on_kill=self.cancel_on_kill and request.was_sent,
        )
        return watch, facts

    def _build(self, environment: str) -> "Call[Deployment]":
        from airflow_provider_baseten.api.management.body import object_of
        from airflow_provider_baseten.api.management.promotions import promote

        return promote(
            self.model_id,
            self.deployment_id,
            environment,
            scale_down_previous_deployment=self.scale_down_previous_deployment,
            preserve_env_instance_type=self.preserve_env_instance_type,
            environment_settings_update=object_of("environment_settings_update", self.environment_settings_update),
            promotion_settings_override=object_of("promotion_settings_override", self.promotion_settings_override),
        )

    def fail(self, management: "Management", context: "Context", error: "BasetenError") -> None:
        """Remove the record of the promotion, so that the next attempt promotes again."""
        if isinstance(error, BasetenDeploymentError):
            self.open_ledger(context, "promotion").delete()
