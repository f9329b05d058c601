"""Blocking calls from an event loop, in threads that can reach Airflow's supervisor."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a thread of asgiref, and return its result.

    The function may communicate with Airflow's supervisor process, for example to read the connection of a result
    store. In a triggerer of Airflow 3.1, only the threads of asgiref can do so, not those of :func:`asyncio.to_thread`.
    """
    return await sync_to_async(call, thread_sensitive=False)(*args, **kwargs)
