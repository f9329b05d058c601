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
_UPPER = [f"{NAME}.{part}" for part in ("operators", "sensors", "decorators", "integrations", "plugins", "cli.")]
FORBIDDEN = {
    "api": ["airflow.", "requests", "pyreqwest", f"{NAME}.client", f"{NAME}.storage", f"{NAME}.hooks", *_UPPER],
    "exceptions.py": ["airflow.", NAME],
    "client": ["airflow.", f"{NAME}.storage", f"{NAME}.triggers", *_UPPER],
    "storage": [f"{NAME}.client", f"{NAME}.hooks", f"{NAME}.waiting", *_UPPER],
    "idempotency": [f"{NAME}.client", f"{NAME}.hooks", f"{NAME}.triggers", *_UPPER],
    "waiting": [f"{NAME}.triggers", f"{NAME}.idempotency", *_UPPER],
    "hooks": [f"{NAME}.triggers", f"{NAME}.idempotency", f"{NAME}.waiting", *_UPPER],
    "triggers": [f"{NAME}.idempotency.ledger", *_UPPER],
    "operators": [f"{NAME}.sensors", f"{NAME}.decorators", f"{NAME}.integrations"],
    "policies.py": [f"{NAME}.client", f"{NAME}.hooks", *_UPPER],
    "links.py": [f"{NAME}.client.client", f"{NAME}.triggers", *_UPPER],
    "cli": [f"{NAME}.operators", f"{NAME}.sensors", f"{NAME}.triggers"],
    "webhook": [f"{NAME}.triggers", *_UPPER[:-3]],
    "batch": [f"{NAME}.hooks", f"{NAME}.triggers", f"{NAME}.idempotency", f"{NAME}.waiting", *_UPPER],
    "emulator": [
        "airflow.",
        *(f"{NAME}.{part}" for part in ("api", "exceptions", "client", "storage", "hooks", "operators")),
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
@pytest.mark.process
def test_operator_modules_load_nothing_heavy(module):
    code = f"import sys, {NAME}.{module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


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


@pytest.mark.process
def test_the_package_loads_nothing_before_a_name_is_asked_for():
    code = f"import sys, {NAME}; print(*sys.modules); from {NAME} import BasetenPredictOperator; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert not {module for module in before if module == "airflow" or module.startswith(f"{NAME}.")}
    assert f"{NAME}.operators.predict" in after
    assert not HEAVY & {module.partition(".")[0] for module in after}
