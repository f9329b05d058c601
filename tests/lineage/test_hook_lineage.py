"""What the hook and ``read_output`` report to Airflow's collector of lineage, in all its versions."""

import json

import pytest
from airflow.providers.common.compat.lineage import hook as compat_hook

from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.storage import outputs
from airflow_provider_baseten.storage.encoding import Output

try:
    from airflow.sdk.lineage import HookLineageCollector
except ImportError:  # Airflow 3.1
    from airflow.lineage.hook import HookLineageCollector

ECHO = Target(model_id="echo", environment="development")
URI = "baseten://model/echo/environment/development"


@pytest.fixture
def collector(airflow_db, monkeypatch):
    collector = HookLineageCollector()
    monkeypatch.setattr(compat_hook, "get_hook_lineage_collector", lambda: collector)
    return collector


@pytest.fixture
def hook(connect, tmp_path):
    with Emulator(models={"echo": lambda x: x}, api_key="k") as emulator:
        connect(host=emulator.url, password="k", extra={"result_store": f"file://{tmp_path}/store"})
        yield BasetenHook()


def inputs(collector):
    return {(info.asset.uri, info.count) for info in collector.collected_assets.inputs}


def test_calls_report_their_model(hook, collector):
    assert hook.predict(ECHO, {"a": 1}) == {"a": 1}
    hook.async_predict(ECHO, {"a": 1})
    with pytest.raises(BasetenError):
        hook.sync_route(Target(model_id="missing"), "v1/x")
    assert inputs(collector) == {(URI, 2), ("baseten://model/missing", 1)}
    hook.sync_route(ModelApis(), "v1/models")  # Which model is called is not known.
    assert len(inputs(collector)) == 2


def test_an_input_is_not_reported(hook, collector):
    hook.predict(ECHO, {"text": "private-input"})
    assert "private-input" not in repr(collector.collected_assets)


def test_an_error_of_the_collector_does_not_fail_a_call(hook, monkeypatch):
    def fail():
        raise RuntimeError("no lineage today")

    monkeypatch.setattr(compat_hook, "get_hook_lineage_collector", fail)
    assert hook.predict(ECHO, {"a": 1}) == {"a": 1}


def test_a_call_with_a_wrong_target_fails_as_before(hook, collector):
    with pytest.raises(BasetenError, match="is not a Target"):
        hook.predict("echo", {"a": 1})
    assert inputs(collector) == set()


@pytest.mark.parametrize("path", ["{tmp_path}/out.json", "file://{tmp_path}/out.json"])
def test_read_output_reports_a_local_file(hook, collector, tmp_path, path):
    reference = outputs.save_output(
        Output.of_value({"a": 1}),
        "r1",
        output_path=path.format(tmp_path=tmp_path),
        result_store=f"file://{tmp_path}/store",
        baseten_conn_id="baseten_default",
    )
    assert outputs.read_output(json.loads(json.dumps(reference))) == {"a": 1}
    assert inputs(collector) == {(f"file://{tmp_path}/out.json", 1)}


def test_read_output_reports_nothing_for_a_value_and_a_forged_reference(hook, collector, tmp_path):
    forged = {
        "uri": "/etc/hostname",
        "bytes": 1,
        "request_id": None,
        "format": "text",
        "baseten_conn_id": "baseten_default",
        "signature": "x",
    }
    with pytest.raises(BasetenError):
        outputs.read_output(forged)
    assert outputs.read_output("text") == "text"
    assert inputs(collector) == set()
