"""Private names of Airflow, and those that differ between its versions, are in one module."""

import ast
from pathlib import Path

import airflow.sdk
import pytest

import airflow_provider_baseten
from airflow_provider_baseten import compat

PACKAGE = Path(airflow_provider_baseten.__file__).parent
MODULES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.name != "compat.py"]

# Not documented by Airflow, or not in each supported version.
PRIVATE = {
    "ExecutorSafeguard",
    "NEVER_EXPIRE",
    "SUPERVISOR_COMMS",
    "_AIRFLOW_PROCESS_CONTEXT",
    "_do_render_template_fields",
    "_set_xcom_in_db",
    "ensure_secrets_backend_loaded",
    "get_task_states",
    "resume_execution",
    "task_state_store",
}
TASK_INSTANCES = {"ti", "task_instance", "context['ti']", "self.task_instance"}


def names_in(tree):
    """Names that code uses: neither words of docstrings nor names that are imported from ``compat``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, ast.unparse(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value, None


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
class TestModule:
    def test_imports_public_names_of_airflow(self, file):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "airflow.sdk":
                assert {alias.name for alias in node.names} <= set(airflow.sdk.__all__), ast.unparse(node)
                continue
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                # A provider is another distribution, with versions of its own.
                is_airflow = module == "airflow" or module.startswith("airflow.")
                assert not is_airflow or module.startswith("airflow.providers."), ast.unparse(node)

    def test_uses_no_private_name_of_airflow(self, file):
        for name, owner in names_in(ast.parse(file.read_text())):
            assert owner == "compat" or name not in PRIVATE, name
            assert name != "max_tries" or owner not in TASK_INSTANCES, "compat.clear_count() says what it means"
            assert not name.startswith("resumable_job."), name


@pytest.mark.parametrize("name", sorted(set(compat.__all__) - {"NEVER_EXPIRE"}))
def test_each_name_is_in_this_airflow(name):
    type_only = {"PriorityWeightStrategy", "TaskInstanceKey", "TaskStateChangeCallback"}
    if name not in type_only:
        assert hasattr(compat, name)


def test_no_expiry_is_there_with_the_task_state_store():
    assert hasattr(compat, "NEVER_EXPIRE") == compat.KNOWS_RETRY_POLICY


def test_a_name_that_no_airflow_has():
    with pytest.raises(AttributeError, match="no attribute 'Nothing' with this version of Airflow"):
        compat.Nothing  # noqa: B018
