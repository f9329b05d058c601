"""Methods of operators that OpenLineage calls: what they say before and after a task, and what they never do."""

import logging
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.lineage.asset_events import event_extra
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.lineage import report_assets
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

SUMMARY = TaskSummary(
    target=Target(chain_id="c", deployment_id="d"),
    model="m",
    request_ids=("r1",),
    requests=3,
    rows=5,
    succeeded=4,
    failed=1,
    tokens={"prompt_tokens": 7},
    inputs=("s3://conn@bucket/in/a.jsonl", "/data/b.jsonl"),
    outputs=("gs://conn@bucket/out",),
)


def names(datasets):
    return [f"{dataset.namespace}/{dataset.name}" for dataset in datasets]


@pytest.mark.skipif(find_spec("openlineage") is None, reason="OpenLineage is not installed")
class TestOpenLineage:
    def test_before_the_end_the_arguments_are_what_is_known(self, tmp_path):
        operator = BasetenBatchPredictOperator(
            task_id="t", model_id="abc", input_path=tmp_path / "in", output_path="s3://conn@bucket/out/"
        )
        found = operator.get_openlineage_facets_on_start()
        assert names(found.inputs) == [f"file/{tmp_path}/in", "baseten://model/abc"]
        assert names(found.outputs) == ["s3://bucket/out"]
        assert found.run_facets["baseten"].requests is None
        assert operator.get_openlineage_facets_on_failure(None) == found

    def test_after_the_end_the_summary_is(self):
        operator = BasetenPredictOperator(task_id="t", model_id="abc", model_input="private")
        operator.summary = SUMMARY
        found = operator.get_openlineage_facets_on_complete(None)
        assert names(found.inputs) == ["s3://bucket/in/a.jsonl", "file//data/b.jsonl", "baseten://chain/c/deployment/d"]
        assert names(found.outputs) == ["gs://bucket/out"]
        assert found.outputs[0].outputFacets["outputStatistics"].rowCount == 4
        facet = found.run_facets["baseten"]
        assert (facet.requests, facet.rows, facet.succeeded, facet.failed) == (3, 5, 4, 1)
        assert (facet.requestIds, facet.tokens, facet.model) == (["r1"], {"prompt_tokens": 7}, "m")
        assert "private" not in repr(found)

    def test_names_of_local_files_are_whole(self):
        inputs = ("/in/a#1.jsonl", "/in/a#2.jsonl", "file:///in/a?b c%20d")
        operator = BasetenPredictOperator(task_id="t", model_id="abc", model_input={})
        operator.summary = TaskSummary(inputs=inputs)
        found = operator.get_openlineage_facets_on_complete(None)
        assert names(found.inputs) == ["file//in/a#1.jsonl", "file//in/a#2.jsonl", "file//in/a?b c%20d"]

    @pytest.mark.parametrize("folder", ["s3://conn@bucket/out", "gs://conn@bucket/out", "gs://bucket"])
    def test_a_folder_is_one_dataset_with_and_without_a_slash(self, folder):
        # The environment of the tests has Airflow's provider for s3, and none for gs.
        operator = BasetenPredictOperator(task_id="t", model_id="abc", model_input={})
        operator.summary = TaskSummary(inputs=(folder, f"{folder}/"))
        without, with_slash = names(operator.get_openlineage_facets_on_complete(None).inputs)
        assert without == with_slash

    def test_model_apis_and_a_sensor(self):
        chat = BasetenChatCompletionOperator(task_id="t", model_apis=True, model="org/name", prompt="private")
        assert names(chat.get_openlineage_facets_on_start().inputs) == ["baseten://model-apis/org/name"]
        sensor = BasetenAsyncRequestSensor(task_id="t", request_ids="r1", chain_id="c")
        assert names(sensor.get_openlineage_facets_on_start().inputs) == ["baseten://chain/c"]

    def test_an_argument_that_is_not_valid_is_left_out(self):
        operator = BasetenPredictOperator(task_id="t", model_id="not valid", model_input=1)
        found = operator.get_openlineage_facets_on_failure(None)
        assert (found.inputs, found.run_facets["baseten"].target) == ([], None)

    def test_tokens_are_not_masked_as_secrets(self):
        from airflow.providers.openlineage.utils.utils import OpenLineageRedactor

        try:
            from airflow._shared.secrets_masker import SecretsMasker
        except ImportError:
            from airflow.sdk.execution_time.secrets_masker import SecretsMasker

        operator = BasetenPredictOperator(task_id="t", model_id="abc", model_input=1)
        operator.summary = SUMMARY
        facet = operator.get_openlineage_facets_on_complete(None).run_facets["baseten"]
        masked = OpenLineageRedactor.from_masker(SecretsMasker()).redact(facet)
        assert masked.tokens == {"prompt_tokens": 7}


def test_an_operator_needs_no_openlineage(monkeypatch):
    monkeypatch.setitem(sys.modules, "openlineage", None)
    monkeypatch.delitem(sys.modules, "airflow_provider_baseten.lineage.openlineage", raising=False)
    operator = BasetenPredictOperator(task_id="t", model_id="abc", model_input=1)
    assert callable(operator.get_openlineage_facets_on_start)
    assert "airflow_provider_baseten.lineage.openlineage" not in sys.modules


def test_an_event_says_what_is_known():
    assert event_extra(SUMMARY) == {
        "model": "baseten://chain/c/deployment/d",
        "request_id": "r1",
        "requests": 3,
        "rows": 5,
        "succeeded": 4,
        "failed": 1,
        "tokens": {"prompt_tokens": 7},
        "output": "gs://conn@bucket/out",
    }
    assert event_extra(TaskSummary(target=ModelApis(), request_ids=("r1", "r2"))) == {"requests": 0}


def test_an_error_of_the_asset_events_is_logged_and_fails_nothing(caplog):
    class Broken:
        def __getitem__(self, name):
            raise RuntimeError("no events today")

    from airflow.sdk import Asset

    operator = SimpleNamespace(outlets=[Asset("a")], log=logging.getLogger("test"))
    report_assets(operator, {"outlet_events": Broken()}, SUMMARY)
    assert "have no counts" in caplog.text
