"""JSON Lines and CSV as people save them, plain and compressed: each row is sent, fails or is named in an error."""

import gzip
import json

import pyarrow as pa
import pytest

from airflow_provider_baseten.api import http
from airflow_provider_baseten.batch.formats import csv_input, jsonl_input
from airflow_provider_baseten.exceptions import BasetenInputError
from tests.batch.conftest import messages_of


@pytest.fixture
def file(tmp_path):
    def file(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return file


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


class TestJsonLines:
    @pytest.mark.parametrize(
        "content",
        [
            b'\xef\xbb\xbf{"a":1}\n{"a":2}\n',
            b'\n\r\n{"a":1}\n \n{"a":2}',
            b'{"a":1}\r\n{"a":2}\r\n',
            b'  {"a":1}\t\n{"a":2} ',
        ],
    )
    def test_forms_that_are_read(self, send, file, content):
        assert send(input_path=file("in.jsonl", content))[0] == ['{"a":1}', '{"a":2}']

    def test_a_line_ends_with_a_line_feed_and_nothing_else(self, send, file):
        bodies, _ = send(input_path=file("in.ndjson", '{"a":"x\u2028y\u0085z"}\n{"a":\r1}\n'))
        assert bodies == ['{"a":"x\u2028y\u0085z"}', '{"a":\r1}']

    @pytest.mark.parametrize("line", ["\0\0\0", '{"a":1}{"a":2}', '{"a":1},', "[1", "NaN", '"\\ud800"', "'a'", "\xff"])
    def test_broken_lines_fail_alone(self, send, file, line):
        bodies, manifest = send(input_path=file("in.jsonl", f"1\n{line}\n3".encode("latin-1")))
        assert (bodies, list(messages_of(manifest))) == (["1", "3"], [1])

    @pytest.mark.parametrize("line", ["[NaN, 12345678901234567890]", '["\\ud800", 12345678901234567890]', "1e400x"])
    def test_a_long_number_makes_no_other_rule(self, send, file, line):
        bodies, manifest = send(input_path=file("in.jsonl", f"1\n{line}\n3"))
        assert (bodies, list(messages_of(manifest))) == (["1", "3"], [1])

    def test_a_line_beyond_the_limit_fails_alone_and_is_never_held(self, send, file, monkeypatch):
        monkeypatch.setattr(jsonl_input, "MAX_BODY_BYTES", 100)
        long = json.dumps("x" * 250)
        bodies, manifest = send(input_path=file("in.jsonl", f"1\n{long}\n{'y' * 99}\n2\n{long}"))
        assert bodies == ["1", "2"]
        errors = messages_of(manifest)
        assert list(errors) == [1, 2, 4]
        assert "in.jsonl, line 2 has more than 100 MB" in errors[1]


class TestCsv:
    @pytest.mark.parametrize(
        "content",
        [
            "id,text\n1,a\n2,b\n",
            "\n\r\n  \n,,,\nid,text\n1,a\n2,b",
            "\ufeffid,text\r\n1,a\r\n\r\n2,b\r\n",
            "id,text\r1,a\r2,b\r",
            "sep=,\nid,text\n1,a\n2,b\n",
            "sep=;\r\nid;text\r\n1;a\r\n2;b\r\n",
            '\ufeff"sep=\t"\n\nid\ttext\n1\ta\n2\tb\n',
            'SEP=|\n"id"|text\n1|"a"\n2|b\n',
        ],
        ids=ascii,
    )
    def test_forms_that_are_read(self, send, file, content):
        bodies, _ = send(input_path=file("in.csv", content))
        assert bodies == ['{"id":"1","text":"a"}', '{"id":"2","text":"b"}']

    @pytest.mark.parametrize("header", ["a,b,a", "a,,", '"x\ny",z,"x\ny"'])
    def test_columns_of_one_name_are_an_error(self, run, file, baseten, header):
        with pytest.raises(BasetenInputError, match=r"in\.csv has several columns of the name"):
            run(input_path=file("in.csv", f"{header}\n1,2,3\n"))
        assert not baseten.requests

    def test_a_header_that_is_broken_is_an_error(self, run, file):
        with pytest.raises(BasetenInputError, match=r"in\.csv can't be read \(Error"):
            run(input_path=file("in.csv", '"a"b,c\n1,2\n'))

    def test_errors_name_the_lines_of_the_file(self, send, file):
        content = 'sep=;\n\na;b\n1;"x\ny"\n2\n3;"open\n4;5\n6;7\n'
        bodies, manifest = send(input_path=file("in.csv", content))
        assert bodies == ['{"a":"1","b":"x\\ny"}']
        errors = messages_of(manifest)
        assert "in.csv, line 6 has 1 fields, its header has 2" in errors[1]
        assert "in.csv, from line 7 to line 9 is not CSV" in errors[2]

    def test_broken_rows_at_the_beginning_do_not_hide_the_columns(self, send, file):
        bodies, manifest = send(input_path=file("in.csv", "a,b\n" + "1\n" * 150 + "2,3\n"), model_input="b")
        assert (bodies, manifest.failed) == (['"3"'], 150)

    def test_a_header_alone_is_no_row(self, run, file):
        with pytest.raises(BasetenInputError, match="holds no rows"):
            run(input_path=file("in.csv", "a,b\n"))

    def test_a_line_without_end_is_an_error(self, run, file, monkeypatch):
        monkeypatch.setattr(csv_input, "MAX_BODY_BYTES", 100)
        with pytest.raises(BasetenInputError, match=r"in\.csv has a line of more than 100 MB"):
            run(input_path=file("in.csv", "a\n1\n" + "x" * 500))
        assert http.MAX_BODY_BYTES > 100


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be"])
def test_other_encodings_are_named(run, file, name, encoding):
    content = ("\ufeff" if encoding.endswith("be") else "") + '{"a": 1}\n'
    with pytest.raises(BasetenInputError, match=r"is UTF-16 or UTF-32, by its byte order mark"):
        run(input_path=file(name, content.encode(encoding)))


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstd), ("GZ", gzip.compress)])
class TestCompressed:
    @pytest.mark.parametrize("name", ["in.jsonl", "in.ndjson", "IN.CSV"])
    def test_is_read(self, send, file, name, suffix, compress):
        csv = name.endswith("CSV")
        content = b"\xef\xbb\xbfa\n1\n2\n" if csv else b'\xef\xbb\xbf{"a":"1"}\n{"a":"2"}\n'
        bodies, _ = send(input_path=file(f"{name}.{suffix}", compress(content)))
        assert bodies == ['{"a":"1"}', '{"a":"2"}']

    def test_joined_files_are_one(self, send, file, suffix, compress):
        bodies, _ = send(input_path=file(f"in.jsonl.{suffix}", compress(b"1\n2") + compress(b"3\n") + compress(b"4")))
        assert bodies == ["1", "23", "4"]

    def test_what_is_cut_off_ends_the_run_after_the_rows_before(self, run, file, model, suffix, compress):
        rows = "".join(f'{{"n":{n},"x":"{n * 7919 % 104729}"}}\n' for n in range(400_000)).encode()
        whole = compress(rows)
        path = file(f"in.jsonl.{suffix}", whole[: len(whole) - 30])
        with pytest.raises(BasetenInputError, match=r"is the last that can be read of its file .* damaged"):
            run(input_path=path, num_shards=5000, id_column=None)
        assert [row["n"] for row in sorted(model.seen, key=lambda row: row["n"])] == list(
            range(0, 5000 * len(model.seen), 5000)
        )
        assert model.seen

    @pytest.mark.parametrize("damage", ["not compressed", "empty"])
    def test_damaged_from_the_beginning(self, run, file, baseten, suffix, compress, damage):
        content = b'{"a":1}\n' if damage == "not compressed" else b""
        with pytest.raises(BasetenInputError, match=r"can't be read|holds no rows"):
            run(input_path=file(f"in.jsonl.{suffix}", content))
        assert not baseten.requests


def test_zstd_without_pyarrow_names_what_to_install(run, file, monkeypatch):
    path = file("in.jsonl.zst", zstd(b"1\n"))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BasetenInputError, match=r"airflow-provider-baseten\[parquet\]"):
        run(input_path=path)


def test_how_far_a_compressed_file_is_read_never_passes_its_end(run, file, monkeypatch):
    from airflow_provider_baseten.batch import engine

    monkeypatch.setattr(engine, "PROGRESS_SECONDS", 0.1)
    seen = []
    rows = b"".join(b'{"n":%d}\n' % number for number in range(2000))
    run(input_path=file("in.jsonl.gz", gzip.compress(rows)), on_progress=seen.append)
    assert seen
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)


def test_csv_in_utf_16_without_a_mark_is_an_error(run, tmp_path, baseten):
    (tmp_path / "rows.csv").write_bytes("a,b\n1,2\n".encode("utf-16-le"))
    with pytest.raises(BasetenInputError, match="zero bytes in its header"):
        run(input_path=tmp_path / "rows.csv")
    assert not baseten.requests
