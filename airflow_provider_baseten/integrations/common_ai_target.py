"""Names of models as the common AI provider takes them: the slug of a Model API, or the id of a model on Baseten."""

from airflow_provider_baseten.api.openai.chat import ONLY_MODEL
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError


def target_of(model: str) -> Target | ModelApis:
    """Return the target of a model.

    :param model: slug of a Model API, such as ``deepseek-ai/DeepSeek-V4-Pro``, or the id of a model with an
        OpenAI-compatible server: ``abcd1234`` for the environment ``production``, ``abcd1234@staging`` for another one.
    :raises BasetenInputError: it is neither.
    """
    if ":" in model:
        raise BasetenInputError(
            f"The model {shown(model)} is not on Baseten: give the slug of a Model API, such as "
            "'deepseek-ai/DeepSeek-V4-Pro', or the id of a model, such as 'abcd1234' or 'abcd1234@staging'."
        )
    if "/" in model:
        return ModelApis()
    model_id, _, environment = model.partition("@")
    return Target(model_id=model_id, environment=environment or None)


def name_in_requests(model: str) -> str:
    """Return the value of ``model`` in the body of a request: the slug, or ``baseten`` for a server of one model."""
    return model if isinstance(target_of(model), ModelApis) else ONLY_MODEL
