"""The release files, and their installation under Airflow's own constraints, the way of most users and of hosts."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import dist, matrix

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests" / "constraints").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# `common-ai` needs the batches of this package, which first came with 0.10, after every Airflow that is supported.
TOO_NEW = {"apache-airflow-providers-common-ai", "pydantic-ai-slim"}
UNPINNED = {"aiolimiter", "airflow-provider-baseten", "apache-airflow", "msgpack-numpy", "pyreqwest"}

# What each supported Airflow requires itself, in no lower version than this package.
REQUIRED_BY_AIRFLOW = {"pendulum", "typing-extensions"}

each_airflow = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def requirements():
    return [Requirement(text) for text in chain(PROJECT["dependencies"], *EXTRAS.values())]


def pins(file):
    found = map(Requirement, re.findall(r"^[^#\s].*", file.read_text(), re.MULTILINE))
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in found}


def minor(version):
    return version.rpartition(".")[0]


def test_each_minor_release_of_airflow_has_a_file():
    assert {minor(file.stem) for file in FILES} == {"3.1", "3.2", "3.3"}
    assert {minor(matrix.airflow_version(name)) for name in matrix.PYTHONS} == {"3.1", "3.2", "3.3"}


def test_each_python_that_the_package_claims_is_tested_with_each_airflow():
    claimed = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}
    for name, versions in matrix.PYTHONS.items():
        assert claimed <= set(versions), name


@pytest.mark.parametrize("name", ["3.1", "3.2"])
def test_the_older_airflows_are_tested_with_what_their_own_constraints_pin(name):
    own, ours = pins(ROOT / "tests" / "constraints" / f"{name}.0.txt"), pins(ROOT / f"constraints-{name}.txt")
    dependencies = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert len(dependencies & own.keys()) == 8
    assert {name: ours[name] for name in dependencies & own.keys()} == {
        name: own[name] for name in dependencies & own.keys()
    }


def test_the_documentation_names_the_patches_that_are_tested():
    page = (ROOT / "docs" / "versions.rst").read_text()
    for name in matrix.PYTHONS:
        assert f"      - {matrix.airflow_version(name)}\n" in page


def test_release_files_with_another_content_are_refused():
    with pytest.raises(ValueError, match=r"a\.whl lacks \['py.typed'\] and has \['tests/x.py'\] too many"):
        dist.check_files(Path("a.whl"), {"tests/x.py", "a.py"}, {"py.typed", "a.py"})


def test_a_package_more_than_is_wanted_is_refused(capsys):
    package = {"version": "1.0", "licence": "MIT", "size": 1_500_000}
    dist.print_added(dict.fromkeys(dist.ADDED, package))
    assert "4 packages" in capsys.readouterr().out
    with pytest.raises(ValueError, match="the packages above should be"):
        dist.print_added(dict.fromkeys([*dist.ADDED, "left-pad"], package))


@each_airflow
def test_airflow_pins_nothing_below_a_floor(file):
    pinned = pins(file)
    wanted = {requirement.name: requirement for requirement in requirements()}
    assert wanted.keys() - pinned.keys() - TOO_NEW == UNPINNED | REQUIRED_BY_AIRFLOW
    too_low = [name for name in pinned.keys() - TOO_NEW if not wanted[name].specifier.contains(pinned[name])]
    assert not too_low
    # Says when the documentation's table of extras is to be changed.
    assert not [name for name in TOO_NEW if wanted[name].specifier.contains(pinned.get(name, "0"))]


@pytest.mark.parametrize("name", REQUIRED_BY_AIRFLOW)
def test_airflow_requires_no_lower_version(name):
    ours, airflows = (
        next(requirement for requirement in found if requirement.name == name)
        for found in (requirements(), map(Requirement, requires("apache-airflow-core") or []))
    )
    [floor] = [specifier.version for specifier in ours.specifier]
    lowest = [specifier.version for specifier in airflows.specifier if specifier.operator == ">="]
    assert Version(floor) <= max(map(Version, lowest))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, whose files and metadata have been checked."""
    return dist.build(tmp_path_factory.mktemp("release") / "dist")


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.processes
@pytest.mark.slow
def test_the_wheel_has_the_example_dags_where_airflow_does_not_load_them(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert f"{dist.EXAMPLES}/route_tickets.py" in names
    assert f"{dist.EXAMPLES}/data/tickets.json" in names
    assert f"{dist.EXAMPLES}/models/language_identifier/config.yaml" in names
    assert "airflow_provider_baseten/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    # Airflow 3.3 loads this folder of each provider.
    assert not [name for name in names if name.startswith("airflow_provider_baseten/example_dags/")]


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
