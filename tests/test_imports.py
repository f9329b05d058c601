"""Import contracts fail where they should, the DAG processor loads nothing heavy, and no module is too long."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_baseten

PACKAGE = Path(airflow_provider_baseten.__file__).parent
NAME = "airflow_provider_baseten"
HEAVY = {"requests", "pyreqwest", "openai", "fastapi", "pyarrow"}

# A module, a line that imports upwards or sideways, and the contract that it breaks.
PLANTED = [
    ("storage/files.py", f"from {NAME}.hooks import baseten", "Imports run downwards only"),
    ("exceptions.py", f"import {NAME}.api.target", "Imports run downwards only"),
    ("new_part.py", "", "Imports run downwards only"),
    ("emulator/clock.py", f"from {NAME} import exceptions", "The emulator shares no code with the client side"),
    ("api/target.py", "import requests", "Baseten's contract is pure data"),
    ("batch/slots.py", "from airflow.sdk import BaseHook", "Client and bulk engine import no Airflow themselves"),
]


@pytest.mark.processes
@pytest.mark.parametrize(("module", "line", "contract"), PLANTED, ids=[module for module, _, _ in PLANTED])
def test_a_planted_import_breaks_the_contract(module, line, contract, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE.parent / "pyproject.toml", tmp_path)
    with (tmp_path / NAME / module).open("a") as file:
        file.write(f"\n{line}\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = {line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line}
    assert broken == {contract}, done.stdout


@pytest.mark.processes
def test_operator_modules_load_nothing_heavy():
    folders = {"operators", "sensors", "decorators", "policies"}
    modules = sorted(
        {module for module in airflow_provider_baseten.MODULES.values() if module.split(".")[0] in folders}
    )
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module("{NAME}." + module)
    print(module, *sorted({HEAVY} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-len(modules) - 1 : -1] == modules


def test_no_module_is_longer_than_350_lines():
    lengths = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def test_public_names_can_be_imported_from_the_package():
    for name in airflow_provider_baseten.__all__:
        assert getattr(airflow_provider_baseten, name).__name__ == name
    assert set(airflow_provider_baseten.__all__) <= set(dir(airflow_provider_baseten))
    with pytest.raises(ImportError, match="BasetenPredictOperater"):
        from airflow_provider_baseten import BasetenPredictOperater  # noqa: F401


def test_type_checkers_know_the_public_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (known,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {alias.name: node.module for node in known.body for alias in node.names}
    assert names.keys() == set(airflow_provider_baseten.__all__)
    for name, module in names.items():
        assert getattr(airflow_provider_baseten, name).__module__ == module


@pytest.mark.processes
def test_the_package_loads_nothing_before_a_name_is_asked_for():
    code = f"import sys, {NAME}; print(*sys.modules); from {NAME} import BasetenPredictOperator; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert not {module for module in before if module == "airflow" or module.startswith(f"{NAME}.")}
    assert f"{NAME}.operators.predict" in after
    assert not HEAVY & {module.partition(".")[0] for module in after}
