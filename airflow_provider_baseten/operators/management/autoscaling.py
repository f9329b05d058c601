"""Operator that changes autoscaling settings."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.arguments import given
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.management.base import WaitArguments
from airflow_provider_baseten.operators.management.deployment import BasetenDeploymentOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.management.autoscaling import AutoscalingUpdate
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.management import Management
    from airflow_provider_baseten.waiting.management.watch import Watch


class DeploymentArguments(WaitArguments, total=False):
    """Keyword arguments that an operator passes to :class:`~.deployment.BasetenDeploymentOperator`."""

    model_id: str | None
    environment: str | None
    deployment_id: str | None


class BasetenUpdateAutoscalingOperator(BasetenDeploymentOperator):
    """Change autoscaling settings of a deployment or an environment of a model, and wait until they are applied.

    The settings of an environment also hold for the deployments that are promoted to it later. If the settings are the
    wanted ones already, nothing is sent: ``changed`` in the result is false. So a retry changes nothing.

    While an autoscaling schedule applies to the environment, its deployment keeps the settings of the schedule. The
    task then logs a warning that names the schedule, and waits only for the settings of the environment.

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :param autoscaling_settings: the settings to change, for example ``{"min_replica": 0, "max_replica": 4}``; others
        stay as they are, and ``None`` clears a setting. JSON as a text is allowed. See
        :class:`~airflow_provider_baseten.api.management.autoscaling.AutoscalingUpdate`. (templated)

    :returns: ``{"autoscaling_settings", "changed"}``: all settings after the change; without ``wait_for_completion``
        only ``changed``.
    :raises BasetenInputError: the target is a chain, or a setting is unknown or out of its bounds.
    :raises BasetenDeploymentError: the deployment was deleted while the task waited for it.
    :raises BasetenTimeoutError: the settings were not applied in time.

    https://docs.baseten.co/deployment/autoscaling/overview
    """

    template_fields = (*BasetenDeploymentOperator.template_fields, "autoscaling_settings")
    native_fields = ("autoscaling_settings",)

    def __init__(
        self, *, autoscaling_settings: "AutoscalingUpdate | Mapping[str, Any]", **kwargs: Unpack[DeploymentArguments]
    ) -> None:
        super().__init__(**kwargs)
        if given(value=autoscaling_settings) and not isinstance(autoscaling_settings, Mapping | str):
            raise BasetenInputError(
                "autoscaling_settings takes an object, for example {'min_replica': 0}, not a "
                f"{type(autoscaling_settings).__name__}."
            )
        self.autoscaling_settings = autoscaling_settings

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch | None", dict[str, Any]]:
        """Change the settings unless they are the wanted ones, and return what to wait for."""
        from airflow_provider_baseten.api.management.autoscaling import check_autoscaling
        from airflow_provider_baseten.api.management.body import object_of
        from airflow_provider_baseten.api.management.environments import Environment
        from airflow_provider_baseten.api.management.path import model_target
        from airflow_provider_baseten.waiting.management import autoscaling
        from airflow_provider_baseten.waiting.management.deployment import read_call

        target = model_target(self.called_target, "common autoscaling settings")
        settings = check_autoscaling(object_of("autoscaling_settings", self.autoscaling_settings))
        found = client.management.call(read_call(target))
        schedule = autoscaling.applied_schedule(found) if isinstance(found, Environment) else None
        if schedule is not None:
            self.log.warning(
                "The autoscaling schedule '%s' applies to %s now (min_replica %s, max_replica %s): the new settings "
                "hold when it has ended.",
                schedule.name,
                target,
                schedule.autoscaling_settings.min_replica,
                schedule.autoscaling_settings.max_replica,
            )
        # `None` clears a setting, and what Baseten then reports is not documented. So it is always sent.
        if None not in settings.values() and autoscaling.has_settings(found, settings):
            self.log.info("%s has the wanted autoscaling settings already.", target)
            current = autoscaling.settings_of(found)
            shown = None if current is None else current.model_dump(mode="json")
            return None, {"autoscaling_settings": shown, "changed": False}
        status = self._update(client.management, settings)
        self.log.info("Changed the autoscaling settings of %s: %s (%s).", target, settings, status or "ACCEPTED")
        watch = autoscaling.AutoscalingWatch(began=began, target=asdict(target), settings=settings)
        return watch, {"changed": True}

    def _update(self, management: "Management", settings: dict[str, Any]) -> str | None:
        target = self.called_target
        if target.deployment_id is None and target.environment != "development":
            update: Any = {"autoscaling_settings": settings}
            return management.update_environment(str(target.model_id), str(target.environment), update).status
        return management.update_autoscaling(target, settings).status  # type: ignore[arg-type]
