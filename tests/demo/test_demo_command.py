"""`python -m tools.demo`, which is what `make demo` runs, as a process of its own."""

import fcntl
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tools.airflow_api import wait_until
from tools.demo import ROOT

COMPONENTS = {"scheduler", "api-server", "dag-processor", "triggerer"}


class DemoProcess:
    """The demo, and every process that was seen below it."""

    def __init__(self, home: Path, *options: str, root: Path = ROOT) -> None:
        command = [sys.executable, "-m", "tools.demo", "--home", str(home), *options]
        self.process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = ""
        self.family: set[psutil.Process] = set()
        self.commands: set[str] = set()
        self._watch = threading.Thread(target=self._remember_family)
        self._watch.start()

    def read_until(self, text: str) -> None:
        """Read the output up to the line that has this text, or to its end."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return

    def end(self) -> int:
        """Read the rest of the output and return the exit status."""
        assert self.process.stdout
        self.output += self.process.stdout.read()
        status = self.process.wait()
        self._watch.join()
        return status

    def survivors(self) -> list[psutil.Process]:
        return [process for process in self.family if process.is_running() and not _is_zombie(process)]

    def _remember_family(self) -> None:
        parent = psutil.Process(self.process.pid)
        while self.process.poll() is None:
            for process in _children(parent):
                if process not in self.family:
                    self.family.add(process)
                    self.commands.update(_command(process))
            threading.Event().wait(0.2)


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return list(parent.children(recursive=True))
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


Start = Callable[..., DemoProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a demo in a folder of its own, with these options; it is ended after the test."""
    started: list[DemoProcess] = []

    def start(*options: str, root: Path = ROOT) -> DemoProcess:
        started.append(DemoProcess(tmp_path / "demo", *options, root=root))
        return started[-1]

    yield start
    for demo in started:
        demo.process.kill()
        demo.end()


def test_one_run_shows_every_result_and_leaves_nothing_running(start: Start) -> None:
    demo = start("--once")
    demo.read_until("Airflow: ")
    status = demo.end()

    assert status == 0, demo.output
    assert "route_tickets: success" in demo.output
    assert "language_routes: success" in demo.output
    [row] = [line for line in demo.output.splitlines() if "10,000 rows" in line]
    assert row.startswith("score ")
    assert "10,000 rows, 0 failed, " in row
    assert '{"en": 2000, "de": 4000, "es": 2000, "ja": 2000}' in demo.output
    [row] = [line for line in demo.output.splitlines() if line.startswith("german_desk")]
    assert row.split(maxsplit=3)[1::2] == ["success", '["T-1002", "T-1003"]']
    [line] = [line for line in demo.output.splitlines() if line.startswith("Airflow: ")]
    assert "login: admin / " in line
    with pytest.raises(requests.ConnectionError):
        requests.get(line.split()[1], timeout=5)
    assert demo.commands >= COMPONENTS
    assert demo.survivors() == []


def test_a_failed_task_is_shown_with_its_log_and_fails_the_command(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", root / "tools")
    dags = shutil.copytree(ROOT / "example_dags", root / "example_dags")
    (dags / "route_tickets.py").unlink()
    routes = dags / "language_routes.py"
    routes.write_text(routes.read_text().replace('"v1/rank"', '"v1/no-such-route"'))

    demo = start("--once", root=root)
    status = demo.end()

    assert status == 1
    assert "language_routes: failed" in demo.output
    assert "language_routes.rank failed; its log ends with:" in demo.output
    assert "BasetenNotFoundError" in demo.output
    rows = [line for line in demo.output.splitlines() if line.startswith("summary")]
    assert sum("upstream_failed" in row for row in rows) == 1
    assert demo.survivors() == []


@pytest.mark.parametrize(
    ("moment", "signal_number"),
    [
        ("starting", signal.SIGTERM),
        ("the emulator answers", signal.SIGINT),
        ("added the connection", signal.SIGTERM),
        ("added the connection", signal.SIGKILL),
    ],
)
def test_an_interrupted_demo_leaves_nothing_running(start: Start, moment: str, signal_number: signal.Signals) -> None:
    demo = start()
    demo.read_until(moment)
    assert moment in demo.output
    if moment == "added the connection":
        wait_until(lambda: demo.commands >= COMPONENTS, 10, "all components to be seen")

    demo.process.send_signal(signal_number)

    assert demo.end() == (-signal.SIGKILL if signal_number == signal.SIGKILL else 130)
    if signal_number == signal.SIGKILL:
        wait_until(lambda: not demo.survivors(), 30, "the processes of a killed demo to end")
    assert demo.survivors() == []


def test_a_second_demo_in_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    home.mkdir()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        demo = start("--once")
        assert demo.end() == 1
    assert "another demo runs" in demo.output
