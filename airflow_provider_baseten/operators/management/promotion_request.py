"""Promotion request: the promotion of a task instance, sent once for all its attempts."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenError, BasetenNotFoundError
from airflow_provider_baseten.idempotency.ledger import Entry, Ledger, fingerprint_request, intent, write_persistently
from airflow_provider_baseten.waiting.management.deployment import missing_error, result_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.management.call import Call
    from airflow_provider_baseten.api.management.deployments import Deployment
    from airflow_provider_baseten.api.management.environments import Environment
    from airflow_provider_baseten.client.management import Management
    from airflow_provider_baseten.waiting.log import Log

# Seconds by which the clocks of this machine and of Baseten may differ.
_CLOCK_DIFFERENCE = 60.0
# After a lost answer, the environment is read this often, because it may show the promotion a little later.
_LOOKS = 5
_PAUSE = 2.0


class PromotionRequest:
    """The promotion of a task instance. One attempt sends it, and each later attempt finds it.

    Baseten returns the id of a deployment that may be another one than the one to promote. The ledger records this id,
    so that a retry knows which deployment to follow. If the answer was lost, the state of the environment shows it.

    :param model_id: id of the model.
    :param deployment_id: id of the deployment to promote.
    :param environment: name of the environment.
    :param ledger: ledger of the task instance.
    :param log: log of the task.
    """

    #: Whether this or an earlier attempt has sent the request.
    was_sent = False

    def __init__(self, model_id: str, deployment_id: str, environment: str, ledger: Ledger, log: "Log") -> None:
        #: State of the deployment, if it is in the environment already.
        self.state: dict[str, Any] = {}
        self._model_id = model_id
        self._deployment_id = deployment_id
        self._environment = environment
        self._ledger = ledger
        self._log = log
        self._name = f"deployment {deployment_id} of model {model_id}"

    def ensure_sent(self, management: "Management", context: "Context", call: "Call[Deployment]") -> tuple[str, bool]:
        """Send the request, or find the promotion that was sent. Return the id of the deployment to follow, and whether
        it is in the environment already.

        :param call: the call that promotes.
        :raises BasetenDeploymentError: another promotion is in progress.
        """
        wanted = intent(context, fingerprint_request(call.request), "promotion")
        mine = self._earlier(wanted)
        found, promoted = self._look(management, mine)
        if promoted is not None:
            self.was_sent = mine is not None
            return promoted, self._is_complete(found, promoted)
        self._refuse_other(found)
        wanted = replace(wanted, before=_ids_of(found))
        self._ledger.write(wanted)
        deployment_id = self._send(management, call, wanted)
        self.was_sent = True
        write_persistently(self._ledger, replace(wanted, request_id=deployment_id))
        other = "" if deployment_id == self._deployment_id else f" as deployment {deployment_id}"
        self._log.info("Promoting %s to %s%s.", self._name, self._environment, other)
        return deployment_id, False

    def _send(self, management: "Management", call: "Call[Deployment]", wanted: Entry) -> str:
        try:
            return management.call(call).id
        except BasetenError as error:
            if error.may_have_run:
                return self._find_after_loss(management, wanted, error)
            self._ledger.delete()
            self._refuse_other(self._read(management))
            raise

    def _earlier(self, wanted: Entry) -> Entry | None:
        """Return the record of an earlier attempt for the same promotion; ``None`` if there is none.

        A cleared task uses it too if the id is known, because its own promotion may still be in progress.
        """
        entry = self._ledger.read()
        if entry is None or entry.fingerprint != wanted.fingerprint:
            return None
        return entry if entry.request_id is not None or entry.matches(wanted) else None

    def _find_after_loss(self, management: "Management", wanted: Entry, error: BasetenError) -> str:
        self._log.warning("%s Looking whether the promotion has begun.", error)
        _, promoted = self._look(management, wanted)
        if promoted is None:
            raise error
        return promoted

    def _look(self, management: "Management", entry: Entry | None) -> tuple["Environment", str | None]:
        """Read the environment, and return it and the result of :func:`find_promoted`.

        If the request may have been sent and its answer was lost, read it several times.
        """
        looks = 1 if entry is None or entry.request_id is not None else _LOOKS
        while True:
            found = self._read(management)
            promoted = find_promoted(found, self._deployment_id, entry)
            looks -= 1
            if promoted is not None or looks == 0:
                return found, promoted
            time.sleep(_PAUSE)

    def _read(self, management: "Management") -> "Environment":
        try:
            return management.get_environment(self._model_id, self._environment)
        except BasetenNotFoundError as error:
            raise missing_error(f"environment {self._environment} of model {self._model_id}", error) from None

    def _is_complete(self, found: "Environment", promoted: str) -> bool:
        current = found.current_deployment
        if current is None or current.id != promoted or _is_in_progress(found):
            return False
        self.state = result_of(current)
        self._log.info("Deployment %s is in %s already.", promoted, self._environment)
        return True

    def _refuse_other(self, found: "Environment") -> None:
        """Raise an error if another promotion to the environment is in progress."""
        promotion, candidate = found.in_progress_promotion, found.candidate_deployment
        if promotion is None or not _is_in_progress(found):
            return
        other = "another deployment" if candidate is None else f"deployment {candidate.id}"
        raise BasetenDeploymentError(
            f"{self._name} was not promoted to {self._environment}, because {other} is being promoted there: "
            f"{promotion.status}, {promotion.percent_traffic_to_new_version} % of the traffic. Wait for its end or "
            "cancel it; an environment has one promotion at a time.",
            error_code="PROMOTION_IN_PROGRESS",
            retryable=True,
        )


def find_promoted(found: "Environment", deployment_id: str, entry: Entry | None) -> str | None:
    """Return the id of the deployment that was or is being promoted for a task; ``None`` if none is.

    :param found: the environment.
    :param deployment_id: id of the deployment to promote.
    :param entry: record of an earlier attempt for the same promotion, ``None`` if there is none.
    """
    current = found.current_deployment
    candidate = found.candidate_deployment if _is_in_progress(found) else None
    if candidate is not None and entry is None:
        current = None  # The promotion in progress replaces it.
    ids = {deployment_id} if entry is None or entry.request_id is None else {deployment_id, entry.request_id}
    for deployment in (candidate, current):
        if deployment is not None and (deployment.id in ids or _is_redeployed(deployment, entry)):
            return deployment.id
    return None


def _is_redeployed(deployment: "Deployment", entry: Entry | None) -> bool:
    """Return whether Baseten has deployed the promoted deployment again under a new id, and the answer was lost."""
    if entry is None or entry.request_id is not None or entry.before is None or deployment.created_at is None:
        return False
    is_newer = deployment.created_at.timestamp() >= entry.created_at - _CLOCK_DIFFERENCE
    return is_newer and deployment.id not in entry.before.split(",")


def _is_in_progress(found: "Environment") -> bool:
    """Return whether a promotion is in progress. One that has failed may stay visible until the next one."""
    promotion = found.in_progress_promotion
    return promotion is not None and promotion.status not in {"SUCCEEDED", "FAILED", "CANCELED"}


def _ids_of(found: "Environment") -> str:
    deployments = (found.current_deployment, found.candidate_deployment)
    return ",".join(deployment.id for deployment in deployments if deployment is not None)
