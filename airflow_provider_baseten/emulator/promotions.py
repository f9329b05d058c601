"""Promotions: the way of a deployment into an environment, which moves the traffic step by step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.deployments import FAILED_STATUSES, STARTING_STATUSES, Deployment
from airflow_provider_baseten.emulator.limits import Durations

PromotionStatus = Literal["RELEASING", "RAMPING_UP", "RAMPING_DOWN", "PAUSED", "FAILED"]
CleanupStrategy = Literal["KEEP", "SCALE_TO_ZERO", "DEACTIVATE"]

_STEPS = (25, 50, 75, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingDeployConfig:
    """Configuration of a rolling deployment, which the emulator reports. Only the stabilization time has an effect."""

    rolling_deploy_strategy: Literal["REPLICA"] = "REPLICA"
    max_surge_percent: int = 25
    max_unavailable_percent: int = 0
    stabilization_time_seconds: int = 0
    replica_overhead_percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionSettings:
    """Settings of promotions to an environment.

    :param redeploy_on_promotion: whether a new deployment is made, which is promoted in place of the given one.
    :param rolling_deploy: whether the traffic moves step by step.
    :param promotion_cleanup_strategy: what happens to the previous deployment.
    :param rolling_deploy_config: configuration of the rolling deployment.
    :param ramp_up_while_promoting: whether the traffic to a chain moves step by step.
    :param ramp_up_duration_seconds: setting that the management API reports.
    """

    redeploy_on_promotion: bool = False
    rolling_deploy: bool = True
    promotion_cleanup_strategy: CleanupStrategy = "SCALE_TO_ZERO"
    rolling_deploy_config: RollingDeployConfig = field(default_factory=RollingDeployConfig)
    ramp_up_while_promoting: bool = False
    ramp_up_duration_seconds: int = 600

    @property
    def moves_stepwise(self) -> bool:
        """Whether a part of the traffic moves before the rest."""
        return self.rolling_deploy or self.ramp_up_while_promoting


def plan_traffic(durations: Durations, settings: PromotionSettings, start: int = 0) -> list[tuple[int, float]]:
    """Return the steps of a promotion: the percentage of the traffic that moves, and the seconds for which it stays.

    :param durations: durations of the emulator.
    :param settings: settings of the promotion.
    :param start: percentage of the traffic that has moved already.
    """
    if not settings.moves_stepwise:
        return [(100, 0.0)] if start < 100 else []
    steps = [(percent, durations.ramp_up / len(_STEPS)) for percent in _STEPS if percent > start]
    if steps:
        percent, seconds = steps[-1]
        steps[-1] = percent, seconds + settings.rolling_deploy_config.stabilization_time_seconds
    return steps


class Promotion:
    """Promotion of a deployment to an environment. The methods must be called in the server's event loop.

    :param candidate: deployment that is promoted.
    :param previous: current deployment of the environment, ``None`` if it has none.
    :param settings: settings of this promotion.
    :param clock: source of time.
    :param durations: durations of the steps.
    :param on_success: function that is called when all traffic has moved.
    :param on_cancel: function that is called when no traffic is moved any more, because the promotion was canceled.
    """

    def __init__(
        self,
        candidate: Deployment,
        previous: Deployment | None,
        settings: PromotionSettings,
        *,
        clock: Clock,
        durations: Durations,
        on_success: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self.candidate = candidate
        self.previous = previous
        self.settings = settings
        self.status: PromotionStatus = "RELEASING"
        self.percent = 0
        self.error_message: str | None = None
        self._clock = clock
        self._durations = durations
        self._on_success = on_success
        self._on_cancel = on_cancel
        self._timer: Timer | None = None
        self._resumed_status: PromotionStatus = "RELEASING"

    @property
    def is_in_progress(self) -> bool:
        """Whether the promotion has not failed."""
        return self.status != "FAILED"

    def start(self) -> None:
        """Begin the promotion. Changes of settings of the deployments wait until its end."""
        for deployment in self._deployments():
            deployment.suspend_changes()
        self._wait(self._durations.release, self._release)

    def pause(self) -> bool:
        """Stop moving traffic until :meth:`resume`. Return whether the promotion can be paused now."""
        if self.status not in {"RELEASING", "RAMPING_UP"}:
            return False
        self._stop_waiting()
        self._resumed_status, self.status = self.status, "PAUSED"
        return True

    def resume(self) -> bool:
        """Continue after :meth:`pause`, with the whole time of ``RELEASING``. Return whether it was paused."""
        if self.status != "PAUSED":
            return False
        self.status = self._resumed_status
        if self.status == "RELEASING":
            self._wait(self._durations.release, self._release)
        else:
            self._ramp_up()
        return True

    def cancel(self) -> Literal["CANCELED", "RAMPING_DOWN"]:
        """Cancel the promotion: traffic that has moved moves back."""
        self._stop_waiting()
        if self.percent == 0 or self._durations.ramp_up == 0:
            self.force_cancel()
            return "CANCELED"
        self.status = "RAMPING_DOWN"
        self._ramp_down()
        return "RAMPING_DOWN"

    def force_cancel(self) -> None:
        """Cancel the promotion at once."""
        self._end(0)
        self._on_cancel()

    def roll_forward(self) -> None:
        """Complete the promotion at once."""
        self._end(100)
        self._on_success()

    def fail(self, message: str) -> None:
        """Let the promotion fail: all traffic goes to the previous deployment.

        :param message: ``error_message`` of the promotion.
        """
        self._end(0)
        self.status, self.error_message = "FAILED", message

    def _release(self) -> None:
        """Wait until the candidate is in operation, then move traffic."""
        status = self.candidate.status
        if status in FAILED_STATUSES or status in {"UNHEALTHY", "INACTIVE", "DEACTIVATING"}:
            self.fail(f"The deployment {self.candidate.id} is not ready to take traffic; its status is {status}.")
        elif status in STARTING_STATUSES:
            self.candidate.on_start_end = self._candidate_started
        else:
            self._ramp_up()

    def _candidate_started(self) -> None:
        if self.status == "RELEASING":
            self._release()

    def _ramp_up(self) -> None:
        self.status = "RAMPING_UP"
        steps = plan_traffic(self._durations, self.settings, self.percent)
        if not steps:
            self.roll_forward()
            return
        self.percent, seconds = steps[0]
        self._wait(seconds, self._ramp_up)

    def _ramp_down(self) -> None:
        self.percent = max(0, self.percent - _STEPS[0])
        seconds = self._durations.ramp_up / len(_STEPS)
        self._wait(seconds, self._ramp_down if self.percent else self.force_cancel)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if seconds > 0:
            self._timer = self._clock.call_later(seconds, then)
        else:
            then()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, percent: int) -> None:
        self._stop_waiting()
        self.percent = percent
        for deployment in self._deployments():
            deployment.resume_changes()

    def _deployments(self) -> list[Deployment]:
        return [self.candidate] if self.previous is None else [self.candidate, self.previous]
