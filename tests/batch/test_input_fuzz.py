"""Damaged JSON Lines and CSV files: every row is sent or fails, the rest is one typed error, and nothing is lost.

The seed of each random test is printed.
"""

import contextlib
import csv
import gzip
import io
import itertools
import json
import random

import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.row_requests import RequestEncoder
from airflow_provider_baseten.batch.row_source import open_source
from airflow_provider_baseten.exceptions import BasetenError
from tests.batch.conftest import messages_of

JSONL = '\ufeff{"id": 1, "t": "ü\\n"}\r\n\n[1.5, 12345678901234567890]\n  "x\u2028y" \nnull\n{"id":2}'.encode()
CSV = '\ufeff\r\nid,text\r\n1,"a, ""b""\r\nc"\r\n\r\n02,ü\r\n3,"x\ny"\n4,\0\n5,z'.encode()

MODEL_INPUTS = [None, {"q": "{id} {text}", "n": "{id}"}, lambda row: row["id"]]


def calls_of(path, **arguments):
    """Return the requests and the failed rows of a file, and the error that ends the run if there is one."""
    plan = BatchPlan.of(BatchJob(target=Target(model_id="abc"), input_path=str(path), output_path="out", **arguments))
    calls, ended = [], None
    try:
        for call in RequestEncoder(plan).requests(open_source(plan).rows, lambda number: True):
            calls.append(call)
    except BasetenError as error:
        ended = error
    return calls, ended


def checked(path, expected, **arguments):
    calls, ended = calls_of(path, **arguments)
    numbers = [number for call in calls for number in call.numbers]
    assert numbers == list(range(len(numbers)))
    for call in calls:
        assert (call.error is None) == bool(call.body)
        assert call.error is None or isinstance(call.error, BasetenError)
        if call.body:
            json.loads(call.body)
    if expected == 0:
        assert ended is not None
    elif ended is None:
        assert len(numbers) == expected
    return calls, ended


def jsonl_rows(content):
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return sum(bool(line.strip(b" \t\r\n\x0b\x0c")) for line in lines)


def csv_rows(content):
    """Count rows as Python's csv module does, a line that it refuses as one; ``None`` if the header is not usable."""
    text = content.decode(errors="surrogateescape").removeprefix("\ufeff")
    lines = itertools.dropwhile(lambda line: not line.strip(", \t\r\n"), io.StringIO(text, newline=""))
    reader, rows = csv.reader(lines, strict=True), 0
    try:
        header = next(reader, [])
    except csv.Error:
        return None
    if len(set(header)) < len(header):
        return None
    while True:
        try:
            rows += bool(next(reader))
        except StopIteration:
            return rows
        except csv.Error:
            rows += 1


def damaged(choose, content):
    """Return the content cut, spliced, repeated or with random bytes in it."""
    at, to = sorted(choose.choices(range(len(content) + 1), k=2))
    match choose.randrange(6):
        case 0:
            return content[:at] + content[to:]
        case 1:
            return content[:at] + choose.randbytes(choose.randrange(1, 6)) + content[at:]
        case 2:
            return content[:at] + choose.randbytes(to - at) + content[to:]
        case 3:
            return content[:to] + content[at:]
        case 4:
            return (
                content[:at]
                + choose.choice([b'"', b"\n", b"\r", b",", b"\0", b"\xff", b"{", b"[", b"\\"])
                + content[at:]
            )
    return content[at:to]


@pytest.fixture
def choose():
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    return random.Random(seed)


def is_other_encoding(content):
    return content.startswith((b"\xff\xfe", b"\xfe\xff"))


@pytest.mark.parametrize("model_input", MODEL_INPUTS, ids=["row", "template", "callable"])
class TestDamage:
    def test_json_lines(self, tmp_path, choose, model_input):
        path = tmp_path / "in.jsonl"
        for _ in range(1500):
            content = damaged(choose, damaged(choose, JSONL))
            path.write_bytes(content)
            if not is_other_encoding(content):
                _, ended = checked(path, jsonl_rows(content), model_input=model_input, job_version="1")
                assert ended is None or "has no column" in str(ended) or "holds no rows" in str(ended)

    def test_csv(self, tmp_path, choose, model_input):
        path = tmp_path / "in.csv"
        for _ in range(1500):
            content = damaged(choose, damaged(choose, CSV))
            path.write_bytes(content)
            expected = csv_rows(content)
            if expected is None or is_other_encoding(content):
                assert calls_of(path, model_input=model_input)[1] is not None
            else:
                _, ended = checked(path, expected, model_input=model_input)
                known = ("has no column", "holds no rows", "has zero bytes in its header")
                assert ended is None or any(words in str(ended) for words in known)


@pytest.mark.parametrize(("name", "content", "count"), [("in.jsonl", JSONL, jsonl_rows), ("in.csv", CSV, csv_rows)])
def test_cut_at_every_byte(tmp_path, name, content, count):
    path = tmp_path / name
    for end in range(len(content) + 1):
        path.write_bytes(content[:end])
        checked(path, count(content[:end]))


@pytest.mark.parametrize(("name", "content"), [("in.jsonl", JSONL), ("in.csv", CSV)])
def test_compressed_and_cut_or_changed_at_every_byte(tmp_path, choose, name, content):
    path = tmp_path / f"{name}.gz"
    rows = len(calls_of_content(tmp_path / name, content))
    whole = gzip.compress(content)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        _, ended = calls_of(path)
        assert ended is not None
        path.write_bytes(whole[:end] + bytes([whole[end] ^ (1 << choose.randrange(8))]) + whole[end + 1 :])
        calls, ended = calls_of(path)
        assert ended is not None or len(calls) == rows


def calls_of_content(path, content):
    path.write_bytes(content)
    calls, ended = calls_of(path)
    assert ended is None
    return calls


def test_parquet_with_random_bytes(tmp_path, choose):
    table = pa.table(
        {
            "s": ["ü", None, "x" * 50] * 20,
            "t": pa.array([1, None, 2**60] * 20, pa.timestamp("us", "UTC")),
            "l": [[1.5], [], None] * 20,
            "m": pa.array([[("a", 1)], None, []] * 20, pa.map_(pa.string(), pa.int8())),
        }
    )
    path = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=20)
    whole = path.read_bytes()
    for _ in range(300):
        at = choose.randrange(4, len(whole))
        path.write_bytes(whole[:at] + choose.randbytes(choose.randrange(1, 9)) + whole[at + 4 :])
        calls, _ = calls_of(path)
        assert all(call.error is None or isinstance(call.error, BasetenError) for call in calls)


def test_what_is_sent_and_what_fails_are_the_rows_of_the_file(send, tmp_path, choose):
    """The same through the whole engine."""
    lines = [choose.choice([b'{"id":%d}' % n, b"{", b"\xff", b"[NaN]", b'"\\ud800"', b"1e999"]) for n in range(500)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    bodies, manifest = send(input_path=tmp_path / "in.jsonl")
    assert len(bodies) + len(messages_of(manifest)) == manifest.rows == 500
    good = []
    for line in lines:
        with contextlib.suppress(ValueError):
            json.loads(line, parse_constant=lambda name: int("no number"))
            good += [line.decode()] if b"ud800" not in line else []
    assert bodies == good
