"""The matrix of Airflow and Python: what it says of a Python that is missing, and of a pair whose tests fail."""

import subprocess
import sys

import pytest

from tools import matrix

THIS = "{}.{}".format(*sys.version_info)


def test_a_python_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "find_python", lambda version: None)
    assert matrix.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(map(len, matrix.PYTHONS.values()))
    assert all(line.endswith(": skipped, this Python is missing") for line in lines)


def test_a_pair_that_fails_fails_the_whole_and_the_others_still_run(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "find_python", lambda version: None if version == "3.14" else sys.executable)
    monkeypatch.setattr(
        matrix, "passes", lambda constraints, python, version, tests: "failed" if version == "3.12" else "passed"
    )
    assert matrix.main([]) == 1
    outcomes = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert (outcomes.count("failed"), outcomes.count("passed")) == (3, 6)


@pytest.mark.processes
def test_pythons_of_this_machine(monkeypatch, tmp_path):
    found = matrix.find_python(THIS)
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    assert found
    assert subprocess.run([found, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == THIS
    assert matrix.find_python("3.99") is None

    # A program of the right name may be another version, or refuse to run.
    (tmp_path / "python3.99").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert matrix.find_python("3.99") is None
