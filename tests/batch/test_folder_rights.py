"""What a bulk job writes is its owner's alone, unless the folder was there and is shared."""

import os

import pytest


def mode(path):
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_a_folder_that_the_job_makes_is_its_owners_alone(run, tmp_path, model, output_format):
    before = os.umask(0o022)
    try:
        model.broken = lambda row: row == 2
        run(inputs=[1, 2], output_path=tmp_path / "a" / "b", output_format=output_format)
    finally:
        os.umask(before)
    assert {mode(tmp_path / "a"), mode(tmp_path / "a" / "b")} == {oct(0o700)}
    files = list((tmp_path / "a" / "b").iterdir())
    assert len(files) == 4
    assert {mode(file) for file in files} == {oct(0o600)}


def test_a_shared_folder_stays_shared(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o770)
    before = os.umask(0o002)
    try:
        run(inputs=[1])
    finally:
        os.umask(before)
    assert mode(tmp_path / "out") == oct(0o770)
    assert {mode(file) for file in (tmp_path / "out").iterdir()} == {oct(0o660)}


def test_a_half_written_file_of_a_killed_run_is_in_nobodys_way(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "._manifest.json.part").write_text("{")
    assert run(inputs=[1]).succeeded == 1
