"""Limits and durations: sizes, times and rates that the emulator enforces, and how long its deployments take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of body sizes (in bytes), of times (in seconds) and of rates.

    The defaults are those of Baseten. Shorter times make tests fast.

    :param body_bytes: maximum size of a request body. A request with a larger body gets status 413.
    :param predict_seconds: maximum duration of a prediction. A caller whose prediction takes longer gets status 504.
    :param parking_seconds: maximum time that a request waits for a replica. A request that waits longer gets status
        500.
    :param async_body_bytes: maximum size of the body of an async submission. A submission with a larger body gets
        status 413.
    :param async_predict_seconds: maximum duration of a prediction for an async request.
    :param async_retention_seconds: time for which the status of an ended async request can be read. Later status calls
        get status 404.
    :param webhook_seconds: maximum time for one attempt to deliver a webhook.
    :param webhook_retry_seconds: time between the two attempts to deliver a webhook. There is no third attempt.
    :param management_rates: whether the management API limits the rate of calls. Calls above the limit get status 429.
    """

    body_bytes: int = 100_000_000
    predict_seconds: float = 1200.0
    parking_seconds: float = 1200.0
    async_body_bytes: int = 262_144
    async_predict_seconds: float = 3600.0
    async_retention_seconds: float = 3600.0
    webhook_seconds: float = 10.0
    webhook_retry_seconds: float = 2.0
    management_rates: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds that changes take which the management API starts, on the emulator's clock.

    By default, every change is complete before the response is sent. With a longer duration, the statuses in between
    can be seen. How long a model takes to load is ``Scaling.cold_start``.

    :param build: time in ``BUILDING``, when a failed deployment is retried or deployed again.
    :param deploy: time in ``DEPLOYING``, before the model is loaded.
    :param deactivate: time in ``DEACTIVATING``.
    :param release: time of a promotion in ``RELEASING``, before traffic moves.
    :param ramp_up: time of a promotion in which a part of the traffic has moved: 25, 50, 75, then 100 percent.
    :param training_deploy: time in ``TRAINING_JOB_DEPLOYING``.
    :param update: time until changed settings are in force. The status is ``UPDATING`` meanwhile.
    """

    build: float = 0.0
    deploy: float = 0.0
    deactivate: float = 0.0
    update: float = 0.0
    release: float = 0.0
    ramp_up: float = 0.0
    training_deploy: float = 0.0
