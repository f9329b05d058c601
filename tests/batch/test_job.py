"""Arguments of a job are checked before anything else happens."""

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.exceptions import BasetenInputError

WRONG = [
    ({"inputs": None}, "exactly one of inputs and input_path"),
    ({"input_path": "rows.jsonl"}, "exactly one of inputs and input_path"),
    ({"inputs": "text"}, "inputs takes an iterable"),
    ({"inputs": {"a": 1}}, "inputs takes an iterable"),
    ({"inputs": 5}, "inputs takes an iterable"),
    ({"inputs": None, "input_path": "rows.xlsx"}, "input_path rows.xlsx"),
    ({"output_path": ""}, "output_path"),
    ({"output_format": "csv"}, "output_format='csv'"),
    ({"model_input": 5}, "model_input"),
    ({"output_filter": "text"}, "output_filter"),
    ({"keep_columns": "text"}, "keep_columns"),
    ({"keep_columns": ["row"]}, "keep_columns and id_column can't hold"),
    ({"id_column": "output"}, "keep_columns and id_column can't hold"),
    ({"preset": "images"}, "preset='images'"),
    ({"rows_per_request": 0}, "rows_per_request=0"),
    ({"rows_per_request": True}, "rows_per_request=True"),
    ({"preset": "chat", "rows_per_request": 2}, "rows_per_request"),
    ({"join_inputs": "text"}, "join_inputs"),
    ({"preset": "chat", "split_output": list}, "split_output"),
    ({"parameters": {"model": "m"}}, "parameters goes with a preset"),
    ({"max_concurrency": 0}, "max_concurrency=0"),
    ({"max_concurrency": 5000}, "max_concurrency=5000"),
    ({"max_concurrency": "all"}, "max_concurrency='all'"),
    ({"requests_per_second": 0}, "requests_per_second=0"),
    ({"max_failed_rows": -1}, "max_failed_rows=-1"),
    ({"max_failure_ratio": 2}, "max_failure_ratio=2"),
    ({"num_shards": 0}, "num_shards=0"),
    ({"num_shards": 2, "shard": 2}, "shard=2"),
    ({"timeout": float("inf")}, "timeout=inf"),
    ({"headers": {"Authorization": "x"}}, "headers can't hold Authorization"),
    ({"route": "a?b"}, "route='a\\?b'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[str(arguments) for arguments, _ in WRONG])
def test_wrong_arguments_are_named(arguments, message):
    good = {"target": Target(model_id="abc"), "inputs": [1], "output_path": "out"}
    BatchJob(**good)
    with pytest.raises(BasetenInputError, match=message):
        BatchJob(**(good | arguments))
