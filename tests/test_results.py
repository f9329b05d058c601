"""Landed outputs: written whole, read back, or a clear error."""

import json

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten import results
from airflow_provider_baseten.exceptions import BasetenResultStoreError


def deliver(value, request_id="r1", **places):
    return results.deliver(
        results.Output.of_value(value), request_id, **{"output_path": None, "result_store": None} | places
    )


@pytest.fixture(autouse=True)
def object_store():
    attach("memory", fs=MemoryFileSystem())


@pytest.mark.parametrize("value", [{"a": [1, None]}, "grüße", b"\x00\xff"])
@pytest.mark.parametrize("store", ["memory://bucket/results", "file://{folder}"])
def test_what_lands_is_read_back(tmp_path, value, store):
    reference = deliver(value, output_path=store.format(folder=tmp_path) + "/")
    assert results.read_output(reference) == value


def test_reference_survives_xcom(tmp_path):
    reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/")
    assert results.read_output(json.loads(json.dumps(reference))) == {"a": 1}


@pytest.mark.parametrize(
    "value", [None, 1, "text", [1], {"uri": "file:///etc/passwd"}, {"uri": 1, "bytes": 2, "other": 3}]
)
def test_what_is_no_reference_is_returned_as_it_came(value):
    assert results.read_output(value) is value


@pytest.mark.parametrize("request_id", ["../../escape", "a/b", "", None, "x" * 200, "a\nb"])
def test_id_of_a_strange_server_is_no_file_name(tmp_path, request_id):
    reference = deliver({"a": 1}, request_id, output_path=f"file://{tmp_path}/in/")
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "in"]
    assert reference["request_id"] == request_id


def test_lost_file_is_named(tmp_path):
    reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/out.json")
    (tmp_path / "out.json").unlink()
    with pytest.raises(
        BasetenResultStoreError, match=r"output of request r1 could not be read from file://.*/out\.json"
    ):
        results.read_output(reference)


def test_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    from pathlib import Path

    (tmp_path / "out.json").write_text("old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BasetenResultStoreError, match=r"could not be written to file://.*No space left"):
        results.write(f"file://{tmp_path}/out.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert (tmp_path / "out.json").read_text() == "old"


def test_folder_in_the_place_of_the_file(tmp_path):
    with pytest.raises(BasetenResultStoreError, match="is a folder: end it with '/'"):
        results.check_writable(f"file://{tmp_path}")
