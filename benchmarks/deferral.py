"""What 10,000 waiting tasks cost a triggerer: this package's trigger beside one poll loop and client for each task.

Both wait for the same requests at the same local server, each in a process of its own, one after the other. Meanwhile
the results of some requests that this package's trigger waits for are written to the result store, as a receiver does.
Prints a table and says which of these do not hold; exits 1 if one does not:

- never more status calls in a second than the limit of 20
- 99 % of the times the event loop is late are below 100 ms
- at least 10 times fewer calls and 5 times less CPU than with the poll loops
- 95 % of the deliveries end a wait within twice the interval of looks into the store
"""

import argparse
import asyncio
import bisect
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

WAITING = 10_000
DELIVERED = 1_000
SECONDS = 50.0
POLL_INTERVAL = 30.0
LIMIT = 20
STORE_INTERVAL = 5.0

ANSWER = b'{"request_id":"r","status":"QUEUED","webhook_status":"PENDING","errors":[]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


async def serve() -> None:
    """Answer every call, and tell the times of the calls since the last line of the standard input on each of them."""
    times: list[float] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                times.append(time.monotonic())
                writer.write(HEAD + ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(times), flush=True)
        times.clear()


# Of a contender: what it prints for the process that compares.
_RESULTS = os.fdopen(os.dup(1), "w")


class Usage:
    """CPU seconds and memory of this process."""

    def __init__(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu = used.ru_utime + used.ru_stime
        self.memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def lateness(late: list[float]) -> None:
    """Note how late the event loop is, fifty times a second."""
    while True:
        due = time.monotonic() + 0.02
        await asyncio.sleep(0.02)
        late.append(time.monotonic() - due)


async def shared(url: str, store: Path) -> dict[str, Any]:
    """Wait with this package's trigger."""
    from airflow_provider_baseten.triggers.async_request import BasetenAsyncRequestTrigger

    os.environ["AIRFLOW_CONN_BASETEN_DEFAULT"] = json.dumps(
        {"conn_type": "baseten", "host": url, "password": "benchmark-key", "extra": {"result_store": f"file://{store}"}}
    )
    os.environ["AIRFLOW__BASETEN__STATUS_CALLS_PER_SECOND"] = str(LIMIT)
    os.environ["AIRFLOW__BASETEN__STORE_CHECK_INTERVAL"] = str(STORE_INTERVAL)
    ended: dict[str, float] = {}

    async def wait(request_id: str) -> None:
        trigger = BasetenAsyncRequestTrigger(
            baseten_conn_id="baseten_default",
            target={"model_id": "abc"},
            request_ids=[request_id],
            expects_delivery=True,
            deadline=time.time() + 3600,
            poll_interval=POLL_INTERVAL,
        )
        async for event in trigger.run():
            assert event.payload["outcomes"] == {request_id: "ended"}
            ended[request_id] = time.monotonic()

    return await measure(wait, 2 * STORE_INTERVAL) | {"ended": ended}


async def separate(url: str, _: Path) -> dict[str, Any]:
    """Wait with a poll loop and a client for each task."""
    import aiohttp

    headers = {"Authorization": "Bearer benchmark-key"}

    async def wait(request_id: str) -> None:
        async with aiohttp.ClientSession(headers=headers) as session:
            await asyncio.sleep(random.random() * POLL_INTERVAL)  # Tasks do not begin in one moment.
            while True:
                async with session.get(f"{url}/model-abc/async_request/{request_id}") as answer:
                    if (await answer.json())["status"] not in ("QUEUED", "IN_PROGRESS"):
                        return
                await asyncio.sleep(POLL_INTERVAL)

    return await measure(wait, POLL_INTERVAL)


async def measure(wait: Callable[[str], Coroutine[Any, Any, None]], warm_up: float) -> dict[str, Any]:
    """Let all wait, and tell what that costs once all of them do."""
    before = Usage()
    async with ended_with_the_block() as start:
        for number in range(WAITING):
            start(wait(f"r{number}"))
            if number % 500 == 499:  # As a triggerer takes them.
                await asyncio.sleep(0.05)
        await asyncio.sleep(warm_up)
        late: list[float] = []
        start(lateness(late))
        began, at = Usage(), time.monotonic()
        print("all wait", file=_RESULTS, flush=True)
        await asyncio.sleep(SECONDS)
        end = Usage()
        return {
            "from": at,
            "to": time.monotonic(),
            "memory": end.memory - before.memory,
            "cpu": (end.cpu - began.cpu) / SECONDS,
            "late": late,
        }


@asynccontextmanager
async def ended_with_the_block() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Start tasks that are ended in the end, and let none of them fail unnoticed."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda coroutine: tasks.append(asyncio.create_task(coroutine))
    failed = [task for task in tasks if task.done() and task.exception()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if failed:
        await failed[0]


def deliver(store: Path) -> dict[str, float]:
    """Write results one after the other, and return when."""
    delivered = {}
    for number in random.sample(range(WAITING), DELIVERED):
        time.sleep((SECONDS - 3 * STORE_INTERVAL) / DELIVERED)
        part = store / f".{number}.part"
        part.write_bytes(b'{"request_id": "r%d", "data": {"label": "a"}, "errors": []}' % number)
        part.replace(store / f"r{number}.json")
        delivered[f"r{number}"] = time.monotonic()
    return delivered


def quantile(values: list[float], part: float) -> float:
    """Return what that part of the values is not above."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def most_in_a_second(times: list[float]) -> int:
    """Return the largest number of calls in any second."""
    times = sorted(times)
    return max((bisect.bisect_left(times, start + 1) - n for n, start in enumerate(times)), default=0)


def run(contender: str, server: "subprocess.Popen[str]", url: str, folder: str) -> dict[str, Any]:
    """Run a contender in a process of its own, and add what the server saw of it."""
    command = [sys.executable, __file__, contender, url, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "all wait\n" in process.stdout
        delivered = deliver(Path(folder)) if contender == "shared" else {}
        found: dict[str, Any] = json.loads(process.stdout.readline())
    found["delays"] = [found["ended"].get(name, float("inf")) - at for name, at in delivered.items()]
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    times = json.loads(server.stdout.readline())
    found["most"] = most_in_a_second(times)
    found["calls"] = sum(found["from"] <= at < found["to"] for at in times) / (found["to"] - found["from"])
    return found


def compare() -> int:
    """Print the table and what does not hold; return the exit code."""
    command = [sys.executable, __file__, "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            ours = run("shared", server, url, folder)
            theirs = run("separate", server, url, folder)
        finally:
            server.terminate()
    print(f"{WAITING:,} waiting tasks, {SECONDS:g} s, {POLL_INTERVAL:g} s between two calls of one request")
    print(f"{'':<44}{'this package':>14}{'a loop each':>14}")
    thousands = WAITING / 1000
    rows: list[tuple[str, Callable[[dict[str, Any]], float], str]] = [
        ("status calls a second", lambda m: m["calls"], ".1f"),
        ("most status calls in any second", lambda m: m["most"], ".0f"),
        ("CPU for 1,000 tasks, % of a core", lambda m: m["cpu"] * 100 / thousands, ".3f"),
        ("memory for 1,000 tasks, MiB", lambda m: m["memory"] / 2**20 / thousands, ".2f"),
        ("event loop late, median, ms", lambda m: quantile(m["late"], 0.5) * 1e3, ".1f"),
        ("event loop late, 99 %, ms", lambda m: quantile(m["late"], 0.99) * 1e3, ".1f"),
        ("event loop late, most, ms", lambda m: max(m["late"]) * 1e3, ".1f"),
    ]
    for name, value, form in rows:
        print(f"{name:<44}{value(ours):>14{form}}{value(theirs):>14{form}}")
    p95 = quantile(ours["delays"], 0.95)
    print(f"{'delivery to event, median, s':<44}{quantile(ours['delays'], 0.5):>14.2f}{'-':>14}")
    print(f"{'delivery to event, 95 %, s':<44}{p95:>14.2f}{'-':>14}")
    fewer, less = theirs["calls"] / ours["calls"], theirs["cpu"] / ours["cpu"]
    print(f"{fewer:.1f} times fewer calls, {less:.1f} times less CPU, {DELIVERED:,} deliveries")
    targets = {
        "the limit of calls": ours["most"] <= LIMIT,
        "an event loop in time": quantile(ours["late"], 0.99) < 0.1,
        "10 times fewer calls": fewer >= 10,
        "5 times less CPU": less >= 5,
        "deliveries in time": p95 <= 2 * STORE_INTERVAL,
        "every delivery": max(ours["delays"]) < float("inf"),
    }
    for name in (name for name, holds in targets.items() if not holds):
        print(f"Does not hold: {name}")
    return int(not all(targets.values()))


def main() -> int:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", nargs="?", choices=["serve", "shared", "separate"], help="for its own processes")
    parser.add_argument("address", nargs="*", help="for its own processes")
    given = parser.parse_args()
    if given.role is None:
        return compare()
    if given.role == "serve":
        asyncio.run(serve())
        return 0
    contender = shared if given.role == "shared" else separate
    url, folder = given.address
    # Airflow logs to standard output, which is read only at the end: a full pipe would block the contender.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(json.dumps(asyncio.run(contender(url, Path(folder)))), file=_RESULTS, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
