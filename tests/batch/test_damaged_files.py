"""Files of an earlier run that somebody or a crash has damaged: no row is lost or paid twice in silence."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_provider_baseten.batch.manifest import merge_manifests
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultLostError, BasetenResultStoreError
from tests.batch.conftest import lines_of, outputs_of

NOT_JSON = [b"", b"{", b"null", b"[]", b"\x00\x00", b"\xff", b'"x"', b"[" * 100_000]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def without_manifest(out):
    (out / "_manifest.json").unlink()


@pytest.mark.parametrize("body", [*NOT_JSON, b'{"fingerprint": 1}', b'{"fingerprint": "x", "failed": []}'])
def test_a_damaged_manifest_is_made_again(run, out, baseten, body):
    first = run(inputs=[1, 2])
    (out / "_manifest.json").write_bytes(body)
    second = run(inputs=[1, 2])
    assert (second.parts, second.succeeded, second.sent) == (first.parts, 2, 0)
    assert run(inputs=[1, 2]) == second
    assert len(baseten.requests) == 2


@pytest.mark.parametrize("body", NOT_JSON)
def test_a_shard_with_a_damaged_manifest_is_named(run, out, body):
    for shard in (0, 1):
        run(inputs=[1, 2], num_shards=2, shard=shard)
    (out / "_manifest-00001-of-00002.json").write_bytes(body)
    with pytest.raises(BasetenResultLostError, match="no manifest of shard 1 of 2"):
        merge_manifests(str(out), 2)
    run(inputs=[1, 2], num_shards=2, shard=1)
    assert merge_manifests(str(out), 2).succeeded == 2


@pytest.mark.parametrize("body", [*NOT_JSON, b'{"other": 1}'])
def test_a_folder_whose_owner_can_not_be_told_is_refused(run, out, baseten, body):
    run(inputs=[1, 2])
    (out / "_job-00000-of-00001.json").write_bytes(body)
    with pytest.raises(BasetenInputError, match=r"belongs to a job whose file is damaged .*overwrite=True"):
        run(inputs=[1, 2])
    assert len(baseten.requests) == 2
    assert outputs_of(run(inputs=[1, 2], overwrite=True)) == {0: {"echo": 1}, 1: {"echo": 2}}


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-5],
        lambda body: body + b'{"row":',
        lambda body: body + b"\n",
        lambda body: body[:7],
        lambda body: bytes(len(body)),
        lambda body: body.replace(b'"row":', b'"row":-'),
        lambda body: body.replace(b'"row":', b'"row":99999999999999999999999'),
        lambda body: body.replace(b'"row":', b'"row":999999999999'),
        lambda body: b"\xff" + body,
    ],
)
def test_a_damaged_part_is_named_and_nothing_is_sent(run, out, model, baseten, damage, failed):
    model.broken = lambda row: row == 3
    manifest = run(inputs=[1, 2, 3])
    part = out / (manifest.failed_parts if failed else manifest.parts)[0].rpartition("/")[2]
    part.write_bytes(damage(part.read_bytes()))
    without_manifest(out)
    with pytest.raises(BasetenResultStoreError, match=f"{part.name} of a previous run is damaged .*delete it"):
        run(inputs=[1, 2, 3])
    assert len(baseten.requests) == 3
    part.unlink()
    model.broken = lambda row: False
    assert run(inputs=[1, 2, 3]).succeeded == 3


def test_an_empty_part_has_done_nothing(run, out):
    (part,) = run(inputs=[1, 2]).parts
    (out / part.rpartition("/")[2]).write_bytes(b"")
    without_manifest(out)
    manifest = run(inputs=[1, 2])
    assert (manifest.succeeded, manifest.sent) == (2, 2)
    assert part not in manifest.parts
    assert lines_of(*manifest.parts).keys() == {0, 1}


def write_other_columns(part):
    pyarrow.parquet.write_table(pa.table({"output": ["a"]}), part)


def write_null_rows(part):
    pyarrow.parquet.write_table(pa.table({"row": pa.array([None], pa.int64())}), part)


def write_negative_rows(part):
    pyarrow.parquet.write_table(pa.table({"row": [-1]}), part)


@pytest.mark.parametrize(
    "damage",
    [
        lambda part: part.write_bytes(b""),
        lambda part: part.write_bytes(b"PAR1"),
        lambda part: part.write_bytes(part.read_bytes()[:-20]),
        lambda part: part.write_bytes(part.read_bytes()[:8] + bytes(60) + part.read_bytes()[68:]),
        write_other_columns,
        write_null_rows,
        write_negative_rows,
    ],
)
def test_a_damaged_parquet_part_is_named(run, out, baseten, damage):
    (part,) = run(inputs=[1, 2], output_format="parquet").parts
    damage(out / part.rpartition("/")[2])
    without_manifest(out)
    with pytest.raises(BasetenResultStoreError, match="is damaged"):
        run(inputs=[1, 2], output_format="parquet")
    assert len(baseten.requests) == 2


def test_a_manifest_with_what_a_later_version_adds_is_read(run, out, baseten):
    manifest = run(inputs=[1])
    stored = json.loads((out / "_manifest.json").read_text())
    (out / "_manifest.json").write_text(json.dumps(stored | {"new": [1]}))
    assert run(inputs=[1]) == manifest
    assert len(baseten.requests) == 1
