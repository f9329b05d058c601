"""Request that wakes a deployment."""

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.http import MAX_STATUS_BYTES, Request
from airflow_provider_baseten.api.target import Target, check_target


def build_wake(target: Target) -> Request:
    """Build the request that wakes a deployment that has scaled to zero.

    The request goes to the host of the model or chain instead of the management API. Every API key is allowed to do
    this.
    """
    check_target(target)
    return Request(
        method="POST",
        host=target.host,
        path=target.path("wake"),
        subject=f"wake of {target}",
        idempotent=True,
        max_response_bytes=MAX_STATUS_BYTES,
        advice=advice.DEPLOYMENT,
    )
