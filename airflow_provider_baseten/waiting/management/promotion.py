"""Watch of a promotion: follows it until the environment has the promoted deployment."""

from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api.excerpts import one_line
from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.management.environments import Environment, get_environment
from airflow_provider_baseten.api.management.promotions import cancel_promotion
from airflow_provider_baseten.api.management.statuses import FAILED_STATUSES
from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenError
from airflow_provider_baseten.waiting.management.deployment import failure_of, missing_error, result_of
from airflow_provider_baseten.waiting.management.watch import State, Watch

# Seconds for which an environment may show neither the promotion nor its result.
_GRACE = 60.0
_ENDED_WITHOUT = frozenset({"FAILED", "CANCELED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionWatch(Watch):
    """Waits until a deployment is the current one of an environment.

    :param model_id: id of the model.
    :param environment: name of the environment.
    :param deployment_id: id of the deployment that Baseten returned for the promotion.
    :param cancel_on_kill: whether a kill of the task cancels the promotion.
    """

    kind = "promotion"

    model_id: str
    environment: str
    deployment_id: str
    cancel_on_kill: bool = False

    @property
    def name(self) -> str:
        """Name of the promotion."""
        return f"the promotion of {self._deployment} to {self.environment}"

    @property
    def _deployment(self) -> str:
        return f"deployment {self.deployment_id} of model {self.model_id}"

    def call(self) -> Call[Environment]:
        """Return the call that reads the environment."""
        return get_environment(self.model_id, self.environment)

    def judge(self, found: Environment, now: float) -> State:
        """Return the state of the promotion."""
        promotion, current, candidate = (
            found.in_progress_promotion,
            found.current_deployment,
            found.candidate_deployment,
        )
        is_candidate = candidate is not None and candidate.id == self.deployment_id
        is_of_other = candidate is not None and not is_candidate
        # When this promotion has ended, another one may have begun.
        has_ended = promotion is None or is_of_other or promotion.status == "SUCCEEDED"
        if current is not None and current.id == self.deployment_id and not is_candidate and has_ended:
            return State(text="complete", is_done=True, result={**result_of(current), "environment": found.name})
        # A promotion that has failed may stay visible until the next one.
        if promotion is None or (is_of_other and promotion.status in _ENDED_WITHOUT):
            if now < self.began + _GRACE:
                return State(text="not visible yet")
            return State(text="not in progress", error=self._failure(found, "not in progress any more", None))
        text = f"{promotion.status}, {promotion.percent_traffic_to_new_version} % of the traffic"
        if promotion.status in _ENDED_WITHOUT:
            return State(text=text, error=self._failure(found, promotion.status, promotion.error_message))
        if candidate is not None and is_candidate and candidate.status in FAILED_STATUSES:
            return State(text=text, error=failure_of(f"{self._deployment}, which is being promoted,", candidate))
        if candidate is not None and is_of_other:
            return State(text=text, error=self._replaced(candidate.id, promotion.percent_traffic_to_new_version))
        return State(text=text)

    def missing(self, error: BasetenError) -> BasetenError:
        """Return the error for an environment that does not exist, or not any more."""
        return missing_error(f"environment {self.environment} of model {self.model_id}", error)

    def stop_calls(self) -> list[Call[Any]]:
        """Return the call that cancels the promotion, if that is wanted."""
        return [cancel_promotion(self.model_id, self.environment)] if self.cancel_on_kill else []

    def _failure(self, found: Environment, status: str, message: str | None) -> BasetenDeploymentError:
        reason = f" Baseten says: {one_line(message, 300).rstrip('.')}." if message else ""
        current = found.current_deployment
        has = "no deployment" if current is None else f"deployment {current.id}"
        return BasetenDeploymentError(
            f"{self.name} is {status}; the environment has {has}.{reason} Read the log of the deployment and the audit "
            "log of the model.",
            error_code=status if status.isupper() else None,
        )

    def _replaced(self, candidate_id: str, percent: int) -> BasetenDeploymentError:
        return BasetenDeploymentError(
            f"{self.name} was replaced: deployment {candidate_id} is being promoted instead, with {percent} % of the "
            "traffic."
        )
