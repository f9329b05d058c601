"""Arguments of a job are checked before anything else happens."""

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.formats import PART_FORMATS
from airflow_provider_baseten.batch.job import BatchJob, OutputFormat
from airflow_provider_baseten.exceptions import BasetenInputError


class DataFrame:
    """As pandas': iterating it gives the names of its columns."""

    __module__ = "pandas.core.frame"

    def __iter__(self):
        return iter(["a", "b"])

    def __array__(self):
        return np.array([[1, 2]])


class PolarsFrame(DataFrame):
    __module__ = "polars.dataframe.frame"


WRONG = [
    ({"inputs": None}, "exactly one of inputs and input_path"),
    ({"input_path": "rows.jsonl"}, "exactly one of inputs and input_path"),
    ({"inputs": "text"}, "inputs takes an iterable"),
    ({"inputs": {"a": 1}}, "inputs takes an iterable"),
    ({"inputs": 5}, "inputs takes an iterable"),
    ({"inputs": bytearray(b"ab")}, "not a bytearray"),
    ({"inputs": {1, 2}}, "inputs takes rows in an order that stays the same, which a set does not have"),
    ({"inputs": np.array([1, 2])}, r"not a numpy ndarray: give inputs.tolist\(\)"),
    ({"inputs": pa.table({"a": [1]})}, r"not a pyarrow Table: give inputs.to_pylist\(\)"),
    ({"inputs": pa.record_batch({"a": [1]})}, r"inputs.to_pylist\(\)"),
    ({"inputs": pa.array([1])}, r"inputs.to_pylist\(\)"),
    ({"inputs": DataFrame()}, r"not a pandas DataFrame: give inputs.to_dict\('records'\)"),
    ({"inputs": PolarsFrame()}, r"not a polars PolarsFrame: give inputs.to_dicts\(\)"),
    ({"inputs": None, "input_path": ""}, "input_path takes"),
    ({"inputs": None, "input_path": 5}, "input_path takes"),
    ({"inputs": None, "input_path": "a\0b"}, "input_path takes"),
    ({"output_path": None}, "output_path"),
    ({"output_path": ""}, "output_path"),
    ({"output_path": "a\ud800"}, "output_path takes"),
    ({"inputs": None, "input_path": "a\ud800"}, "input_path takes"),
    ({"headers": [("a", "b")]}, "headers takes an object of names and values, not a list"),
    ({"keep_columns": None}, "keep_columns=None is not a list"),
    ({"keep_columns": 5}, "keep_columns=5 is not a list"),
    ({"requests_per_second": 1e-320}, "requests_per_second=1e-320 is not a number from 1e-09 to 1e"),
    ({"requests_per_second": 10**400}, "requests_per_second=10+.* is not a number from"),
    ({"output_format": "csv"}, "output_format='csv'"),
    ({"model_input": 5}, "model_input takes .*, not a int"),
    ({"output_filter": "text"}, "output_filter"),
    ({"keep_columns": "text"}, "keep_columns"),
    ({"keep_columns": ["row"]}, "keep_columns and id_column can't hold"),
    ({"id_column": 5}, "id_column=5 is not the name"),
    ({"keep_columns": ["\ud800"]}, "lone surrogate"),
    ({"model_input": {"a": {1, 2}}}, r"model_input\['a'\] is of type set"),
    ({"model_input": {"a": float("nan")}}, r"model_input\['a'\] is nan"),
    ({"model_input": {(1, 2): 3}}, "has a key of type tuple"),
    ({"job_version": 5}, "job_version=5 is not a text"),
    ({"job_version": ""}, "job_version='' is not a text"),
    ({"preset": "chat", "parameters": [1]}, "parameters takes an object, not a list"),
    ({"preset": "chat", "parameters": {"a": [{1, 2}]}}, r"parameters\['a'\]\[0\] is of type set"),
    ({"preset": "chat", "parameters": {"a": np.int64(1)}}, r"parameters\['a'\] is of type int64"),
    ({"preset": "chat", "parameters": {"a": np.array([1])}}, "is of type ndarray"),
    ({"preset": "chat", "parameters": {"a": float("inf")}}, "is inf"),
    ({"preset": "chat", "parameters": {"a": DataFrame()}}, "is of type DataFrame"),
    ({"id_column": "output"}, "keep_columns and id_column can't hold"),
    ({"preset": "images"}, "preset='images'"),
    ({"rows_per_request": 0}, "rows_per_request=0"),
    ({"rows_per_request": True}, "rows_per_request=True"),
    ({"preset": "chat", "rows_per_request": 2}, "rows_per_request=2 is more than 1"),
    ({"join_inputs": "text"}, "join_inputs='text' is not a function"),
    ({"split_output": 3}, "split_output=3 is not a function"),
    ({"preset": "chat", "split_output": list}, "split_output is only for preset='predict'.*'chat'"),
    ({"parameters": {"model": "m"}}, "parameters needs a preset other than"),
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


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[ascii(arguments)[:60] for arguments, _ in WRONG])
def test_wrong_arguments_are_named(arguments, message):
    good = {"target": Target(model_id="abc"), "inputs": [1], "output_path": "out"}
    BatchJob(**good)
    with pytest.raises(BasetenInputError, match=message):
        BatchJob(**(good | arguments))


@pytest.mark.parametrize("inputs", [[], (), range(3), iter([1]), {"a": 1}.values(), (n for n in [1])])
def test_what_has_rows_in_an_order_is_taken(inputs):
    BatchJob(target=Target(model_id="abc"), inputs=inputs, output_path="out")


def test_every_output_format_has_a_module_for_its_parts():
    assert PART_FORMATS.keys() == {*get_args(OutputFormat)}
