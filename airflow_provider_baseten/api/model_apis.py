"""What is called at Baseten's Model APIs: one server for all models."""

from dataclasses import dataclass
from typing import NoReturn

from airflow_provider_baseten.api.target import Action, Target, check_base_url
from airflow_provider_baseten.arguments import check_exactly_one, check_flags
from airflow_provider_baseten.exceptions import BasetenInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelApis(Target):
    """Baseten's Model APIs, an OpenAI-compatible server where the ``model`` of a request selects who answers.

    :param base_url: where Baseten is reached instead of ``https://inference.baseten.co``, for example
        ``http://127.0.0.1:8700``; ``inference`` becomes the first part of the path.
    :raises BasetenInputError: an argument names a model, a chain or a version of one.

    https://docs.baseten.co/inference/model-apis/overview
    """

    def __post_init__(self) -> None:
        check_flags(regional=self.regional)
        given = (self.model_id, self.chain_id, self.environment, self.deployment_id)
        if any(value is not None for value in given) or self.regional:
            raise BasetenInputError(
                "Model APIs have no model_id, chain_id, environment, deployment_id or region: their model is named by "
                "its slug."
            )
        if self.base_url is not None:
            object.__setattr__(self, "base_url", check_base_url("base_url", self.base_url))

    def __str__(self) -> str:
        return "Model APIs"

    def url(self, action: Action) -> NoReturn:
        """Refuse: there are only the routes of an OpenAI-compatible server.

        :raises BasetenInputError: always.
        """
        raise BasetenInputError(f"Model APIs have no {action}: name a model or a chain for it.")

    def async_request_url(self, request_id: str) -> NoReturn:
        """Refuse: Model APIs have no async inference.

        :raises BasetenInputError: always.
        """
        raise BasetenInputError("Model APIs have no async inference: name a model or a chain for it.")

    @property
    def _server(self) -> str:
        return f"{self.base_url}/inference" if self.base_url is not None else "https://inference.baseten.co"


def openai_target(target: Target | None, model_apis: bool) -> Target:
    """Return what an OpenAI client is for.

    :raises BasetenInputError: both or neither are given.
    """
    check_flags(model_apis=model_apis)
    check_exactly_one(**{"target": target, "model_apis=True": model_apis or None})
    return target or ModelApis()
