"""Advice at the end of an error message: what to do next, for each kind of call and each status."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_GENERAL = {
    400: "Check the arguments of the call",
    401: "The API key was refused: check the password (the API key) of the connection",
    402: "The account is out of credits: add credits in the Baseten workspace",
    403: "The API key is not allowed to do this: use one with the permission",
    404: "Check the ids, and that the API key belongs to their workspace",
    408: "Try again later",
    413: "Send less in one call",
    422: "Check the arguments of the call",
    429: "Make fewer calls at a time",
    500: "Try again later",
    502: "Try again later",
    503: "Try again later",
    504: "Try again later",
    529: "Make fewer calls at a time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Advice for one kind of call.

    :param by_status: advice by HTTP status; for these statuses it replaces the general advice.
    :param may_run: sentence for a call that got no complete response. The sentence warns that Baseten may still do the
        work and bill it. Empty for calls that cost nothing.
    :param after_timeout: advice if no response came in time.
    :param after_loss: advice if the connection was lost before the whole response had arrived.
    """

    by_status: Mapping[int, str] = field(default_factory=dict)
    may_run: str = ""
    after_timeout: str = "Try again later."
    after_loss: str = "Try again later."

    def for_status(self, status: int) -> str:
        """Return the advice for an HTTP status."""
        default = "A later attempt may succeed" if status >= 500 else "Check the request"
        return self.by_status.get(status) or _GENERAL.get(status, default)


_DEPLOYMENT = "Check the id of the model or chain, and its environment or deployment"

_MODEL = {
    400: "Check the input, and that the deployment is active",
    413: "Pass a reference to the data instead of the data",
    422: "Check the input against what the model takes",
    429: "Send fewer requests at a time, or give the model more replicas",
    500: "No replica started in time, or the model failed: read its logs and try again later",
    502: "The model's server closed the connection or could not be reached: read its logs",
    503: "The model is not ready: wait, or wake it first",
    529: "All replicas are busy: send fewer requests at a time, or allow more replicas",
}

_LOST = "Check the model's logs, and whether a proxy in between closes connections, before sending it again."
_QUEUED = "Check the queue of the deployment before sending it again."

PREDICT = Advice(
    by_status={
        **_MODEL,
        404: _DEPLOYMENT,
        504: "The model took longer than Baseten allows: use async predict for long work",
    },
    may_run="The model may have run.",
    after_timeout="Allow more time, or use async predict for long work.",
    after_loss=_LOST,
)

#: Calls of a custom server's route. Async predict can't call a route, so the advice does not recommend async predict.
ROUTE = Advice(
    by_status={
        **_MODEL,
        404: "Check the id, the environment or deployment, the route, and the model that the request names",
        504: "The model took longer than Baseten allows: give it less to do in one request",
    },
    may_run="The model may have run.",
    after_timeout="Allow more time, or give the model less to do in one request.",
    after_loss=_LOST,
)

MODEL_APIS = Advice(
    by_status={
        400: "Check the request against what the model takes",
        404: "Check the slug of the model, and that it is enabled in the workspace of the API key",
        422: "Check the request against what the model takes",
        429: "Send fewer requests at a time: Model APIs limit requests and tokens per minute",
    },
    may_run="The model may have run.",
    after_timeout="Allow more time, or give the model less to do in one request.",
    after_loss="Check whether a proxy in between closes connections before sending it again.",
)

#: Submission of an async request: the request is queued, and no model runs during the call.
SUBMISSION = Advice(
    by_status={**{status: _MODEL[status] for status in (400, 413, 422)}, 404: _DEPLOYMENT},
    may_run="The request may be queued, and run.",
    after_timeout=_QUEUED,
    after_loss=_QUEUED,
)

#: Calls that wake a deployment or read the length of its queue.
DEPLOYMENT = Advice(by_status={404: _DEPLOYMENT})

#: Calls of the management API. A connection may have a separate key for them.
MANAGEMENT = Advice(
    by_status={
        401: "The API key was refused: check management_api_key of the connection, or its password if that is not set",
        403: (
            "The API key may not do this, for example because it may only call models: enter a key that may manage the "
            "workspace as management_api_key in the extra of the connection"
        ),
        429: "Wait, and call the management API less often: it limits the calls of a key",
    }
)

#: Calls of the management API that must not be carried out twice.
MANAGEMENT_ONCE = Advice(
    by_status=MANAGEMENT.by_status,
    may_run="Baseten may have carried it out.",
    after_timeout="Look at the workspace before sending it again.",
    after_loss="Look at the workspace before sending it again.",
)

#: Reads one of the Model APIs in the management API.
MODEL_API_PRICE = Advice(by_status={**MANAGEMENT.by_status, 404: "Check the slug of the model"})


def of_async_request(target: str) -> Advice:
    """Return the advice for reading the status of an async request and for cancelling it.

    :param target: the model or chain that the async request called.
    """
    unknown = (
        f"Check that {target} is the one that was called. If it is, the id is unknown: Baseten forgets an async "
        "request an hour after its end"
    )
    return Advice(by_status={404: unknown})
