"""Which files an input path stands for: none is left out unsaid, and no character of a name means something else."""

import gzip
import logging
import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten.batch.input_files import find
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row_source import rows_of
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.storage.files import local_path
from tests.batch.conftest import outputs_of

ODD = [
    "sp ace",
    "h#ash",
    "q?",
    "per%20cent",
    "50%",
    "b[1]",
    "st*r",
    "ü",
    "v1.2",
    "2024.01.31",
    "a.csv",
    "a@b",
    "x;y&z=1",
    "~",
]


@pytest.fixture
def write(tmp_path):
    def write(*names, content=b'{"x":1}\n'):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


@pytest.fixture
def storage():
    """An object store under memory:// as Airflow knows it."""

    fs = MemoryFileSystem()
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]

    def put(*names, content=b'{"x":1}\n'):
        for name in names:
            fs.pipe_file(f"/{name}", content)

    return put


def names(path, below):
    return [os.path.relpath(file.uri, below) for file in find(str(path))]


@pytest.mark.parametrize("name", ODD)
class TestNames:
    def test_of_local_folders_and_files(self, write, run, tmp_path, name):
        write(f"{name}/in.jsonl", f"{name}/{name}.jsonl")
        for path in (tmp_path / name, f"{tmp_path}/{name}/", f"file://{tmp_path}/{name}"):
            assert len(find(str(path))) == 2
        assert names(tmp_path / name / f"{name}.jsonl", tmp_path) == [f"{name}/{name}.jsonl"]
        out = f"file://{tmp_path}/out/{name}"
        manifest = run(input_path=tmp_path / name, output_path=out)
        assert manifest.rows == 2
        assert (tmp_path / "out" / name / "_manifest.json").exists()
        assert len(outputs_of(manifest)) == 2
        assert run(input_path=tmp_path / name, output_path=out) == manifest

    def test_in_an_object_store(self, storage, run, name):
        name += "." if name.endswith("?") else ""  # Airflow drops a "?" at the end.
        storage(f"bucket/{name}/{name}.jsonl", f"bucket/{name}/sub/in.csv", content=b"1\n2\n")
        assert run(input_path=f"memory://bucket/{name}", output_path=f"memory://bucket/out/{name}").rows == 3
        (file,) = find(f"memory://bucket/{name}/{name}.jsonl")
        assert file.uri == f"memory://bucket/{name}/{name}.jsonl"


class TestOutputFolderAmongTheInputs:
    @pytest.mark.parametrize("below", ["", "out", "a/b"])
    @pytest.mark.parametrize("pattern", ["", "/**/*.jsonl"])
    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_its_parts_are_no_inputs(self, write, run, baseten, tmp_path, below, pattern, scheme):
        write("in/1.jsonl", "in/sub/part-1.jsonl")
        paths = {"input_path": f"{tmp_path}/in{pattern}", "output_path": f"{scheme}{tmp_path}/in/{below}"}
        manifest = run(**paths)
        assert manifest.rows == 2
        assert run(**paths) == manifest
        assert run(overwrite=True, job_version="2", **paths).rows == 2
        assert len(baseten.requests) == 4

    def test_in_an_object_store(self, storage, run, baseten):
        storage("bucket/in/1.jsonl")
        paths = {"input_path": "memory://bucket/in", "output_path": "memory://bucket/in/out"}
        manifest = run(**paths)
        assert run(**paths) == manifest
        assert len(baseten.requests) == 1

    def test_those_of_another_job_are(self, write, run, tmp_path):
        write("in/1.jsonl")
        run(input_path=f"{tmp_path}/in", output_path=f"{tmp_path}/first")
        second = run(input_path=f"{tmp_path}/first", output_path=f"{tmp_path}/second")
        assert [output["echo"]["output"] for output in outputs_of(second).values()] == [{"echo": {"x": 1}}]


@pytest.mark.parametrize("model_input", [{"text": "{{ x }}"}, {"text": "x"}, ["x", 1]])
def test_an_input_without_a_column_is_told(write, run, tmp_path, caplog, model_input):
    write("in.jsonl")
    assert run(input_path=f"{tmp_path}/in.jsonl", model_input=model_input).succeeded == 1
    assert "model_input names no column, so that every row becomes the same request" in caplog.text


@pytest.mark.parametrize("bucket", ["my.bucket", "2024.01.31", "a.csv", "b-c_d"])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_root_of_a_bucket(storage, bucket, end):
    storage(f"{bucket}/in.jsonl", f"{bucket}/_out/old.jsonl")
    assert [file.uri for file in find(f"memory://{bucket}{end}")] == [f"memory://{bucket}/in.jsonl"]


def test_a_uri_as_pathlib_writes_it(write, tmp_path):
    write("sp ace/ü#.jsonl")
    assert len(find((tmp_path / "sp ace").as_uri())) == len(find((tmp_path / "sp ace" / "ü#.jsonl").as_uri())) == 1


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b#c?d%20", "/a/b#c?d%20"),
        ("file:/a", "/a"),
        ("FILE://localhost/a", "/a"),
        ("local:///a", "/a"),
        ("a b", "a b"),
        ("file:a", "file:a"),
        ("s3://bucket/a", None),
    ],
)
def test_a_uri_is_the_path_that_airflow_takes_it_for(uri, path):
    assert local_path(uri) == (None if path is None else Path(path))
    if path is not None and path.startswith("/") and "localhost" not in uri:
        from airflow.sdk import ObjectStoragePath

        assert ObjectStoragePath(uri).path == path


class TestFolders:
    def test_all_that_can_be_read_is_read(self, write, tmp_path):
        write("in/a.jsonl", "in/B.NDJSON", "in/c.csv", "in/d/e.f/g.jsonl", "in/x.csv/h.jsonl", content=b"1\n2\n")
        write("in/i.jsonl.gz", "in/j.csv.GZ", "in/k.v1.jsonl.gz", content=gzip.compress(b"1\n2\n"))
        write("in/_SUCCESS", "in/.a.jsonl.crc", "in/_old/z.jsonl", "in/.git/z.jsonl", "in/.z.json", content=b"")
        assert names(tmp_path / "in", tmp_path / "in") == [
            "B.NDJSON",
            "a.jsonl",
            "c.csv",
            "d/e.f/g.jsonl",
            "i.jsonl.gz",
            "j.csv.GZ",
            "k.v1.jsonl.gz",
            "x.csv/h.jsonl",
        ]

    @pytest.mark.parametrize(
        "name",
        ["b.json", "b.tsv", "b.jsonl.bz2", "b.csv.xz", "b.jsonl.zip", "b.jsonl.tmp", "b.csv.1", "b.gz", "b.JSON.GZ",
         "b.parquet.gz", "b.parquet.zst", "b.tar.gz", "b.jsonl.gz.part", "b.xlsx", "b.avro", "sub/b.orc"],
    )  # fmt: skip
    @pytest.mark.parametrize("way", ["folder", "glob", "object store"])
    def test_data_that_can_not_be_read_is_an_error(self, write, storage, tmp_path, name, way):
        write("in/a.jsonl", f"in/{name}")
        storage("in/a.jsonl", f"in/{name}")
        path = {"folder": tmp_path / "in", "glob": tmp_path / "in" / "*", "object store": "memory://in"}[way]
        with pytest.raises(BasetenInputError, match=r"b\.|/b"):
            find(str(path))

    def test_other_files_are_a_warning(self, write, tmp_path, caplog):
        write("in/a.jsonl", "in/README.md", "in/notes.txt", "in/part-00000", *[f"in/{n}.log" for n in range(20)])
        with caplog.at_level(logging.WARNING):
            assert names(tmp_path / "in", tmp_path / "in") == ["a.jsonl"]
        (record,) = caplog.records
        assert "not read" in record.getMessage()
        assert "0.log" in record.getMessage()
        assert "and 13 more" in record.getMessage()

    @pytest.mark.parametrize("name", ["notes.txt", "rows", "rows.json", "rows.xlsx", "rows.parquet.gz"])
    def test_a_file_that_can_not_be_read(self, write, tmp_path, name):
        write(name)
        with pytest.raises(BasetenInputError, match=name):
            find(str(tmp_path / name))

    def test_links_are_followed_once(self, write, tmp_path):
        write("else/a.jsonl", "in/b.jsonl")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
        (tmp_path / "in" / "c.jsonl").symlink_to(tmp_path / "else" / "a.jsonl")
        (tmp_path / "else" / "back").symlink_to(tmp_path / "in")
        assert names(tmp_path / "in", tmp_path / "in") == ["b.jsonl", "c.jsonl", "link/a.jsonl"]

    def test_a_link_to_nowhere_is_an_error(self, write, tmp_path):
        write("in/a.jsonl")
        (tmp_path / "in" / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
        with pytest.raises(BasetenInputError, match=r"can't be read .*b\.jsonl"):
            find(str(tmp_path / "in"))

    def test_a_pipe_is_an_error(self, write, tmp_path):
        write("in/a.jsonl")
        os.mkfifo(tmp_path / "in" / "b.jsonl")
        with pytest.raises(BasetenInputError, match=r"b\.jsonl is not a regular file"):
            find(str(tmp_path / "in"))

    def test_a_name_that_is_not_utf_8_is_an_error(self, write, tmp_path):
        write("in/a.jsonl")
        (tmp_path / "in" / os.fsdecode(b"caf\xe9.jsonl")).write_bytes(b"1\n")
        with pytest.raises(BasetenInputError, match="whose name is not UTF-8"):
            find(str(tmp_path / "in"))

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(BasetenInputError, match=r"is an empty folder; .* end in \.jsonl"):
            find(str(tmp_path))

    def test_a_folder_without_a_file_of_rows_is_retried_and_a_file_of_another_kind_is_not(self, write, tmp_path):
        write("in/README.md")
        for path, is_retried in ((tmp_path / "in", True), (tmp_path / "in" / "README.md", False)):
            with pytest.raises(BasetenInputError, match=r"has no file whose name ends in one of \.jsonl") as raised:
                find(str(path))
            assert raised.value.retryable is is_retried


class TestMissing:
    @pytest.mark.parametrize(
        "path", ["rows.jsonl", "rows.jsonl.gz", "rows", "v1.2", "gone/rows.parquet", "rows.jsonl/x.csv", "link.csv"]
    )
    def test_a_path_that_is_not_there_is_said_to_be_missing_and_retried(self, storage, tmp_path, path):
        storage("bucket/other.jsonl")
        (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
        for uri in (f"{tmp_path}/{path}", f"file://{tmp_path}/{path}", f"memory://bucket/{path}"):
            with pytest.raises(BasetenInputError) as raised:
                find(uri)
            assert str(raised.value).startswith(f"input_path {uri} does not exist: ")
            assert raised.value.retryable

    def test_a_relative_path_is_named_with_the_folder_it_is_looked_for_in(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(
            BasetenInputError, match=rf"rows\.jsonl does not exist \(looked for at {tmp_path}/rows\.jsonl"
        ):
            find("rows.jsonl")

    def test_a_glob_that_nothing_matches(self, storage, tmp_path):
        for uri in (f"{tmp_path}/*.jsonl", f"{tmp_path}/gone/**/*.csv", "memory://bucket/2024-*/x.jsonl"):
            with pytest.raises(BasetenInputError, match="is a glob that nothing matches") as raised:
                find(uri)
            assert raised.value.retryable

    def test_a_file_that_is_deleted_before_it_is_read(self, write, tmp_path):
        write("a.jsonl")
        files = find(str(tmp_path / "a.jsonl"))
        (tmp_path / "a.jsonl").unlink()
        with pytest.raises(BasetenInputError, match=r"a\.jsonl does not exist any more") as raised:
            next(rows_of(files[0], ReadProgress(), None))
        assert raised.value.retryable

    def test_a_path_of_no_storage_is_not_retried(self):
        with pytest.raises(BasetenInputError, match="can't be read") as raised:
            find("nosuchstorage://bucket/rows.jsonl")
        assert not raised.value.retryable

    def test_storage_that_can_not_be_asked_now_is_retried(self, monkeypatch):
        def info(self, path, **kwargs):
            raise RuntimeError("the store is busy")

        monkeypatch.setattr(MemoryFileSystem, "info", info)
        with pytest.raises(BasetenInputError, match=r"can't be read .*the store is busy") as raised:
            find("memory://bucket/rows.jsonl")
        assert raised.value.retryable


class TestGlobs:
    def test_a_literal_name_comes_first(self, write, storage, tmp_path):
        write("b[1].jsonl", "b1.jsonl", "st*r/a.jsonl", "star/a.jsonl")
        assert names(tmp_path / "b[1].jsonl", tmp_path) == ["b[1].jsonl"]
        assert names(tmp_path / "st*r", tmp_path) == ["st*r/a.jsonl"]
        storage("in/b[1].jsonl", "in/b1.jsonl")
        assert [file.uri for file in find("memory://in/b[1].jsonl")] == ["memory://in/b[1].jsonl"]

    def test_folders_that_match_are_read(self, write, storage, tmp_path):
        files = ["runs/2024-01/a.jsonl", "runs/2024-02/sub/b.csv", "runs/2023/c.jsonl", "runs/2024-01/_x/d.jsonl"]
        write(*files)
        storage(*files)
        expected = ["runs/2024-01/a.jsonl", "runs/2024-02/sub/b.csv"]
        assert names(tmp_path / "runs" / "2024-*", tmp_path) == expected
        assert [file.uri for file in find("memory://runs/2024-*")] == [f"memory://{name}" for name in expected]

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.jsonl", ["a.jsonl"]),
            ("_*.jsonl", ["_b.jsonl"]),
            ("[ab].jsonl", ["a.jsonl"]),
            ("?.jsonl", ["a.jsonl"]),
            ("**/*.jsonl", ["a.jsonl", "sub/c.jsonl"]),
            ("sub/*", ["sub/c.jsonl"]),
            ("s*", ["sub/c.jsonl"]),
        ],
    )
    def test_patterns(self, write, storage, tmp_path, pattern, expected):
        files = ["in/a.jsonl", "in/_b.jsonl", "in/.d.jsonl", "in/sub/c.jsonl", "in/sub/_e.jsonl"]
        write(*files)
        storage(*files)
        assert names(tmp_path / "in" / pattern, tmp_path / "in") == expected
        assert [file.uri.removeprefix("memory://in/") for file in find(f"memory://in/{pattern}")] == expected

    def test_nothing_matches(self, tmp_path, storage):
        for path in (tmp_path / "*.jsonl", tmp_path / "gone", "memory://bucket/*.jsonl", "memory://bucket/gone"):
            with pytest.raises(BasetenInputError, match="input_path"):
                find(str(path))


def test_rows_of_all_files_are_sent(run, write, tmp_path):
    write("in/a.jsonl", "in/b.ndjson", content=b"1\n2\n")
    write("in/c.csv", content=b"\n\nx\n1\n")
    write("in/d.jsonl.gz", content=gzip.compress(b"3\n4"))
    outputs = outputs_of(run(input_path=tmp_path / "in"))
    assert [output["echo"] for _, output in sorted(outputs.items())] == [1, 2, 1, 2, {"x": "1"}, 3, 4]
