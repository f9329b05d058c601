"""Base of the operators for one deployment of a model or a chain."""

from typing import Any, Unpack

from airflow_provider_baseten.api.target import Target, require_one_target
from airflow_provider_baseten.arguments import check_texts, given
from airflow_provider_baseten.operators.management.base import BasetenManagementOperator, WaitArguments


class BasetenDeploymentOperator(BasetenManagementOperator):
    """Base of operators for one deployment.

    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given. (templated)
    :param chain_id: id of the chain. (templated)
    :param environment: environment whose deployment is meant, by default ``production``; ``development`` is the
        development deployment. (templated)
    :param deployment_id: id of the deployment, instead of an environment. (templated)

    :raises BasetenInputError: the arguments name no deployment, or contradict each other.
    """

    template_fields: Any = (
        *BasetenManagementOperator.template_fields,
        "model_id",
        "chain_id",
        "environment",
        "deployment_id",
    )

    def __init__(
        self,
        *,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        **kwargs: Unpack[WaitArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_texts(**given(model_id=model_id, chain_id=chain_id, environment=environment, deployment_id=deployment_id))
        require_one_target(model_id, chain_id, environment, deployment_id)
        self.model_id = model_id
        self.chain_id = chain_id
        self.environment = environment
        self.deployment_id = deployment_id

    @property
    def called_target(self) -> Target:
        """The deployment, or the environment with its deployment.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(
            model_id=self.model_id,
            chain_id=self.chain_id,
            environment=self.environment,
            deployment_id=self.deployment_id,
        )
