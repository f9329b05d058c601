"""Orphaned requests: an earlier attempt began to send one and ended without a record of the result.

Baseten may have accepted such a request, so a second one may be paid twice. The DAG author decides, by
``on_orphaned_request``: ``resubmit`` sends it again, ``fail`` sends nothing until the task is cleared.
"""

from typing import Literal, get_args

from airflow_provider_baseten.exceptions import BasetenOrphanedRequestError

OnOrphanedRequest = Literal["resubmit", "fail"]
ON_ORPHANED_REQUEST = get_args(OnOrphanedRequest)


def check_orphan(on_orphaned_request: str, message: str) -> None:
    """Allow an orphaned request to be sent again, unless the policy is ``fail``.

    :param message: what happened, and what to do next.
    :raises BasetenOrphanedRequestError: the policy is ``fail``.
    """
    if on_orphaned_request == "fail":
        raise BasetenOrphanedRequestError(message, may_have_run=True)
