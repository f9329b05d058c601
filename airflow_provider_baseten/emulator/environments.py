"""Environments of a model or chain: a name, its settings, and the deployments that handle its requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.promotions import Promotion, PromotionSettings
from airflow_provider_baseten.emulator.replicas import Scaling
from airflow_provider_baseten.emulator.schedules import Schedule, find_next_change, find_schedule
from airflow_provider_baseten.emulator.traffic_rules import TrafficRule


@dataclass(slots=True, eq=False)
class Environment:
    """Environment of a model or chain.

    :param name: name of the environment.
    :param created_at: time of creation in seconds since the epoch.
    :param settings: autoscaling settings, which a deployment gets that is promoted to the environment.
    :param deployment_id: id of the current deployment, ``None`` before the first promotion.
    :param instance_type: id of the instance type.
    :param promotion_settings: settings of promotions to the environment.
    :param promotion: promotion that is in progress or has failed, ``None`` without one.
    :param timezone: IANA name of the time zone of the schedules.
    :param schedules: autoscaling schedules by id.
    :param applied_schedule: id of the schedule that applies now, ``None`` without one.
    :param traffic_rules: traffic rules by id.
    :param next_failure: message with which the next promotion fails, ``None`` if it does not.
    """

    name: str
    created_at: float
    settings: Scaling
    deployment_id: str | None = None
    instance_type: str = "1x2"
    promotion_settings: PromotionSettings = field(default_factory=PromotionSettings)
    promotion: Promotion | None = None
    timezone: str | None = None
    schedules: dict[str, Schedule] = field(default_factory=dict)
    applied_schedule: str | None = None
    traffic_rules: dict[str, TrafficRule] = field(default_factory=dict)
    next_failure: str | None = None
    _requests: int = 0
    _schedule_timer: Timer | None = None

    @property
    def is_promoting(self) -> bool:
        """Whether a promotion is in progress."""
        return self.promotion is not None and self.promotion.is_in_progress

    def select_deployment(self) -> str | None:
        """Return the id of the deployment that handles the next request; ``None`` if there is none.

        During a promotion, every hundred requests are divided as its percentage says.
        """
        promotion = self.promotion
        if promotion is None or not promotion.percent or self.deployment_id is None:
            return self.deployment_id
        before, self._requests = self._requests, self._requests + 1
        has_moved = self._requests * promotion.percent // 100 > before * promotion.percent // 100
        return promotion.candidate.id if has_moved else self.deployment_id

    def apply_schedules(self, deployments: Mapping[str, Deployment], clock: Clock) -> None:
        """Put the settings of the schedule in force that applies now, and those of the next one when it begins.

        :param deployments: deployments of the model by id.
        :param clock: source of time.
        """
        if self._schedule_timer is not None:
            self._schedule_timer.cancel()
            self._schedule_timer = None
        now, schedules = clock.now(), list(self.schedules.values())
        schedule = find_schedule(schedules, self.timezone, now)
        self.applied_schedule = None if schedule is None else schedule.id
        current = deployments.get(self.deployment_id or "")
        if current is not None:
            current.apply_schedule(None if schedule is None else schedule.settings.apply_to(self.settings))
        change = find_next_change(schedules, self.timezone, now)
        if change is not None:
            apply: Callable[[], None] = lambda: self.apply_schedules(deployments, clock)  # noqa: E731
            self._schedule_timer = clock.call_later(change - now, apply)
