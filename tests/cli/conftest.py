"""The command line in processes of its own, against an emulator in this one."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator, Model, Scaling

KEY = "abcd1234.s3cr3t"
BIN = Path(sys.executable).parent
AIRFLOW = [str(BIN / "airflow"), "baseten"]
MODULE = [sys.executable, "-m", "airflow_provider_baseten.cli"]


def echo(model_input: Any) -> Any:
    return model_input


def lines(model_input: Any) -> Iterator[str]:
    for number in range(model_input["lines"]):
        yield f"line {number} é\n"


def broken(model_input: Any) -> None:
    raise ValueError("no weights")


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def output(self) -> Any:
        return json.loads(self.out)


def environment(url: str, **more: str) -> dict[str, str]:
    """This process's environment, with connections that lead to the emulator."""
    connections = {
        "baseten_default": (url, KEY),
        "refused": (url, "wrong.k3y"),
        "unreachable": ("http://127.0.0.1:9", KEY),
    }
    given = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "baseten", "host": host, "password": key})
        for name, (host, key) in connections.items()
    }
    return os.environ | given | more


@pytest.fixture(scope="package")
def running() -> Iterator[Emulator]:
    cold = Model(echo, name="cold one", scaling=Scaling(min_replica=0, cold_start=3600))
    models = {"abc": echo, "lines": lines, "cold": cold, "two": Model(broken, environments=("production", "staging"))}
    with Emulator(models=models, chains={"xyz": echo}, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
def baseten(running: Emulator) -> Iterator[Emulator]:
    yield running
    running.faults.clear()


@pytest.fixture
def run(baseten: Emulator) -> Callable[..., Finished]:
    """Run a command and return how it ended; nothing that it prints may hold a key or a traceback."""

    def run(*arguments: str, program: list[str] = MODULE, stdin: bytes = b"", **variables: str) -> Finished:
        done = subprocess.run(
            [*program, *arguments],
            input=stdin,
            capture_output=True,
            env=environment(baseten.url, **variables),
            timeout=120,
            check=False,
        )
        finished = Finished(done.returncode, done.stdout.decode(), done.stderr.decode())
        for secret in (KEY, "wrong.k3y"):
            assert secret not in finished.out + finished.err
        assert "Traceback" not in finished.err
        return finished

    return run


@pytest.fixture
def run_here(baseten: Emulator, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Callable[..., Finished]:
    """Run a command in this process, which costs no start of Python; for what does not depend on it."""
    from airflow_provider_baseten.cli.__main__ import main

    for name, value in environment(baseten.url).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, stdin: bytes = b"") -> Finished:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfdbinary.readouterr()
        return Finished(ended.value.code, out.decode(), err.decode())

    return run
