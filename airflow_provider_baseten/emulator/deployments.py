"""Deployments of a model or chain: their status, which follows the clock, their settings and their replicas."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal

from starlette.types import Receive, Scope, Send

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.hosting import HostedApp
from airflow_provider_baseten.emulator.instance_types import InstanceType
from airflow_provider_baseten.emulator.limits import Durations
from airflow_provider_baseten.emulator.logs import Log
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.model_logs import LogTarget, collect_logs
from airflow_provider_baseten.emulator.replicas import Replicas, Scaling
from airflow_provider_baseten.emulator.startups import Startups

#: Statuses with which a deployment ends, until it is retried or deactivated. ``UNHEALTHY`` is no end: it can recover.
FailedStatus = Literal["BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "FAILED"]
UpdateStatus = Literal["ACCEPTED", "QUEUED", "UNCHANGED"]

FAILED_STATUSES = frozenset({"BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "FAILED"})
STARTING_STATUSES = frozenset({"BUILDING", "DEPLOYING", "LOADING_MODEL"})
_UP = "UP"
_REQUEST_ID_HEADER = b"x-baseten-request-id"
# Phase of a start -> the failures with which that phase can end.
_FAILURES_OF = {
    "BUILDING": {"BUILD_FAILED", "BUILD_STOPPED"},
    "DEPLOYING": {"DEPLOY_FAILED"},
    "LOADING_MODEL": {"FAILED", "UNHEALTHY"},
}

Phases = list[tuple[str, float]]


def plan_start(durations: Durations, cold_start: float, *, build: bool, failure: str | None) -> Phases:
    """Return the phases of a deployment's start, each with its duration in seconds.

    :param durations: durations of the emulator.
    :param cold_start: seconds that the model takes to load.
    :param build: whether the image is built first.
    :param failure: status with which the start ends; ``None`` if it succeeds.
    """
    phases = [("BUILDING", durations.build)] if build or failure in _FAILURES_OF["BUILDING"] else []
    phases += [("DEPLOYING", durations.deploy), ("LOADING_MODEL", cold_start)]
    ends = (number for number, (phase, _) in enumerate(phases, 1) if failure in _FAILURES_OF[phase])
    return phases[: next(ends, len(phases))]


def derive_status(phase: str, *, ready: int, starting: int, is_updating: bool) -> str:
    """Return the status that the management API reports.

    :param phase: phase of the deployment, ``UP`` while it is in operation.
    :param ready: number of replicas that handle requests.
    :param starting: number of replicas that are starting.
    :param is_updating: whether changed settings are not in force yet.
    """
    if phase != _UP:
        return phase
    if ready:
        return "UPDATING" if is_updating else "ACTIVE"
    return "WAKING_UP" if starting else "SCALED_TO_ZERO"


class Deployment:
    """Deployment of a model or chain. The methods must be called in the server's event loop.

    :param id: id of the deployment.
    :param owner: id of the model or chain.
    :param hosted_app: app that runs the model.
    :param predict_path: path on which the app makes predictions.
    :param replicas: replicas of the deployment.
    :param clock: source of time.
    :param durations: durations of the changes of its status.
    :param meter: meter of replicas and requests.
    :param instance_type: instance type of its replicas.
    """

    def __init__(
        self,
        id: str,  # noqa: A002
        owner: str,
        hosted_app: HostedApp,
        predict_path: str,
        replicas: Replicas,
        *,
        clock: Clock,
        durations: Durations,
        meter: Meter,
        instance_type: InstanceType,
    ) -> None:
        self.id = id
        self.name = f"deployment-{id}"
        self.owner = owner
        self.instance_type = instance_type
        self.predict_path = predict_path
        self.replicas = replicas
        self.created_at = clock.now()
        #: Settings that calls of the management API have changed and that are in force.
        self.settings = replicas.scaling
        #: Settings of an autoscaling schedule, which apply in place of ``settings``; ``None`` without one.
        self.scheduled: Scaling | None = None
        #: Statuses with which the next starts end.
        self.next_failures: deque[str] = deque()
        #: What the model's code logs or prints.
        self.log = Log()
        #: Starts of replicas, the oldest first.
        self.startups = Startups(id, clock)
        #: Function that is called once, when the current start has ended.
        self.on_start_end: Callable[[], None] | None = None
        self._hosted_app = hosted_app
        self._clock = clock
        self._durations = durations
        self._meter = meter
        self._phase = _UP
        self._walk: Timer | None = None
        self._update: Timer | None = None
        self._pending: Scaling | None = None
        self._is_suspended = False
        replicas.on_change = lambda count: meter.set_replicas(owner, id, count)
        replicas.on_start = self.startups.add_cold_start
        meter.set_replicas(owner, id, replicas.ready)

    @property
    def status(self) -> str:
        """Status that the management API reports for the deployment."""
        is_updating = self._pending is not None
        ready, starting = self.replicas.ready, self.replicas.starting
        return derive_status(self._phase, ready=ready, starting=starting, is_updating=is_updating)

    @property
    def is_up(self) -> bool:
        """Whether the deployment is in operation, which it also is without replicas."""
        return self._phase == _UP

    @property
    def newest_settings(self) -> Scaling:
        """Settings with the changes that are not in force yet."""
        return self._pending or self.settings

    def replica_ids(self) -> list[str]:
        """Return the ids of the ready replicas. The emulator numbers them: the first is the one that runs longest."""
        return [f"{self.id}-r{number}" for number in range(1, self.replicas.ready + 1)]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a request to the model, and count it as paid."""
        self._meter.count_request(self.owner, self.id)
        request_id = next((value.decode() for name, value in scope["headers"] if name == _REQUEST_ID_HEADER), None)
        with self._collect_logs(request_id):
            await self._hosted_app(scope, receive, send)

    def check_callable(self) -> None:
        """Raise GatewayError if the deployment accepts no requests.

        Requests to a deployment that is starting are accepted, and wait. Status 400 for a deactivated deployment is
        documented. Status 400 for a failed deployment and 503 for an unhealthy one are this emulator's choice.
        """
        if self._phase in {"INACTIVE", "DEACTIVATING"}:
            raise _deactivated()
        if self._phase in FAILED_STATUSES:
            raise _failed(self._phase)
        if self._phase == "UNHEALTHY":
            raise GatewayError(503, "The deployment is unhealthy.", "model_unavailable")

    def activate(self) -> bool:
        """Start a deactivated deployment. Return whether there was nothing to do, as it is active or starting already.

        :raises GatewayError: 400 if the deployment has failed; then it must be retried.
        """
        if self._phase in FAILED_STATUSES:
            raise bad_request(f"The deployment has failed ({self._phase}) and can't be activated; retry it.")
        if self._phase not in {"INACTIVE", "DEACTIVATING"}:
            return True
        self._start(build=False)
        return False

    def deactivate(self) -> bool:
        """Stop the deployment. Return whether there was nothing to do, as it is deactivated or stopping already."""
        if self._phase in {"INACTIVE", "DEACTIVATING"}:
            return True
        self.replicas.stop(_deactivated())
        self._follow([("DEACTIVATING", self._durations.deactivate)], partial(self._end_in, "INACTIVE"))
        return False

    def retry(self) -> bool:
        """Start a deployment that has failed. Return whether it had failed."""
        if self._phase not in FAILED_STATUSES:
            return False
        self._start(build=self._phase in _FAILURES_OF["BUILDING"])
        return True

    def redeploy(self) -> None:
        """Build and start a new deployment."""
        self.replicas.stop(_deactivated())
        self._start(build=True)

    def set_status(self, status: str) -> None:
        """Let the deployment fail, become unhealthy or recover, at once, or as soon as its model is loaded.

        :param status: a failed status, ``UNHEALTHY``, or ``ACTIVE`` for its recovery.
        """
        if status == "ACTIVE" and self.replicas.is_stopped:
            self._load_model(lambda failure: self._settle(failure or status))
        else:
            self._settle(status)

    def _settle(self, status: str) -> None:
        if status == "ACTIVE":
            self._begin_operation()
        elif status == "UNHEALTHY":
            self._cancel_walk()
            self._phase = status
        else:
            self.replicas.stop(_failed(status))
            self._end_in(status)
        callback, self.on_start_end = self.on_start_end, None
        if callback is not None:
            callback()

    def change(self, settings: Scaling) -> UpdateStatus:
        """Change the settings. They are in force after the duration of an update.

        :param settings: all settings, those that stay included.
        :returns: ``UNCHANGED`` if these are the settings already; ``QUEUED`` if they wait for the end of a start or of
            a promotion; otherwise ``ACCEPTED``.
        """
        if settings == self.newest_settings:
            return "UNCHANGED"
        self._pending = settings
        if self._is_busy():
            return "QUEUED"
        self._schedule_update()
        return "ACCEPTED"

    def suspend_changes(self) -> None:
        """Let changes of the settings wait until :meth:`resume_changes`."""
        self._is_suspended = True

    def resume_changes(self) -> None:
        """Put changes in force that have waited."""
        self._is_suspended = False
        self._apply_queued()

    def apply_schedule(self, scheduled: Scaling | None) -> None:
        """Put the settings of an autoscaling schedule in force, or its own settings again."""
        if scheduled != self.scheduled:
            self.scheduled = scheduled
            self.replicas.apply(scheduled or self.settings)

    def _start(self, *, build: bool) -> None:
        self.replicas.prepare()
        failure = self.next_failures.popleft() if self.next_failures else None
        cold_start = self.replicas.scaling.cold_start
        phases = plan_start(self._durations, cold_start, build=build, failure=failure)
        begin = self._clock.now()

        def end(failure: str | None) -> None:
            self.startups.add(begin, dict(phases), is_success=failure is None)
            self._settle(failure or "ACTIVE")

        self._follow(phases, partial(self._load_model, end) if failure is None else partial(end, failure))

    def _load_model(self, then: Callable[[str | None], None]) -> None:
        """Load the model if no other deployment uses it, then call a function with the failed status, if any."""
        if not self._hosted_app.is_own:
            then(None)
            return
        self._cancel_walk()
        with self._collect_logs():
            self._hosted_app.restart(lambda error: then(None if error is None else "FAILED"))

    def _follow(self, phases: Sequence[tuple[str, float]], then: Callable[[], None]) -> None:
        """Go through phases on the clock, then call a function."""
        self._cancel_walk()
        for number, (phase, seconds) in enumerate(phases, 1):
            self._phase = phase
            if phase == "DEPLOYING":
                self.replicas.begin_start()
            if seconds > 0:
                self._walk = self._clock.call_later(seconds, partial(self._follow, phases[number:], then))
                return
        then()

    def _collect_logs(self, request_id: str | None = None) -> AbstractContextManager[None]:
        return collect_logs(LogTarget(self.log, self._clock, f"{self.id}-r1", request_id))

    def _cancel_walk(self) -> None:
        self._hosted_app.cancel_restart()
        if self._walk is not None:
            self._walk.cancel()
            self._walk = None

    def _end_in(self, phase: str) -> None:
        self._cancel_walk()
        self._phase = phase
        self._hosted_app.is_wanted = phase == _UP or not self._hosted_app.is_own
        self._apply_queued()

    def _begin_operation(self) -> None:
        is_recovery = self._phase == "UNHEALTHY" and not self.replicas.is_stopped
        self._end_in(_UP)
        if is_recovery:
            self.replicas.apply(self.replicas.scaling)
        else:
            self.replicas.restart()

    def _is_busy(self) -> bool:
        return self._is_suspended or self._phase in STARTING_STATUSES

    def _schedule_update(self) -> None:
        if self._update is not None:
            self._update.cancel()
        if self._durations.update > 0:
            self._update = self._clock.call_later(self._durations.update, self._apply_pending)
        else:
            self._apply_pending()

    def _apply_queued(self) -> None:
        if self._pending is not None and not self._is_busy():
            self._schedule_update()

    def _apply_pending(self) -> None:
        if self._pending is None or self._is_busy():
            return
        self.settings, self._pending, self._update = self._pending, None, None
        self.replicas.apply(self.scheduled or self.settings)


def _deactivated() -> GatewayError:
    return bad_request("The deployment is deactivated; activate it first.")


def _failed(status: str) -> GatewayError:
    return bad_request(f"The deployment has failed ({status}).")
