"""Traffic rules of an environment, which the emulator stores and reports. It copies no traffic."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRule:
    """Rule that copies a part of the traffic of an environment to a target.

    :param id: id of the rule.
    :param type: ``SHADOW``.
    :param deployment_id: id of the target deployment; ``None`` if the target is an environment.
    :param environment: name of the target environment; ``None`` if the target is a deployment.
    :param percent_traffic: percentage of the traffic.
    :param expires_at: end of the rule in seconds since the epoch.
    :param sampling_mode: how requests are chosen.
    :param propagate_client_cancellation: whether a client's disconnect cancels the copy too.
    """

    id: str
    type: Literal["SHADOW"]
    deployment_id: str | None
    environment: str | None
    percent_traffic: int
    expires_at: float
    sampling_mode: Literal["RANDOM", "USER_SESSION"]
    propagate_client_cancellation: bool
