"""The bulk engine beside Baseten's own client, the speed of the wire, and a loop.

Each case runs its contenders in turn, each in a process of its own, and takes the medians of the rounds. Prints a table
and says which targets do not hold; exits 1 if one does not. Needs the Debian packages nginx-light,
libnginx-mod-http-echo and wrk.

    python benchmarks/batch.py                      the cases of a few minutes
    python benchmarks/batch.py --case memory        one case; may be repeated
    python benchmarks/batch.py --json               the same as JSON

Cases: ``no-delay`` (50,000 rows, 256 in flight), ``delay-256`` (30,000 rows, 50 ms), ``delay-64`` (10,000 rows, 50 ms)
and ``naive`` (a loop of requests.post); and the slow ones ``auto`` (three servers whose capacity is to be found),
``memory`` (1,000,000 rows), ``exits`` (300 processes) and ``kill`` (20 times kill -9).
"""

import argparse
import asyncio
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ECHO_MODULE = "/usr/lib/nginx/modules/ngx_http_echo_module.so"
PACKAGES = "nginx-light libnginx-mod-http-echo wrk"
ANSWER = '{"label":"spam","score":0.98}'
KEY = "abcd1234.benchmark"
PATH = "model-abc/environments/production/predict"
CHUNK = 1000

NGINX = """
load_module {module};
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_buffer_size 64k; client_body_temp_path {folder}/body;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /fast/ {{ echo_read_request_body; echo '{answer}'; }}
    location /slow/ {{ echo_read_request_body; echo_sleep 0.05; echo '{answer}'; }}
  }}
}}
"""

WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer x"
wrk.body = '{"row":123456,"text":"' .. string.rep("x", 1000) .. '"}'
"""


def free_port() -> int:
    """Return a port that no program listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_rows(path: Path, count: int) -> Path:
    """Write rows of about 1 KB."""
    with path.open("w") as file:
        for row in range(count):
            file.write(f'{{"row":{row},"text":"{"x" * 1000}"}}\n')
    return path


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """Serve /fast/ and /slow/, and yield the base URL."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(module=ECHO_MODULE, folder=folder, port=port, answer=ANSWER))
    with subprocess.Popen(["nginx", "-c", str(config)]) as server:
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for_port(port: int) -> None:
    """Return when somebody listens."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("The server did not start.")


# Contenders, each in a process of its own: they print one JSON object.


def engine(url: str, rows: str, out: str, concurrency: str) -> dict[str, Any]:
    """From file to parts with this package."""
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.batch.engine import run_batch
    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.credentials import Credentials

    job = BatchJob(
        target=Target(model_id="abc"),
        input_path=rows,
        output_path=out,
        max_concurrency=concurrency if concurrency == "auto" else int(concurrency),
    )
    began = time.perf_counter()
    manifest = run_batch(job, client=Client(Credentials(api_key=KEY, base_url=url)))
    seconds = time.perf_counter() - began
    assert manifest.complete
    assert not manifest.failed
    return {"rate": manifest.rows / seconds} | usage(manifest.rows)


def client(url: str, rows: str, out: str, concurrency: str) -> dict[str, Any]:
    """From file to file with Baseten's client, in chunks, so that it is not all in memory."""
    import orjson
    from baseten_performance_client import PerformanceClient, RequestProcessingPreference

    began = time.perf_counter()
    performance_client = PerformanceClient(url, KEY)
    preference = RequestProcessingPreference(max_concurrent_requests=int(concurrency), timeout_s=600)
    done = 0
    with Path(rows).open("rb") as source, Path(out).open("wb") as sink:
        while chunk := [orjson.loads(line) for _, line in zip(range(CHUNK), source, strict=False)]:
            answers = performance_client.batch_post(PATH, chunk, preference=preference).data
            sink.writelines(orjson.dumps({"output": answer}, option=orjson.OPT_APPEND_NEWLINE) for answer in answers)
            done += len(answers)
    return {"rate": done / (time.perf_counter() - began)} | usage(done)


def naive(url: str, rows: str, out: str, concurrency: str) -> dict[str, Any]:
    """A loop in one task."""
    import requests

    began = time.perf_counter()
    done = 0
    with Path(rows).open() as source, Path(out).open("w") as sink:
        for line in source:
            answer = requests.post(f"{url}/{PATH}", json=json.loads(line), headers={"Authorization": f"Bearer {KEY}"})
            sink.write(json.dumps({"output": answer.json()}) + "\n")
            done += 1
    return {"rate": done / (time.perf_counter() - began)} | usage(done)


def usage(rows: int) -> dict[str, float]:
    """Return what this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (used.ru_utime + used.ru_stime) / rows * 1e6
    return {"cpu_us_per_row": round(cpu, 1), "peak_mb": round(used.ru_maxrss / 1024, 1)}


def contender(name: str, url: str, rows: Path, out: Path, concurrency: int | str) -> dict[str, Any]:
    """Run one contender, and return what it printed."""
    shutil.rmtree(out, ignore_errors=True)
    out.unlink(missing_ok=True)
    arguments = [sys.executable, __file__, "--contender", name, url, str(rows), str(out), str(concurrency)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def wrk(folder: Path, url: str, connections: int) -> dict[str, Any]:
    """Return the rate of the wire."""
    script = folder / "post.lua"
    script.write_text(WRK)
    command = ["wrk", "-t1", f"-c{connections}", "-d6s", "-s", str(script), f"{url}/{PATH}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])}  # type: ignore[index]


class Report:
    """Collects the lines of the table."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def add(self, case: str, what: str, value: object, target: str = "", held: bool | None = None) -> None:
        """Add a line; ``held`` says whether a target was reached."""
        self.lines.append({"case": case, "what": what, "value": value, "target": target, "held": held})
        print(f"{case:<10} {what:<44} {value!s:>24}  {target:<16} {'' if held is None else 'ok' if held else 'MISSED'}",
              file=sys.stderr, flush=True)  # fmt: skip

    @property
    def missed(self) -> list[dict[str, Any]]:
        """Return the lines whose target was not reached."""
        return [line for line in self.lines if line["held"] is False]


def race(
    report: Report, case: str, rounds: int, contenders: dict[str, Callable[[], dict[str, Any]]]
) -> dict[str, float]:
    """Run all contenders in turn, add their medians to the report, and return their rates."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            results[name].append(run())
    rates = {}
    for name, runs in results.items():
        rates[name] = statistics.median(run["rate"] for run in runs)
        spread = f"{min(run['rate'] for run in runs):,.0f}-{max(run['rate'] for run in runs):,.0f}"
        extra = (
            f", {statistics.median(run['cpu_us_per_row'] for run in runs):.0f} us CPU" if "peak_mb" in runs[0] else ""
        )
        report.add(case, f"{name} ({spread}{extra})", f"{rates[name]:,.0f}/s")
    return rates


def speed(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Compare the rate with the client's and the wire's."""
    count, connections, path, over_client, over_wrk = {
        "no-delay": (50_000, 256, "fast", 1.0, None),
        "delay-256": (30_000, 256, "slow", 1.15, 0.90),
        "delay-64": (10_000, 64, "slow", None, 0.97),
    }[case]
    rows, out = write_rows(folder / "rows.jsonl", count), folder / "out"
    with nginx(folder) as base:
        url = f"{base}/{path}"
        rates = race(
            report,
            case,
            rounds,
            {
                "engine": lambda: contender("engine", url, rows, out, connections),
                "client": lambda: contender("client", url, rows, out, connections),
                "wrk": lambda: wrk(folder, url, connections),
            },
        )
    for other, least in (("client", over_client), ("wrk", over_wrk)):
        ratio = rates["engine"] / rates[other]
        report.add(case, f"engine / {other}", f"{ratio:.2f}", f">= {least}" if least else "", least and ratio >= least)


def naive_dag(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Report what a loop does."""
    few, many = write_rows(folder / "few.jsonl", 60), write_rows(folder / "rows.jsonl", 10_000)
    with nginx(folder) as base:
        rates = race(
            report,
            case,
            rounds,
            {
                "loop of requests.post, 50 ms": lambda: contender("naive", f"{base}/slow", few, folder / "out", 1),
                "engine, 256 in flight, 50 ms": lambda: contender("engine", f"{base}/slow", many, folder / "out", 256),
            },
        )
    slow, fast = rates.values()
    report.add(case, "loop / engine", f"1/{fast / slow:.0f}")


def memory(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Compare the peak memory of many rows with that of few."""
    peaks = {}
    with nginx(folder) as base:
        for count in (10_000, 1_000_000):
            rows = write_rows(folder / "rows.jsonl", count)
            runs = [
                contender("engine", f"{base}/fast", rows, folder / "out", 256)
                for _ in range(rounds if count < 1e5 else 1)
            ]
            peaks[count] = statistics.median(run["peak_mb"] for run in runs)
            report.add(case, f"peak memory with {count:,} rows", f"{peaks[count]:.0f} MB")
            report.add(case, f"rate with {count:,} rows", f"{runs[-1]['rate']:,.0f}/s")
    growth = peaks[1_000_000] - peaks[10_000]
    report.add(case, "growth", f"{growth:.0f} MB", "<= 50", growth <= 50)


# Simulated servers.


class Server:
    """Answers as ``kind`` says, and counts: answers and refusals in each second, requests for each row.

    ``replicas``: 8 replicas take 16 requests each for 100 ms, further ones wait. ``limit``: 50 ms, and 429 for what is
    beyond 500 in a second. ``load``: 40 ms with nothing else in flight, more with the square of what is. ``count``: a
    few milliseconds.
    """

    def __init__(self, kind: str) -> None:
        self.answer = getattr(self, kind)
        self.places = asyncio.Semaphore(128)
        self.in_flight = 0
        self.level = 0.0
        self.leaked = time.monotonic()
        self.seconds: dict[int, list[int]] = {}
        self.rows: Counter[int] = Counter()

    async def replicas(self) -> int:
        """Queue on full."""
        async with self.places:
            await asyncio.sleep(0.1)
        return 200

    async def limit(self) -> int:
        """A leaky bucket: 500 a second, 25 at once."""
        now = time.monotonic()
        self.level = max(0.0, self.level - 500 * (now - self.leaked))
        self.leaked = now
        if self.level > 25:
            return 429
        self.level += 1
        await asyncio.sleep(0.05)
        return 200

    async def load(self) -> int:
        """Slower and slower."""
        await asyncio.sleep(0.04 * (1 + (self.in_flight / 100) ** 2))
        return 200

    async def count(self) -> int:
        """Short work."""
        await asyncio.sleep(random.uniform(0.001, 0.02))
        return 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    body = json.dumps({"seconds": self.seconds, "rows": self.rows})
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body.encode()))
                    self.seconds, self.rows = {}, Counter()
                    continue
                length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
                body_start = await reader.readexactly(length)
                self.rows[int(body_start[7 : body_start.index(b",")])] += 1
                self.in_flight += 1
                try:
                    status = await self.answer()
                finally:
                    self.in_flight -= 1
                self.seconds.setdefault(int(time.time()), [0, 0])[status != 200] += 1
                retry = b"Retry-After: 1\r\n" if status == 429 else b""
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
                    % (status, retry, len(ANSWER), ANSWER.encode())
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @classmethod
    async def run(cls, kind: str, port: int) -> None:
        """Serve for ever."""
        server = await asyncio.start_server(cls(kind).serve, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()


@contextmanager
def simulated(kind: str) -> Iterator[str]:
    """Run a simulated server, and yield its URL."""
    port = free_port()
    with subprocess.Popen([sys.executable, __file__, "--serve", kind, str(port)]) as server:
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def stats(url: str) -> dict[str, Any]:
    """Return what the server has counted since it was asked last."""
    with urlopen(f"{url}/stats") as answer:
        result: dict[str, Any] = json.load(answer)
    return result


def measured(url: str, folder: Path, concurrency: int | str, warm_up: int, seconds: int) -> tuple[float, float]:
    """Run for some seconds; return answers a second, and the part of requests that was refused, after the warm-up."""
    rows, out = folder / "rows.jsonl", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    stats(url)
    command = [sys.executable, __file__, "--contender", "timed", url, str(rows), str(out), str(concurrency)]
    with subprocess.Popen([*command, str(warm_up + seconds + 1)], stdout=subprocess.DEVNULL) as run:
        run.wait()
    by_second = sorted((int(second), counts) for second, counts in stats(url)["seconds"].items())
    first = by_second[0][0]
    window = [counts for second, counts in by_second if first + warm_up <= second < first + warm_up + seconds]
    answered, refused = (sum(counts[index] for counts in window) for index in (0, 1))
    return answered / seconds, refused / max(1, answered + refused)


def timed(url: str, rows: str, out: str, concurrency: str, seconds: str) -> dict[str, Any]:
    """Run the engine until it is stopped."""
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.batch.engine import run_batch
    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.credentials import Credentials

    stop = threading.Event()
    timer = threading.Timer(float(seconds), stop.set)
    timer.start()
    job = BatchJob(
        target=Target(model_id="abc"),
        input_path=rows,
        output_path=out,
        max_concurrency=concurrency if concurrency == "auto" else int(concurrency),
    )
    manifest = run_batch(
        job,
        client=Client(Credentials(api_key=KEY, base_url=url)),
        stop=stop,
        on_progress=lambda progress: print(progress, file=sys.stderr),
    )
    timer.cancel()
    return {"rows": manifest.rows}


def auto(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Compare "auto" with the best fixed concurrency."""
    write_rows(folder / "rows.jsonl", 100_000)
    for kind in ("replicas", "limit", "load"):
        with simulated(kind) as url:

            def rate_at(fixed: int, url: str = url) -> float:
                return measured(url, folder, fixed, 2, 4)[0]

            rates = {fixed: rate_at(fixed) for fixed in (8, 16, 32, 64, 128, 256, 512)}
            best = max(rates, key=lambda fixed: rates[fixed])
            rates |= {fixed: rate_at(fixed) for fixed in (best * 3 // 4, best * 5 // 4, best * 3 // 2)}
            best = max(rates, key=lambda fixed: rates[fixed])
            report.add(case, f"{kind}: best fixed concurrency is {best}", f"{rates[best]:,.0f}/s")
            runs = [measured(url, folder, "auto", 15, 30) for _ in range(rounds)]
            rate, refused = (statistics.median(run[index] for run in runs) for index in (0, 1))
            ratio = rate / rates[best]
            report.add(case, f"{kind}: auto after 15 s", f"{rate:,.0f}/s")
            report.add(case, f"{kind}: auto / best fixed", f"{ratio:.2f}", ">= 0.9", ratio >= 0.9)
            report.add(case, f"{kind}: answered 429", f"{refused:.2%}", "< 1 %", refused < 0.01)


def brief(url: str, rows: str, out: str, how: str) -> dict[str, Any]:
    """Run a short job, to its end or stopped midway by a signal."""
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.batch.engine import run_batch
    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.client.credentials import Credentials

    job = BatchJob(target=Target(model_id="abc"), input_path=rows, output_path=out, max_concurrency=64)
    stop = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: stop.set())
    if how == "signal":
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.05, 0.3))
    manifest = run_batch(job, client=Client(Credentials(api_key=KEY, base_url=url)), stop=stop)
    return {"rows": manifest.rows}


def exits(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Count clean exits of short runs."""
    rows = write_rows(folder / "rows.jsonl", 1000)
    codes: Counter[int] = Counter()
    with nginx(folder) as base:
        for number in range(300):
            how = ("whole", "whole", "cancel" if number % 2 else "signal")[number % 3]
            out = folder / f"out{number}"
            command = [sys.executable, __file__, "--contender", "brief", f"{base}/slow", str(rows), str(out), how]
            codes[subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode] += 1
            shutil.rmtree(out, ignore_errors=True)
    report.add(case, "exit codes of 300 processes", dict(codes), "all 0", codes == {0: 300})


def kill(report: Report, case: str, rounds: int, folder: Path) -> None:
    """Kill runs at a random moment, repeat them, and count."""
    count, in_flight = 40_000, 256
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    rows, out = write_rows(folder / "rows.jsonl", count), folder / "out"
    most, wrong, killed = 0, 0, 0
    with simulated("count") as url:
        command = [sys.executable, __file__, "--contender", "engine", url, str(rows), str(out), str(in_flight)]
        began = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        whole = time.monotonic() - began
        for _ in range(20):
            shutil.rmtree(out, ignore_errors=True)
            stats(url)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
                time.sleep(whole * chance.uniform(0.2, 0.95))
                killed += run.poll() is None
                run.kill()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            parts = json.loads((out / "_manifest.json").read_bytes())["parts"]
            numbers = [json.loads(line)["row"] for part in parts for line in Path(part).read_bytes().splitlines()]
            wrong += sorted(numbers) != list(range(count))
            most = max(most, sum(times - 1 for times in stats(url)["rows"].values()))
    report.add(case, f"killed midway (seed {seed})", f"{killed} of 20")
    report.add(case, "runs with a row missing or twice", wrong, "0", wrong == 0)
    report.add(case, "rows sent twice, at most", most, f"<= {in_flight + 1000}", most <= in_flight + 1000)


CASES: dict[str, Callable[[Report, str, int, Path], None]] = {
    "no-delay": speed,
    "delay-256": speed,
    "delay-64": speed,
    "naive": naive_dag,
    "auto": auto,
    "memory": memory,
    "exits": exits,
    "kill": kill,
}
QUICK = ("no-delay", "delay-256", "delay-64", "naive")


def main() -> int:
    """Run cases; return the exit code."""
    if "--contender" in sys.argv:
        name, *arguments = sys.argv[sys.argv.index("--contender") + 1 :]
        print(json.dumps(globals()[name](*arguments)))
        return 0
    if "--serve" in sys.argv:
        kind, port = sys.argv[sys.argv.index("--serve") + 1 :]
        import uvloop

        uvloop.run(Server.run(kind, int(port)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="by default the quick ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (shutil.which("nginx") and shutil.which("wrk") and Path(ECHO_MODULE).exists()):
        print(f"nginx with its echo module, or wrk, is missing: apt-get install {PACKAGES}", file=sys.stderr)
        return 2
    report = Report()
    os.environ["PYTHONWARNINGS"] = "ignore"
    for case in options.case or QUICK:
        with tempfile.TemporaryDirectory(prefix="baseten-batch-") as folder:
            CASES[case](report, case, options.rounds, Path(folder))
    if options.json:
        print(json.dumps(report.lines, indent=1))
    return int(bool(report.missed))


if __name__ == "__main__":
    sys.exit(main())
