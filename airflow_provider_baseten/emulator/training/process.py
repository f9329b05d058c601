"""Process of a node of a training job: a shell in its own process group, whose output becomes log lines."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_SECONDS_TO_END = 5.0


class NodeProcess:
    """Shell that runs the commands of a training job. Threads read its output and wait for its end.

    :param commands: commands, run one after the other until one fails.
    :param folder: working directory.
    :param environment: all environment variables of the process.
    :param on_line: function that is called, in a thread, with each line of the output.
    :param on_end: function that is called, in a thread, with the exit code when the process group has ended.
    :raises OSError: the shell could not be started.
    """

    def __init__(
        self,
        commands: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - running the user's commands is what a training job is.
            ["/bin/sh", "-e", "-c", "\n".join(commands)],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="training-output", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="training-wait", daemon=True)
        self._reader.start()
        self._waiter.start()

    def stop(self) -> None:
        """Ask the process group to end. What has not ended after 5 seconds is killed."""
        self._signal(signal.SIGTERM)
        timer = threading.Timer(_SECONDS_TO_END, self._signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """Kill the process group, and wait for its end."""
        self._signal(signal.SIGKILL)
        self._waiter.join(_SECONDS_TO_END)

    def _signal(self, number: signal.Signals) -> None:
        # The system does not use the process id again before `wait` has returned, so no other process gets the signal.
        with self._lock:
            if self._process.returncode is None:
                self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout as output:
            for line in output:
                self._on_line(line.decode(errors="replace").rstrip("\r\n"))

    def _wait(self) -> None:
        # `waitid` with WNOWAIT keeps the process id reserved until the rest of the group is killed.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._signal_group(signal.SIGKILL)
        with self._lock:
            exit_code = self._process.wait()
        # A process that has left the group may keep the pipe open.
        self._reader.join(_SECONDS_TO_END)
        self._on_end(exit_code)
