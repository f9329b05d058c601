"""The package can be installed under Airflow's own constraints, as most users and hosted Airflows install."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests" / "constraints").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# `common-ai` needs the batches of this package, which first came with 0.10, after every Airflow that is supported.
TOO_NEW = "apache-airflow-providers-common-ai"
UNPINNED = {"aiolimiter", "airflow-provider-baseten", "apache-airflow", "msgpack-numpy", "pyreqwest"}

each_airflow = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def requirements():
    return [Requirement(text) for text in chain(PROJECT["dependencies"], *EXTRAS.values())]


def pins(file):
    found = map(Requirement, re.findall(r"^[^#\s].*", file.read_text(), re.MULTILINE))
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in found}


def test_each_minor_release_of_airflow_has_a_file():
    assert {file.stem.rpartition(".")[0] for file in FILES} == {"3.1", "3.2", "3.3"}


@each_airflow
def test_airflow_pins_nothing_below_a_floor(file):
    pinned = pins(file)
    wanted = {requirement.name: requirement for requirement in requirements()}
    assert wanted.keys() - pinned.keys() - {TOO_NEW} == UNPINNED
    too_low = [name for name in pinned.keys() - {TOO_NEW} if not wanted[name].specifier.contains(pinned[name])]
    assert not too_low
    # Says when the documentation's table of extras is to be changed.
    assert not wanted[TOO_NEW].specifier.contains(pinned.get(TOO_NEW, "0"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@each_airflow
@pytest.mark.processes
@pytest.mark.slow
def test_pip_finds_versions_that_fit_together(wheel, file, tmp_path):
    extras = ",".join(EXTRAS.keys() - {"common-ai"})
    airflow, report = f"apache-airflow=={file.stem}", tmp_path / "report.json"
    pip("install", "--dry-run", "--ignore-installed", "--report", report, "-c", file, airflow, f"{wheel}[{extras}]")
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    versions = {metadata["name"].lower(): metadata["version"] for metadata in found}
    assert versions["apache-airflow-core"] == file.stem
    assert {"airflow-provider-baseten", "openai", "pyarrow"} <= versions.keys()
