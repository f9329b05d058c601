"""Waits for async requests that something else has sent."""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_baseten.api.async_requests import Outcome, Wait
from airflow_provider_baseten.api.target import Target, require_one_target
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.links import BasetenLink
from airflow_provider_baseten.policies import BasetenRetryPolicy, ObeysRetryPolicy
from airflow_provider_baseten.rendering import RendersTexts

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.async_results import AsyncResults
    from airflow_provider_baseten.compat import RetryPolicy

# Seconds that Airflow waits longer than the trigger's own deadline before it ends the deferral by itself.
_BACKSTOP = 300.0
_DOUBT_INTERVAL = 5.0


class BasetenAsyncRequestSensor(RendersTexts, ObeysRetryPolicy, BaseSensorOperator):
    """Wait for one or many async requests, and return their outputs by request id.

    :param request_ids: one id, or a list of ids. (templated)
    :param model_id: id of the model that was called; exactly one of ``model_id`` and ``chain_id``. (templated)
    :param chain_id: id of the chain that was called. (templated)
    :param expects_delivery: whether the outputs come by webhook into the result store; by default true. Otherwise the
        sensor returns ``{"request_id", "status"}`` for each.
    :param result_path: URI where the model stores its outputs; ``{request_id}`` in it stands for the id. (templated)
    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``. (templated)
    :param deferrable: wait in the triggerer, by default ``[operators] default_deferrable``.
    :param retry_policy: what happens to a failure, by default
        :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy`.

    ``mode="reschedule"``, ``poke_interval``, ``timeout`` and ``soft_fail`` are Airflow's own.

    :raises BasetenAsyncRequestError: one of the requests failed, expired or was cancelled.
    :raises BasetenResultLostError: one may have succeeded, but its output is nowhere.
    :raises AirflowSensorTimeout: there was no result in time.

    It sends nothing and pays nothing; a retry looks again. https://docs.baseten.co/inference/async
    """

    template_fields: Sequence[str] = ("request_ids", "model_id", "chain_id", "result_path", "baseten_conn_id")
    operator_extra_links = (BasetenLink(),)
    ui_color = "#e3f4e1"

    def __init__(
        self,
        *,
        request_ids: str | Sequence[str],
        model_id: str | None = None,
        chain_id: str | None = None,
        expects_delivery: bool = True,
        result_path: str | None = None,
        baseten_conn_id: str = "baseten_default",
        deferrable: bool | None = None,
        retry_policy: "RetryPolicy | None" = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retry_policy = retry_policy or BasetenRetryPolicy()
        require_one_target(model_id, chain_id, None, None)
        self.request_ids = request_ids
        self.model_id = model_id
        self.chain_id = chain_id
        self.expects_delivery = expects_delivery and not result_path
        self.result_path = result_path
        self.baseten_conn_id = baseten_conn_id
        self.deferrable = conf.getboolean("operators", "default_deferrable") if deferrable is None else deferrable

    def execute(self, context: "Context") -> Any:
        """Wait for all requests."""
        if self.deferrable:
            self._defer(time.time() + self.timeout)
        return super().execute(context)

    def _defer(self, deadline: float) -> NoReturn:
        from airflow_provider_baseten.triggers.async_request import BasetenAsyncRequestTrigger

        self.defer(
            trigger=BasetenAsyncRequestTrigger(
                baseten_conn_id=self.baseten_conn_id,
                target=self._target_arguments,
                request_ids=self._ids,
                expects_delivery=self.expects_delivery,
                deadline=deadline,
                poll_interval=self.poke_interval,
                cancel_on_kill=False,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline},
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + _BACKSTOP),
        )

    def execute_complete(self, context: "Context", event: Mapping[str, Any], deadline: float | None = None) -> Any:
        """Return the outputs, or fail or skip as a poke would.

        :param event: of the trigger: ``{"outcomes": {request_id: outcome}}``.
        :param deadline: seconds since the epoch; ``dag.test()`` leaves it out.
        """
        if deadline is not None and event["outcomes"].keys() != {*self._ids}:
            # SQLite gives the number of a trigger that was deleted to the next one, and with it the event of the first.
            self.log.info("The trigger of an earlier attempt has ended; still waiting for this one's.")
            self._defer(deadline)
        results = self._results()
        outcomes = {name: results.last_look(name, Outcome(outcome)) for name, outcome in event["outcomes"].items()}
        late = [request_id for request_id, outcome in outcomes.items() if outcome is Outcome.TIMEOUT]
        self._check(outcomes)
        if late:
            raise AirflowSensorTimeout(
                f"{len(late)} of {len(outcomes)} async requests had no result after {self.timeout:g} s, the first of "
                f"them {late[0]}."
            )
        return self._outputs(outcomes)

    def poke(self, context: "Context") -> PokeReturnValue:
        """Look at all requests once; a doubtful one is watched until the doubt is gone."""
        results = self._results()
        seen = {request_id: self._outcome(results, request_id) for request_id in self._ids}
        outcomes = {request_id: outcome for request_id, outcome in seen.items() if outcome is not None}
        self._check(outcomes)
        done = len(outcomes) == len(seen)
        return PokeReturnValue(done, self._outputs(outcomes) if done else None)

    def _outcome(self, results: "AsyncResults", request_id: str) -> Outcome | None:
        wait = Wait(expects_delivery=self.expects_delivery, deadline=math.inf)
        while True:
            wait = wait.after(results.observe(request_id), time.time())
            if wait.outcome is not None or wait.doubtful_since is None:
                return wait.outcome
            time.sleep(_DOUBT_INTERVAL)

    def _check(self, outcomes: Mapping[str, Outcome]) -> None:
        """Fail, or skip if that is wanted, because of the first request that ended without a result."""
        for request_id, outcome in outcomes.items():
            if outcome in {Outcome.FAILED, Outcome.LOST}:
                self._fail(self._results().error(outcome, request_id, timeout=self.timeout))

    def _outputs(self, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        results = self._results()
        try:
            return {request_id: results.output(request_id, result_path=self.result_path) for request_id in outcomes}
        except BasetenError as error:
            self._fail(error)

    def _fail(self, error: BasetenError) -> NoReturn:
        if self.soft_fail:
            raise AirflowSkipException(f"Skipping because of soft_fail: {error}") from None
        raise error

    @property
    def _target_arguments(self) -> dict[str, Any]:
        return {"model_id": self.model_id, "chain_id": self.chain_id}

    @property
    def _ids(self) -> list[str]:
        ids = [self.request_ids] if isinstance(self.request_ids, str) else list(self.request_ids)
        if not all(isinstance(request_id, str) and request_id for request_id in ids):
            raise BasetenInputError("request_ids takes one id or a list of ids.")
        return list(dict.fromkeys(ids))

    def _results(self) -> "AsyncResults":
        from airflow_provider_baseten.async_results import AsyncResults
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        hook = BasetenHook(self.baseten_conn_id)
        target = hook.located(Target(**self._target_arguments))
        return AsyncResults(hook, target, expects_delivery=self.expects_delivery, log=self.log)
