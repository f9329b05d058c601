"""Orphaned requests: an earlier attempt began to send them, but recorded neither an id nor a response.

Baseten may have accepted an orphaned request, so sending it again may cost twice. The DAG author decides with
``on_orphaned_request``: ``resubmit`` sends the request again, ``fail`` sends nothing until the task is cleared.
"""

from typing import Literal, get_args

from airflow_provider_baseten.exceptions import BasetenOrphanedRequestError

OnOrphanedRequest = Literal["resubmit", "fail"]
ON_ORPHANED_REQUEST = get_args(OnOrphanedRequest)


def check_orphan(on_orphaned_request: str, message: str) -> None:
    """Raise an error if an orphaned request must not be sent again; otherwise do nothing.

    :param message: text of the error, which says what happened and what to do next.
    :raises BasetenOrphanedRequestError: ``on_orphaned_request`` is ``fail``.
    """
    if on_orphaned_request == "fail":
        raise BasetenOrphanedRequestError(message, may_have_run=True)
