"""Hook that runs the decorators of ``apache-airflow-providers-common-ai`` on Baseten.

Airflow imports this module for connections of type ``pydanticai_baseten``. No module of this package imports it.
"""

from typing import TYPE_CHECKING, Any

from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook

from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.get_provider_info import LLM_FIELD_BEHAVIOUR
from airflow_provider_baseten.hooks.key_check import check_keys
from airflow_provider_baseten.integrations.common_ai_connection import LLM_CONN_TYPE, ModelConnection, read_connection

if TYPE_CHECKING:
    from pydantic_ai.models import Model


class BasetenLLMHook(PydanticAIHook):
    """Hook for ``@task.llm``, ``@task.agent`` and the other decorators of the common AI provider, on Baseten.

    The model is named by ``model_id`` or by the extra ``model`` of the connection: the slug of a Model API, such as
    ``deepseek-ai/DeepSeek-V4-Pro``, or the id of a model with an OpenAI-compatible server, ``abcd1234`` for the
    environment ``production``, ``abcd1234@staging`` for another one.

    A request that did not run is sent again within its turn, at most 8 times in an hour. In a chain of fallbacks, only
    the last connection does this. A retry of the task begins the whole run again.

    :param llm_conn_id: id of the Airflow connection, of type ``pydanticai_baseten``.
    :param model_id: name of the model; by default the extra ``model`` of the connection.
    :param fallback_conn_ids: connections that are tried, in this order, if a request to Baseten fails.
    """

    conn_type = LLM_CONN_TYPE
    default_conn_name = "pydanticai_baseten_default"
    hook_name = "Pydantic AI (Baseten)"

    @staticmethod
    def get_ui_field_behaviour() -> dict[str, Any]:
        """Return the labels of the connection form, for Airflow 3.1; newer versions read the provider info."""
        return LLM_FIELD_BEHAVIOUR

    def get_conn(self) -> "Model":
        """Return the model, with its chain of fallbacks.

        :raises BasetenError: a field of the connection is not valid, or no model is named.
        """
        from airflow_provider_baseten.integrations.common_ai_model import BasetenModel

        model = super().get_conn()
        members = getattr(model, "models", [model])
        chain = tuple(member for member in members if isinstance(member, BasetenModel))
        for member in chain:
            member.chain = chain
        return model

    def test_connection(self) -> tuple[bool, str]:
        """Check the fields of the connection, and that the management API accepts its keys. This costs nothing.

        :returns: whether the connection works, and a sentence that confirms it or names the error.
        """
        try:
            # Errors leave out the id of the connection, because Airflow tests the connection under a random id.
            connection = self._connection(called="the connection")
            if self._get_configured_model_name():
                self.get_conn()
            return check_keys(connection.credentials)
        except (BasetenError, ValueError) as problem:
            return False, str(problem)

    # Overrides of private methods: the common AI provider has no public way to replace the model.

    def _resolve_own_model(
        self,
        *,
        forwarded_model_id: str | None = None,
        forwarded_from_conn_id: str | None = None,
        forwarded_model_provider: str | None = None,
    ) -> "Model":
        try:
            from airflow_provider_baseten.integrations.common_ai_model import BasetenModel
        except ImportError as missing:
            raise BasetenInputError(
                f"Models on Baseten need a package that is not installed ({missing.name}): pip install "
                "'airflow-provider-baseten[common-ai]'."
            ) from None
        connection = self._connection()
        name = self._get_configured_model_name()
        if not name and forwarded_model_id and ":" not in forwarded_model_id.removeprefix("baseten:"):
            name = forwarded_model_id
        if not name:
            raise BasetenInputError(
                f"No model is named: give model_id, or enter the extra model in connection '{self.llm_conn_id}'."
            )
        if not isinstance(name, str):
            raise BasetenInputError(f"The model of connection '{self.llm_conn_id}' is not a text.")
        return BasetenModel(name.removeprefix("baseten:"), connection, has_fallback=bool(self._get_fallback_conn_ids()))

    def _resolve_fallback_models(self) -> "list[Model]":
        from airflow_provider_baseten.integrations.common_ai_model import BasetenModel

        models = super()._resolve_fallback_models()
        return [
            model.with_fallback() if isinstance(model, BasetenModel) and model is not models[-1] else model
            for model in models
        ]

    def _connection(self, called: str | None = None) -> ModelConnection:
        return read_connection(self._get_conn_and_extra()[0], called)
