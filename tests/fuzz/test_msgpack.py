"""Hostile and random msgpack bodies, each decoder in a process of its own: a fault would be a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "fuzz" / "msgpack_bodies.py"


@pytest.mark.parametrize("seed", ["1", "2"])
@pytest.mark.parametrize("decoder", ["client", "emulator"])
def test_only_value_errors_and_little_memory(decoder: str, seed: str) -> None:
    command = [sys.executable, "-X", "faulthandler", str(PROGRAM), decoder, seed, "20000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
