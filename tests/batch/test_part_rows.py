"""Rows of the files of a run, read back: outputs, failure records, and files that are damaged or gone."""

import pytest

from airflow_provider_baseten.batch.failed_rows import check_any_response
from airflow_provider_baseten.batch.manifest import Manifest
from airflow_provider_baseten.batch.part_rows import StoredRow, read_rows
from airflow_provider_baseten.exceptions import BasetenBatchError, BasetenResultStoreError


def test_outcomes_of_a_run(run, model):
    model.broken = lambda row: row == 1
    manifest = run(inputs=["a", 1, 2**70])
    outputs, failed = list(read_rows(manifest.parts)), list(read_rows(manifest.failed_parts))
    assert outputs == [StoredRow(0, {"echo": "a"}, None), StoredRow(2, {"echo": 2**70}, None)]
    assert [(row.number, row.output, row.error["type"]) for row in failed] == [(1, None, "BasetenModelError")]


@pytest.mark.parametrize(
    "line", ["{", "[]", "7", "{}", '{"row":"0","output":1}', '{"row":true,"output":1}', '{"row":0,"error":"text"}']
)
def test_a_damaged_file_is_named(tmp_path, line):
    (tmp_path / "part").write_text(f'{{"row":0,"output":1}}\n{line}\n')
    rows = read_rows([f"{tmp_path}/part"])
    assert next(rows) == StoredRow(0, 1, None)
    with pytest.raises(BasetenResultStoreError, match=r"/part is damaged \(\w+\): its rows can't be read"):
        next(rows)


def test_a_file_that_was_deleted_is_named(tmp_path):
    with pytest.raises(BasetenResultStoreError, match="/part does not exist"):
        next(read_rows([f"{tmp_path}/part"]))


@pytest.mark.parametrize("content", [None, "", "{", '{"row":0,"error":{}}'])
def test_a_failure_record_that_can_not_be_read_does_not_hide_that_rows_have_failed(tmp_path, content):
    if content is not None:
        (tmp_path / "_failed").write_text(content)
    manifest = Manifest(
        fingerprint="f",
        rows=1,
        failed=1,
        outcomes={"BasetenTimeoutError": 1},
        failed_parts=[f"{tmp_path}/_failed"],
    )
    with pytest.raises(
        BasetenBatchError,
        match=r"No row got a response: 1 of 1 rows have failed .*/_failed\. A retry sends them again\.$",
    ):
        check_any_response(manifest)
