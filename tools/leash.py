"""Runs a command on a leash: the command, and all that it starts, ends when the holder lets go.

`Leash` runs this file as a process of its own, the leader of a new session, with a pipe as its standard
input. The end of that pipe is the leash: it comes when the holder closes it, exits, crashes or is killed, so
nothing is left running however the holder ends. Airflow puts each task into a process group of its own, but all
of them stay in the session, which is what is ended.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

TERM_SECONDS = 10.0
KILL_SECONDS = 5.0
PR_SET_CHILD_SUBREAPER = 36


class Leash:
    """A command that runs until it ends by itself, `let_go` is called, or this process is gone.

    :param command: program and arguments
    :param env: the command's whole environment
    :param log: file that its output is appended to
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    @property
    def members(self) -> set[int]:
        """Ids of the command's process and all that it started."""
        return _session_members(self._process.pid)

    def send(self, signum: int) -> None:
        """Send a signal to the command and all that it started."""
        for pid in self.members:
            _signal(pid, signum)

    def let_go(self) -> None:
        """End the command and all that it started, and wait until nothing of it runs."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(TERM_SECONDS + KILL_SECONDS + 5)


def main(command: Sequence[str]) -> int:
    """Run the command until it ends or standard input does, then end the session."""
    signal.signal(signal.SIGTERM, _exit)
    _adopt_orphans()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while child.poll() is None and not select.select([sys.stdin], [], [], 0.2)[0]:
            pass
    finally:
        _end_session(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _end_session(child: subprocess.Popen[bytes]) -> None:
    for signum, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        told: set[int] = set()
        while (members := _session_members(os.getpid())) and time.monotonic() < deadline:
            for pid in members - told:
                _signal(pid, signum)
            told |= members
            child.poll()
            time.sleep(0.05)
    child.wait()
    _reap_orphans()


def _adopt_orphans() -> None:
    """Become the parent of processes whose own has ended, so that they do not stay as zombies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _session_members(leader: int) -> set[int]:
    """Living processes of the session of this leader, without itself."""
    return {pid for pid in psutil.pids() if pid != leader and _belongs(pid, leader)}


def _belongs(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def _signal(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
