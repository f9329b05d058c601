"""What ``BasetenHook.predict`` costs beside a bare ``requests.Session.post``.

Both send the same 1 KB input to the same local server over one kept connection, in alternating rounds of one run; the
table shows the medians of the rounds. Exits 1 if the hook takes more than 1.15 times as long.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import requests

ROUNDS = 15
CALLS = 300
LIMIT = 1.15
KEY = "abcd1234.benchmark"

SERVER = """
import asyncio
ANSWER = b'{"label":"a","score":0.5}'
HEAD = (b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nX-Baseten-Request-Id: 0123456789abcdef\\r\\n"
        b"Content-Length: %d\\r\\n\\r\\n" % len(ANSWER))

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = next(int(l[15:]) for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length:"))
            await reader.readexactly(length)
            writer.write(HEAD + ANSWER)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def per_call(call: Callable[[], object]) -> float:
    """Return microseconds for one call, averaged over a round."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def main() -> int:
    """Print the table; return the exit code."""
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.hooks.baseten import BasetenHook

    model_input = {"text": "x" * 1000}
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            os.environ["AIRFLOW_CONN_BASETEN_DEFAULT"] = json.dumps(
                {"conn_type": "baseten", "host": url, "password": KEY}
            )
            hook, target = BasetenHook(), Target(model_id="abc")
            session, headers = requests.Session(), {"Authorization": f"Bearer {KEY}"}
            path = f"{url}/model-abc/environments/production/predict"
            contenders: dict[str, Callable[[], object]] = {
                "requests.Session.post": lambda: session.post(path, json=model_input, headers=headers).json(),
                "BasetenHook.predict": lambda: hook.predict(target, model_input),
            }
            rounds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):
                for name, call in contenders.items():
                    rounds[name].append(per_call(call))
        finally:
            server.terminate()
    medians = {name: statistics.median(times) for name, times in rounds.items()}
    bare = medians["requests.Session.post"]
    print(f"{'call':<24} {'median of ' + str(ROUNDS) + ' rounds':>20}   ratio")
    for name, median in medians.items():
        print(f"{name:<24} {median:>17.0f} us   {median / bare:.2f}")
    return int(medians["BasetenHook.predict"] > LIMIT * bare)


if __name__ == "__main__":
    sys.exit(main())
