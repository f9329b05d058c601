"""Statuses of deployments."""

from typing import Final

#: Statuses in which a deployment takes requests. A deployment that has scaled to zero starts a replica for a request.
CALLABLE_STATUSES: Final = ("ACTIVE", "SCALED_TO_ZERO")
#: Statuses in which a deployment can't run. It can leave ``UNHEALTHY`` by itself, the others only by a new attempt.
FAILED_STATUSES: Final = ("BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "FAILED", "UNHEALTHY")
#: All statuses that Baseten documents.
KNOWN_STATUSES: Final = (
    *CALLABLE_STATUSES,
    *FAILED_STATUSES,
    "BUILDING",
    "DEPLOYING",
    "LOADING_MODEL",
    "UPDATING",
    "WAKING_UP",
    "DEACTIVATING",
    "INACTIVE",
)
