"""Private names of Airflow, and those that differ between its versions, are in one module."""

import ast
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import airflow
import airflow.sdk
import pytest

import airflow_provider_baseten
from airflow_provider_baseten import compat

PACKAGE = Path(airflow_provider_baseten.__file__).parent
MODULES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent.name != "compat"]

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
RUNNER = "airflow.sdk.execution_time.task_runner"
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
    assert hasattr(airflow.sdk, "NEVER_EXPIRE") == compat.KNOWS_RETRY_POLICY


def test_a_name_that_is_not_airflow_s():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        compat.Nothing  # noqa: B018


@pytest.mark.airflow
def test_each_name_of_the_api_server_is_in_this_airflow():
    server = import_module("airflow_provider_baseten.compat.server")
    assert all(hasattr(server, name) for name in server.__all__)


class TestUnknownVersion:
    """What a user reads whose Airflow has dropped a private name."""

    @pytest.fixture(autouse=True)
    def _version(self, monkeypatch):
        monkeypatch.setattr(airflow, "__version__", "3.99.0")

    def advises(self, caught):
        message = str(caught.value)
        assert "with Airflow 3.99.0; it was checked with Airflow 3.1.8, 3.2.2 and 3.3.2." in message
        assert message.endswith("Install a newer airflow-provider-baseten, or an older Airflow.")

    def test_import_of_a_name(self, monkeypatch):
        monkeypatch.setitem(compat._MODULES, "BaseTrigger", ("airflow.triggers.base_of_before", "airflow.triggers"))
        monkeypatch.delitem(vars(compat), "BaseTrigger", raising=False)
        with pytest.raises(ImportError, match=r"^airflow-provider-baseten finds no BaseTrigger in .* or ") as caught:
            from airflow_provider_baseten.compat import BaseTrigger  # noqa: F401
        self.advises(caught)

    def test_rendering(self, monkeypatch):
        monkeypatch.setattr(compat, "_RENDERING_METHOD", "_render_in_another_way")
        with pytest.raises(ImportError, match="would show inputs of models") as caught:
            compat.check_rendering_method()
        self.advises(caught)

    @pytest.mark.airflow
    def test_import_of_a_name_of_the_api_server(self, monkeypatch):
        monkeypatch.delattr(import_module("airflow.models.xcom"), "XComModel")
        monkeypatch.delitem(sys.modules, "airflow_provider_baseten.compat.server", raising=False)
        with pytest.raises(ImportError, match=r"^airflow-provider-baseten can't show its pages with") as caught:
            import_module("airflow_provider_baseten.compat.server")
        self.advises(caught)

    def test_link_is_logged_once(self, monkeypatch, caplog):
        from airflow.sdk.bases.xcom import BaseXCom

        compat._warn_once.cache_clear()
        monkeypatch.delattr(BaseXCom, "_set_xcom_in_db")
        for _ in range(2):
            compat.push_early(None, "key", "https://app.baseten.co")
        assert caplog.text.count("links appear when their tasks end") == 1


class TestMsgpack:
    def test_no_task(self, monkeypatch):
        monkeypatch.delitem(sys.modules, RUNNER, raising=False)
        assert not compat.xcoms_are_msgpack()

    @pytest.mark.parametrize(
        ("channel", "is_msgpack"), [("InProcessSupervisorComms", False), ("CommsDecoder", True), ("Renamed", True)]
    )
    def test_channel_of_the_task(self, monkeypatch, channel, is_msgpack):
        comms = type(channel, (), {})()
        monkeypatch.setitem(sys.modules, RUNNER, SimpleNamespace(SUPERVISOR_COMMS=comms))
        assert compat.xcoms_are_msgpack() == is_msgpack

    def test_a_process_that_has_only_loaded_the_task_runner_runs_no_task(self, monkeypatch):
        monkeypatch.delattr(import_module(RUNNER), "SUPERVISOR_COMMS", raising=False)
        assert not compat.xcoms_are_msgpack()

    def test_without_a_known_channel_long_integers_stay_out_of_xcoms(self, monkeypatch):
        monkeypatch.setitem(sys.modules, RUNNER, SimpleNamespace())
        assert compat.xcoms_are_msgpack()
