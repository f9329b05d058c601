"""Pages of long lists: ``items``, and a ``cursor`` for the next page."""

from collections.abc import Sequence
from typing import Any

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.queries import read_integer, read_text
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest


def paginate(request: ManagementRequest, items: Sequence[Any], *, maximum: int, default: int | None = None) -> Content:
    """Return the page of a list that a request asks for with ``limit`` and ``cursor``.

    :param request: the request.
    :param items: the whole list.
    :param maximum: largest ``limit``.
    :param default: ``limit`` of a request without one, by default the maximum.
    :raises GatewayError: 400 for a wrong ``limit`` or ``cursor``.
    """
    limit = read_integer(request, "limit", 1, maximum) or default or maximum
    cursor = read_text(request, "cursor") or "0"
    if not cursor.isdecimal():
        raise bad_request("cursor is not one of a previous page.")
    end = int(cursor) + limit
    has_more = end < len(items)
    page = list(items[int(cursor) : end])
    return {"items": page, "pagination": {"has_more": has_more, "cursor": str(end) if has_more else None}}
