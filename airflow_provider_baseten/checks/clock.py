"""Clock of this machine, compared with that of a server."""

import time
from collections.abc import Callable

from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.checks.result import CheckResult, failed, ok, skipped
from airflow_provider_baseten.webhook.clock import time_of_headers


def read_server_time(call: Callable[[], Response]) -> tuple[Response, float | None]:
    """Make a call, and compare the clock of its server with this machine's.

    :returns: the response, and the seconds that the server's clock is ahead of this machine's, exact to about a second;
        ``None`` if the response has no usable ``Date``.
    """
    before = time.time()
    response = call()
    after = time.time()
    there = time_of_headers(response.headers)
    # The Date header is cut to whole seconds, so on average the server's time is half a second later.
    return response, None if there is None else there + 0.5 - (before + after) / 2


def judge_clock(url: str, server_ahead: float | None, tolerance: float) -> CheckResult:
    """Judge whether this machine's clock is within the tolerance of the receiver.

    :param url: URL of the server.
    :param server_ahead: seconds that the server's clock is ahead of this machine's; ``None`` if not known.
    :param tolerance: value of ``[baseten] webhook_tolerance_seconds``.
    """
    if server_ahead is None:
        return skipped("clock", f"{url} sends no usable Date header.")
    off = f"{abs(server_ahead):.0f} s"
    if abs(server_ahead) <= tolerance:
        return ok(
            "clock", f"The clock of this machine differs from that of {url} by {off}; {tolerance:g} s are allowed."
        )
    return failed(
        "clock",
        f"The clock of this machine is {off} {'behind' if server_ahead > 0 else 'ahead of'} that of {url}.",
        "Correct it, for example with NTP; a container has the clock of its machine. A webhook receiver on this "
        f"machine would refuse deliveries: [baseten] webhook_tolerance_seconds allows {tolerance:g} s.",
    )
