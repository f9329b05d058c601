"""Base of the operators that ask Baseten for something that takes time, and wait until it is done."""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.api.error_record import error_from
from airflow_provider_baseten.arguments import check_flags, check_seconds
from airflow_provider_baseten.compat import AirflowTaskTimeout
from airflow_provider_baseten.exceptions import BasetenError, BasetenTimeoutError
from airflow_provider_baseten.operators.airflow_options import resolve_deferrable
from airflow_provider_baseten.operators.base import BasetenOperator, ConnectionArguments
from airflow_provider_baseten.waiting.deferral import is_of_former_trigger, timeout_after
from airflow_provider_baseten.waiting.log import duration

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.management import Management
    from airflow_provider_baseten.idempotency.ledger import Kind, Ledger
    from airflow_provider_baseten.waiting.management.watch import State, Watch


class UntimedWaitArguments(ConnectionArguments, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenManagementOperator`, except ``timeout``."""

    wait_for_completion: bool
    deferrable: bool | None
    poll_interval: float


class WaitArguments(UntimedWaitArguments, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenManagementOperator`."""

    timeout: float


class BasetenManagementOperator(BasetenOperator):
    """Base of operators that ask Baseten for something, and wait until it is done.

    :param wait_for_completion: wait until it is done; by default true. If false, the task returns at once.
    :param deferrable: wait in the triggerer instead of holding a worker slot. The default is Airflow's option
        ``[operators] default_deferrable``.
    :param poll_interval: longest time between two looks at the state, in seconds, by default 10. The first looks come
        sooner.
    :param timeout: seconds to wait, by default 3600, counted for each attempt of the task.
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 10.0,
        timeout: float = 3600.0,
        **kwargs: Unpack[ConnectionArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_flags(wait_for_completion=wait_for_completion)
        check_seconds(poll_interval=poll_interval, timeout=timeout)
        self.wait_for_completion = wait_for_completion
        self.deferrable = resolve_deferrable(deferrable)
        self.poll_interval = poll_interval
        self.wait_timeout = timeout
        #: What the task waits for; ``None`` until it has asked Baseten.
        self.watch: Watch | None = None
        #: Facts for the result of the task, as far as they are known.
        self.facts: dict[str, Any] = {}
        self._waited_for = ""
        self._is_past_execution_timeout = False
        self._is_killed = False

    @abstractmethod
    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch | None", dict[str, Any]]:
        """Ask Baseten, and return what to wait for, and facts for the result of the task.

        :param client: client of the connection.
        :param context: context of the task.
        :param began: start of the task in seconds since the epoch.
        :returns: what to wait for, ``None`` if it is done already; and facts as JSON values.
        """

    def conclude(self, management: "Management", context: "Context", result: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the task after the wait has ended with success. By default it stays as it is.

        :param result: facts of :meth:`start` and of the last state.
        """
        return result

    def fail(self, management: "Management", context: "Context", error: BasetenError) -> None:
        """Do what a failed wait needs, such as removing a record; by default nothing. The error is raised after it."""

    def late_error(self, text: str) -> BasetenError:
        """Return the error for a wait that was too long.

        :param text: the last state.
        """
        name = self._waited_for if self.watch is None else self.watch.name
        return BasetenTimeoutError(
            f"{name[:1].upper()}{name[1:]} was not done after {duration(self.wait_timeout)}: {text}. The next attempt "
            "continues where it is then; raise timeout if it needs longer."
        )

    def run_task(self, context: "Context") -> Any:
        """Ask Baseten, wait, and return the result. With ``deferrable``, defer the task instead of waiting."""
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.waiting.management.steps import run_steps
        from airflow_provider_baseten.waiting.management.wait import WaitLimits, wait_for

        began = time.time()
        hook = BasetenHook(self.baseten_conn_id)
        with hook.client() as client:
            self.watch, facts = self.start(client, context, began)
            self.facts = facts
            if self._is_killed:
                self.on_kill()
            if self.watch is None or not self.wait_for_completion:
                return self._end(context, facts)
            if self.deferrable:
                self._defer(self.watch, facts, began + self._longest_deferral)
            limits = WaitLimits(deadline=began + self.wait_timeout, poll_interval=self.poll_interval)
            try:
                state = run_steps(wait_for(self.watch, limits, self.log), client.management.call)
            except AirflowTaskTimeout:
                self._is_past_execution_timeout = True
                raise
            return self._settle(client.management, context, state, facts)

    def execute_complete(
        self,
        context: "Context",
        event: Mapping[str, Any],
        watch: Mapping[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        deadline: float = 0.0,
    ) -> Any:
        """Return the result after the trigger has ended.

        :param event: event of the trigger, see :class:`~.BasetenManagementTrigger`.
        :param watch: what the task waits for; ``None`` in ``dag.test()``, which does not pass the arguments.
        :param facts: facts that were known before the wait.
        :param deadline: end of the wait in seconds since the epoch.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.waiting.management.kinds import watch_from
        from airflow_provider_baseten.waiting.management.watch import State

        self._waited_for = event["name"]
        if watch is not None:
            self.watch = watch_from(watch)
            if is_of_former_trigger(self.watch.name, event["name"], self.log):
                self._defer(self.watch, facts or {}, deadline)
        self.facts = dict(event.get("result") or {})
        error = None if event.get("error") is None else error_from(event["error"])
        state = State(text=event["text"], is_done=event["is_done"], error=error, result=self.facts)
        with BasetenHook(self.baseten_conn_id).client() as client:
            return self._settle(client.management, context, state, {})

    def on_kill(self) -> None:
        """End the work that is waited for, if that is wanted."""
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        self._is_killed = True
        # Airflow calls this method after the execution_timeout too, which ends only the wait.
        if self.watch is None or self._is_past_execution_timeout:
            return
        for call in self.watch.stop_calls():
            try:
                with BasetenHook(self.baseten_conn_id, timeout=10).client() as client:
                    client.with_options(max_attempts=1).management.call(call)
                self.log.info("%s was done, because the task was killed.", call.request.subject)
            except BasetenError as error:
                self.log.warning("%s failed: %s", call.request.subject, error)

    def timeout_note(self) -> str:
        """Return sentences on what happens to the work if the task ends now."""
        if self.watch is None:
            return super().timeout_note()
        return f"Baseten continues with {self.watch.name}. The next attempt waits for it again."

    @property
    def _longest_deferral(self) -> float:
        """Maximum number of seconds that the trigger waits: the smaller of ``timeout`` and ``execution_timeout``.

        The trigger observes ``execution_timeout``, because Airflow does not enforce it while a task is deferred.
        """
        limit = self.execution_timeout.total_seconds() if self.execution_timeout else math.inf
        return min(self.wait_timeout, limit)

    def open_ledger(self, context: "Context", kind: "Kind") -> "Ledger":
        """Return the ledger of the task instance for one kind of work.

        :raises BasetenError: the connection can't be read or is not valid.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.idempotency.ledger import open_ledger
        from airflow_provider_baseten.storage.result_store import ResultStore

        return open_ledger(context, ResultStore(BasetenHook(self.baseten_conn_id).connection.result_store), kind)

    def _defer(self, watch: "Watch", facts: dict[str, Any], deadline: float) -> NoReturn:
        from airflow_provider_baseten.triggers.management import BasetenManagementTrigger

        fields = watch.as_fields()
        self.defer(
            trigger=BasetenManagementTrigger(
                baseten_conn_id=self.baseten_conn_id,
                watch=fields,
                facts=facts,
                deadline=deadline,
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            kwargs={"watch": fields, "facts": facts, "deadline": deadline},
            timeout=timeout_after(deadline),
        )

    def _settle(
        self, management: "Management", context: "Context", state: "State", facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the result of the task, or raise the error with which the wait has ended."""
        if state.error is not None:
            self.fail(management, context, state.error)
            raise state.error
        if not state.is_done:
            if self.deferrable and self._longest_deferral < self.wait_timeout:
                raise AirflowTaskTimeout
            raise self.late_error(state.text)
        return self._end(context, self.conclude(management, context, {**facts, **state.result}))

    def _end(self, context: "Context", result: dict[str, Any]) -> dict[str, Any]:
        self.finish(context, TaskSummary(target=self.called_target))
        return result
