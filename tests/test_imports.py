"""Imports run downwards only, and the DAG processor loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_baseten

PACKAGE = Path(airflow_provider_baseten.__file__).parent
NAME = "airflow_provider_baseten"
HEAVY = {"requests", "pyreqwest", "openai", "fastapi", "pyarrow"}

# Folder or module -> what it must not import.
FORBIDDEN = {
    "api": ["airflow.", "requests", "pyreqwest", f"{NAME}.transport", f"{NAME}.hooks", f"{NAME}.operators"],
    "exceptions.py": ["airflow.", NAME],
    "transport.py": ["airflow.", f"{NAME}.hooks", f"{NAME}.operators"],
    "hooks": [f"{NAME}.operators", f"{NAME}.triggers", f"{NAME}.ledger"],
    "triggers": [f"{NAME}.operators", f"{NAME}.sensors", f"{NAME}.ledger"],
    "operators": [f"{NAME}.decorators", f"{NAME}.common_ai"],
    "policies.py": [f"{NAME}.transport", f"{NAME}.hooks", f"{NAME}.operators"],
    "links.py": [f"{NAME}.transport", f"{NAME}.operators", f"{NAME}.triggers"],
    "cli": [f"{NAME}.operators", f"{NAME}.sensors", f"{NAME}.triggers"],
    "webhook": [f"{NAME}.operators", f"{NAME}.sensors", f"{NAME}.triggers"],
    "batch": [f"{NAME}.{part}" for part in ("hooks", "operators", "sensors", "triggers", "decorators", "ledger")],
    "results.py": [f"{NAME}.transport", f"{NAME}.hooks", f"{NAME}.operators"],
    "emulator": [
        "airflow.",
        *(f"{NAME}.{part}" for part in ("api", "exceptions", "transport", "hooks", "operators", "results")),
    ],
}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_run_downwards(part):
    path = PACKAGE / part
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert files
    for file in files:
        upwards = [name for name in imported(file) for prefix in FORBIDDEN[part] if f"{name}.".startswith(prefix)]
        assert not upwards, f"{file.relative_to(PACKAGE)} imports {upwards}"


@pytest.mark.parametrize(
    "module",
    [
        "operators.predict",
        "operators.sync_route",
        "operators.async_predict",
        "operators.batch_group",
        "operators.chat_completion",
        "operators.embedding",
        "decorators.async_predict",
        "decorators.batch",
        "decorators.chat",
        "decorators.predict",
        "sensors.async_request",
    ],
)
def test_operator_modules_load_nothing_heavy(module):
    code = f"import sys, {NAME}.{module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())
