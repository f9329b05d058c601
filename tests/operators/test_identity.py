"""What an attempt takes for the same request: of this very run, however the connection reaches Baseten."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from airflow_provider_baseten.compat import TaskDeferred
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

KEY = "abcd1234.s3cr3t"


@pytest.fixture
def baseten(connect, tmp_path):
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        emulator.hold()

        def reach(host="127.0.0.1"):
            url = emulator.url.replace("127.0.0.1", host)
            connect(host=url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})

        emulator.reach = reach
        reach()
        yield emulator


def context(day=1, **changes):
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2, "try_number": 1}
    ti = SimpleNamespace(**identity | changes, xcom_push=lambda key, value: None)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime(2026, 1, day, tzinfo=UTC))}


def waits_for(operator, **options):
    """Make an attempt; return what it waits for in the triggerer."""
    task = operator(task_id="t", model_id="echo", model_input={"a": 1}, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context(**options))
    return deferred.value.kwargs.get("request_id") or deferred.value.kwargs["name"]


OPERATORS = pytest.mark.parametrize("operator", [BasetenAsyncPredictOperator, BasetenPredictOperator])


@OPERATORS
def test_retry_waits_for_the_same_request(baseten, operator):
    assert waits_for(operator) == waits_for(operator, try_number=2)
    assert len(baseten.async_requests) == (operator is BasetenAsyncPredictOperator)


@OPERATORS
def test_other_host_of_the_connection_does_not_pay_again(baseten, operator):
    first = waits_for(operator)
    baseten.reach("localhost")
    assert waits_for(operator, try_number=2) == first


@OPERATORS
@pytest.mark.parametrize("change", [{"day": 2}, {"max_tries": 3}, {"run_id": "other"}, {"map_index": 1}])
def test_run_made_again_and_clear_are_other_requests(baseten, operator, change):
    assert waits_for(operator) != waits_for(operator, **change)


@pytest.mark.parametrize("change", [{"day": 2}, {"max_tries": 3}])
def test_request_that_is_not_wanted_any_more_is_cancelled(baseten, change):
    waits_for(BasetenAsyncPredictOperator)
    waits_for(BasetenAsyncPredictOperator, **change)
    assert [request.status for request in baseten.async_requests.values()] == ["CANCELED", "QUEUED"]


def test_folder_of_a_run_made_again_is_another_one():
    from airflow_provider_baseten.operators.embedding_run import _folder

    assert _folder(context(), "file:///s") == _folder(context(try_number=2), "file:///s")
    assert _folder(context(), "file:///s") != _folder(context(day=2), "file:///s")
