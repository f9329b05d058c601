"""Each Arrow type has one form in JSON or none, and a value without one fails its row alone."""

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_provider_baseten.exceptions import BasetenInputError
from tests.batch.conftest import messages_of

NANO = 1_700_000_000_000_000_001


@pytest.fixture
def parquet(tmp_path):
    def parquet(table, **options):
        pyarrow.parquet.write_table(table, tmp_path / "in.parquet", **options)
        return str(tmp_path / "in.parquet")

    return parquet


def column(values, kind):
    return pa.table({"v": pa.array(values, kind)})


TEXTS = [
    (pa.timestamp("s"), 0, "1970-01-01T00:00:00"),
    (pa.timestamp("us"), 1, "1970-01-01T00:00:00.000001"),
    (pa.timestamp("ms"), -1, "1969-12-31T23:59:59.999000"),
    (pa.timestamp("ns"), NANO, "2023-11-14T22:13:20.000000001"),
    (pa.timestamp("ns", "UTC"), NANO - 1, "2023-11-14T22:13:20+00:00"),
    (pa.timestamp("ns", "Europe/Berlin"), NANO, "2023-11-14T23:13:20.000000001+01:00"),
    (pa.timestamp("us", "-05:30"), 0, "1969-12-31T18:30:00-05:30"),
    (pa.timestamp("us"), -62135596800 * 10**6, "0001-01-01T00:00:00"),
    (pa.date32(), 0, "1970-01-01"),
    (pa.date64(), 86_400_000, "1970-01-02"),
    (pa.time32("s"), 1, "00:00:01"),
    (pa.time32("ms"), 86_399_999, "23:59:59.999000"),
    (pa.time64("ns"), 1, "00:00:00.000000001"),
]


@pytest.mark.parametrize(("kind", "number", "text"), TEXTS, ids=str)
def test_dates_and_times_are_iso_8601_text(send, parquet, kind, number, text):
    bodies, _ = send(input_path=parquet(column([number, None], kind)))
    assert [json.loads(body) for body in bodies] == [{"v": text}, {"v": None}]


VALUES = [
    (pa.uint64(), 2**64 - 1, 2**64 - 1),
    (pa.float16(), 0.5, 0.5),
    (pa.bool_(), True, True),
    (pa.large_string(), "ü", "ü"),
    (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), ["a", None, "b"], ["a", None, "b"]),
    (pa.large_list(pa.timestamp("ns")), [NANO, None], ["2023-11-14T22:13:20.000000001", None]),
    (pa.list_(pa.int64(), 2), [1, None], [1, None]),
    (pa.struct([("a", pa.date32()), ("b", pa.struct([("c", pa.int8())]))]), {"a": 0, "b": None}, None),
    (pa.map_(pa.string(), pa.list_(pa.int8())), [("a", [1]), ("b", None)], {"a": [1], "b": None}),
    (pa.map_(pa.int64(), pa.string()), [(5, "x")], {"5": "x"}),
    (pa.decimal128(5, 2), Decimal("1.10"), 1.1),
    (pa.uuid(), b"\0" * 15 + b"\5", "00000000-0000-0000-0000-000000000005"),
    *([(pa.json_(), '{"a":1}', '{"a":1}')] if hasattr(pa, "json_") else []),  # From pyarrow 19 on.
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES, ids=lambda value: str(value)[:40])
def test_values_keep_their_place_among_others(send, parquet, kind, value, expected):
    if pa.types.is_struct(kind):
        value, expected = {"a": datetime.date(1970, 1, 1), "b": None}, {"a": "1970-01-01", "b": None}
    table = column([None, value, None, value], kind)
    bodies, manifest = send(input_path=parquet(table, row_group_size=3))
    assert [json.loads(body)["v"] for body in bodies] == [None, expected, None, expected]
    assert manifest.failed == 0


YEAR_20000 = 18_030 * 365 * 86400 * 10**6
WITHOUT_JSON = [
    (pa.timestamp("us"), YEAR_20000, "in column 'v' a date or time beyond the years 1 to 9999"),
    (pa.timestamp("us", "Europe/Berlin"), YEAR_20000, "beyond the years"),
    (pa.timestamp("ms"), 2**62, "beyond the years"),
    (pa.date32(), 2**31 - 1, "beyond the years"),
    (pa.time64("us"), 86_400 * 10**6, "a time that is not within one day"),
    (pa.timestamp("us", "Mars/Base"), 0, "the time zone 'Mars/Base', which is not known here"),
    (pa.duration("ns"), 1, "of type duration[ns], which has no form in JSON"),
    (pa.binary(), b"\0", "of type binary, which has no form in JSON"),
    (pa.binary(2), b"ab", "which has no form in JSON"),
    (pa.list_(pa.binary()), [b"a"], "which has no form in JSON"),
    (pa.map_(pa.string(), pa.int8()), [("a", 1), ("a", 2)], "a map with a key twice"),
    (pa.map_(pa.date32(), pa.int8()), [(0, 1)], None),
    (pa.float64(), float("nan"), "is nan"),
    (pa.list_(pa.float32()), [1.0, float("-inf")], "is -inf"),
]


@pytest.mark.parametrize(("kind", "value", "message"), WITHOUT_JSON, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("depth", ["column", "struct", "list"])
def test_a_value_without_a_form_in_json_fails_its_row(send, parquet, kind, value, message, depth):
    table = column([None, value, None], kind)
    if depth == "struct":
        table = pa.table({"v": pa.StructArray.from_arrays([table["v"].combine_chunks()], ["inner"])})
    elif depth == "list":
        table = pa.table({"v": pa.ListArray.from_arrays([0, 1, 2, 3], table["v"].combine_chunks())})
    path = parquet(table.append_column("id", pa.array([1, 2, 3])))
    bodies, manifest = send(input_path=path)
    if message is None:  # A date is no key, but has a text.
        assert manifest.failed == 0
        return
    assert [json.loads(body)["id"] for body in bodies] == [1, 3]
    ((number, error),) = messages_of(manifest).items()
    assert number == 1
    assert message in error
    assert error.startswith((f"{path}, row 2 has in column 'v'", f"{path}, row 2['v']"))
    assert send(input_path=path, model_input="id", output_path=f"{path}-out")[1].succeeded == 3


@pytest.mark.parametrize("nested", [False, True])
def test_text_that_is_not_utf_8_fails_its_row(send, parquet, nested):
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")]
    )
    column = pa.StructArray.from_arrays([texts], ["t"]) if nested else texts
    path = parquet(pa.table({"v": column}))
    bodies, manifest = send(input_path=path)
    assert len(bodies) == 2
    assert "row 2 has in column 'v' a value of type" in messages_of(manifest)[1]


def test_columns_that_no_option_names_are_not_read(send, parquet, tmp_path):
    path = parquet(pa.table({"id": ["a"], "x": [1], "big": ["z" * 1000]}), compression="none")
    damaged = (tmp_path / "in.parquet").read_bytes().replace(b"z" * 1000, b"y" * 900 + b"\xff" * 100)
    (tmp_path / "in.parquet").write_bytes(damaged)
    bodies, _ = send(input_path=path, model_input={"q": "{x}"}, keep_columns=["id"])
    assert bodies == ['{"q":1}']


def test_a_column_with_a_dot_in_its_name(send, parquet):
    path = parquet(pa.table({"a.b": [1], "a": [{"b": 2}], "c": [3]}))
    assert send(input_path=path, model_input="a.b")[0] == ["1"]
    assert send(input_path=path, model_input={"x": "{a}"}, output_path=f"{path}-2")[0] == ['{"x":{"b":2}}']


def test_columns_of_one_name_are_an_error(run, parquet, baseten):
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"])
    with pytest.raises(BasetenInputError, match=r"several columns of the name 'a'"):
        run(input_path=parquet(table))
    assert run(input_path=parquet(table), model_input="b").succeeded == 1


def test_a_missing_column_is_named_beside_those_there_are(run, parquet):
    with pytest.raises(BasetenInputError, match=r"no column 'z': it has 'a', 'b'"):
        run(input_path=parquet(pa.table({"a": [1], "b": [2]})), model_input={"x": "{a} {z}"})


@pytest.mark.parametrize("table", [pa.table({}), pa.table({"a": pa.array([], pa.int8())})])
def test_a_file_without_rows(run, parquet, table):
    with pytest.raises(BasetenInputError, match="holds no rows"):
        run(input_path=parquet(table))


def test_a_file_that_is_damaged_midway_ends_the_run_after_the_rows_before(run, parquet, model, tmp_path):
    texts = [f"{number:06d}" + "x" * 50 for number in range(2000)]
    path = parquet(pa.table({"t": texts}), row_group_size=1000, compression="gzip", use_dictionary=False)
    whole = (tmp_path / "in.parquet").read_bytes()
    second = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    (tmp_path / "in.parquet").write_bytes(whole[: second + 100] + b"\0" * 500 + whole[second + 600 :])
    with pytest.raises(BasetenInputError, match=r"in\.parquet, row 1000 is the last that can be read of its file"):
        run(input_path=path, model_input="t")
    assert len(model.seen) == 1000
