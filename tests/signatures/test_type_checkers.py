"""Type checkers know every argument: they find the wrong calls, and no others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

CALLS = Path(__file__).with_name("calls.py")


def wrong_lines():
    return {number for number, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}


def test_mypy_finds_wrong_calls_and_no_others():
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json", str(CALLS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert {error["line"] for error in found if error["severity"] == "error"} == wrong_lines(), run.stdout + run.stderr


def test_pyright_finds_wrong_calls_and_no_others():
    command = [Path(sys.executable).with_name("basedpyright"), "--level", "error", "--outputjson", CALLS]
    run = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    found = json.loads(run.stdout)["generalDiagnostics"]
    assert {error["range"]["start"]["line"] + 1 for error in found} == wrong_lines(), run.stdout + run.stderr
