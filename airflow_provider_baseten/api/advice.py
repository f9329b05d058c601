"""Advice at the end of an error message: what to do next, by what was called and what came back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_GENERAL = {
    400: "Check the arguments of the call",
    401: "The API key was refused: check the password (the API key) of the connection",
    402: "The account is out of credits: settle it with Baseten",
    403: "The API key may not do this: use one with the permission",
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

    :param by_status: what the kind knows better than what holds for every call.
    :param may_run: what may have happened when no whole answer came; empty if nothing that costs.
    :param no_answer: what to do when no answer came in time.
    """

    by_status: Mapping[int, str] = field(default_factory=dict)
    may_run: str = ""
    no_answer: str = "Try again later."

    def after(self, status: int) -> str | None:
        """Return the advice after a status."""
        return self.by_status.get(status) or _GENERAL.get(status)


_DEPLOYMENT = "Check the id of the model or chain, and its environment or deployment"

_MODEL = {
    400: "Check the input, and that the deployment is active",
    413: "Pass a reference to the data instead of the data",
    422: "Check the input against what the model takes",
    429: "Send fewer requests at a time, or give the model more replicas",
    500: "No replica came up in time, or the model failed: read its logs and try again later",
    502: "The model's server broke off or could not be reached: read its logs",
    503: "The model is not ready: wait, or wake it first",
    529: "All replicas are busy: send fewer requests at a time, or allow more replicas",
}

PREDICT = Advice(
    by_status={
        **_MODEL,
        404: _DEPLOYMENT,
        504: "The model took longer than Baseten waits: use async predict for long work",
    },
    may_run="The model may have run.",
    no_answer="Allow more time, or use async predict for long work.",
)

#: A route of a custom server, which can't be called by async predict.
ROUTE = Advice(
    by_status={
        **_MODEL,
        404: "Check the id, the environment or deployment, the route, and the model that the request names",
        504: "The model took longer than Baseten waits: give it less to do in one request",
    },
    may_run="The model may have run.",
    no_answer="Allow more time, or give the model less to do in one request.",
)

MODEL_APIS = Advice(
    by_status={
        400: "Check the request against what the model takes",
        404: "Check the slug of the model, and that it is enabled in the workspace of the API key",
        422: "Check the request against what the model takes",
        429: "Send fewer requests at a time: Model APIs limit requests and tokens per minute",
    },
    may_run="The model may have run.",
    no_answer="Allow more time, or give the model less to do in one request.",
)

#: An async request is queued; no model runs in the call itself.
SUBMISSION = Advice(
    by_status={**{status: _MODEL[status] for status in (400, 413, 422)}, 404: _DEPLOYMENT},
    may_run="The request may be queued, and run.",
    no_answer="Look at the queue of the deployment before it is sent again.",
)

#: A deployment is woken, or its queue looked at.
DEPLOYMENT = Advice(by_status={404: _DEPLOYMENT})

#: The management API, for which a connection may have a key of its own.
MANAGEMENT = Advice(
    by_status={
        401: "The API key was refused: check management_api_key of the connection, or its password where there is none"
    }
)


def of_async_request(target: str) -> Advice:
    """Return the advice for the status and the cancelling of an async request.

    :param target: what was called by the async request.
    """
    unknown = (
        f"Check that {target} is what was called. If it is, it does not know this id, or no longer: Baseten forgets an "
        "async request an hour after its end"
    )
    return Advice(by_status={404: unknown})
