"""Numbers keep every digit from the input to the request and the output, and ids are equal or not as they are."""

import dataclasses
import datetime
import enum
import json
import random
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.batch.conftest import lines_of, messages_of, write_jsonl

BIG = 2**64
HUGE = 10**40 + 1
LONG = "1234567890123.45678901"
NUMBERS = [str(BIG), str(-BIG), str(HUGE), LONG, "-0.1000000000000000000001", "1e400", "9007199254740993", "1e-400"]


def text_of(manifest):
    return "".join(Path(part).read_text() for part in manifest.parts)


@pytest.mark.parametrize("number", NUMBERS)
class TestFromJsonLines:
    def test_in_a_row_as_it_is(self, send, tmp_path, number):
        bodies, _ = send(input_path=write_jsonl(tmp_path / "in.jsonl", [f'{{ "n" : {number} }}']))
        assert bodies == [f'{{ "n" : {number} }}']

    @pytest.mark.parametrize(
        "model_input",
        ["n", {"a": ["{n}"], "t": "no {n}"}, lambda row: row["n"]],
        ids=["column", "template", "callable"],
    )
    def test_in_what_a_row_becomes(self, send, tmp_path, number, model_input):
        path = write_jsonl(tmp_path / "in.jsonl", [f'{{"n":{number}}}'])
        ((body,), manifest) = send(input_path=path, model_input=model_input, keep_columns=["n"])
        written = str(Decimal(number)) if "e" in number else number
        expected = f'{{"a":[{written}],"t":"no {written}"}}' if isinstance(model_input, dict) else written
        assert body == expected
        assert f'{{"row":0,"n":{written},"output":' in text_of(manifest)

    def test_in_an_id(self, send, tmp_path, number):
        path = write_jsonl(tmp_path / "in.jsonl", [f'{{"id":{number},"x":1}}', f'{{"id":"{number}","x":2}}'])
        bodies, manifest = send(input_path=path, id_column="id", model_input="x")
        assert (bodies, manifest.failed) == (["1", "2"], 0)


class TestFromOtherInputs:
    def test_csv_values_are_texts(self, send, tmp_path):
        (tmp_path / "in.csv").write_text(f"n,z\n{HUGE},007\n{LONG}0,1e3\n")
        bodies, _ = send(input_path=str(tmp_path / "in.csv"))
        assert bodies == [f'{{"n":"{HUGE}","z":"007"}}', f'{{"n":"{LONG}0","z":"1e3"}}']

    @pytest.mark.parametrize("kind", [pa.decimal128(38, 8), pa.decimal256(60, 8)], ids=str)
    def test_parquet_decimals_at_any_depth(self, send, tmp_path, kind):
        value = Decimal(LONG)
        columns = {
            "d": pa.array([value], kind),
            "s": pa.array([{"x": value}], pa.struct([("x", kind)])),
            "l": pa.array([[value, None]], pa.list_(kind)),
            "m": pa.array([[("k", value)]], pa.map_(pa.string(), kind)),
        }
        pyarrow.parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
        bodies, manifest = send(input_path=str(tmp_path / "in.parquet"), id_column="d", keep_columns=["s"])
        assert bodies == [f'{{"d":{LONG},"s":{{"x":{LONG}}},"l":[{LONG},null],"m":{{"k":{LONG}}}}}']
        assert f'"d":{LONG},"s":{{"x":{LONG}}}' in text_of(manifest)

    def test_python_values(self, send):
        bodies, _ = send(inputs=[{"n": BIG, "d": Decimal(LONG)}, (Decimal("1.10"), -HUGE), {5: Decimal("2.50")}])
        assert bodies == [f'{{"n":{BIG},"d":{LONG}}}', f"[1.10,{-HUGE}]", '{"5":2.50}']

    def test_template_and_parameters(self, send):
        bodies, _ = send(inputs=[{"x": 1}], model_input={"q": "{x}", 5: Decimal(LONG), "b": BIG, "t": (1,)})
        assert bodies == [f'{{"q":1,"5":{LONG},"b":{BIG},"t":[1]}}']


class Colour(enum.Enum):
    RED = "red"
    NONE = float("nan")


@dataclasses.dataclass
class Ticket:
    text: str
    score: float | None = None
    _private: int = 1


class Broken(Mapping):
    """A mapping whose values can't be had, such as a record of a database that is closed."""

    def __getitem__(self, name):
        raise ZeroDivisionError

    def __iter__(self):
        return iter(["a"])

    def __len__(self):
        return 1


class TestWhatJsonLacks:
    @pytest.mark.parametrize(
        "value",
        [
            float("nan"),
            float("inf"),
            Decimal("NaN"),
            Decimal("-Infinity"),
            Decimal("sNaN"),
            np.float64("nan"),
            np.float32("nan"),
            np.array([1]),
            np.int64(1),
            Ticket("a", float("nan")),
            {"a": None, "b": [Ticket("a", float("inf"))]},
            Colour.NONE,
            [None, {"d": (Colour.NONE,)}],
            {1, 2},
            b"bytes",
            object(),
            "\ud800",
            {"\ud800": 1},
            {(1, 2): 3},
            {float("nan"): 1},
            (number for number in [1]),
            lambda: 1,
            Ticket,
            10**5000,
            Broken(),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Mapping | int) else repr(value)[:30],
    )
    @pytest.mark.parametrize("way", ["row", "column", "callable", "kept"])
    def test_fails_its_row_and_never_becomes_null(self, send, value, way):
        rows = [{"x": 1, "k": 0}, {"x": value, "k": value}, {"x": 3, "k": 0}]
        arguments = {
            "row": {},
            "column": {"model_input": "x"},
            "callable": {"model_input": lambda row: [row["x"]]},
            "kept": {"model_input": lambda row: 0 if row["x"] is value else row["x"], "keep_columns": ["k"]},
        }[way]
        bodies, manifest = send(inputs=rows, job_version="1", **arguments)
        assert len(bodies) == manifest.succeeded == 2
        assert messages_of(manifest).keys() == {1}
        assert manifest.outcomes["BasetenInputError"] == 1
        assert "null" not in "".join(bodies)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (10**5000, "is a whole number of more than 4,300 digits"),
            ({"\udcff": 1}, "has a key with a lone surrogate"),
        ],
        ids=["integer", "key"],
    )
    def test_the_error_says_what_is_wrong(self, send, value, message):
        _, manifest = send(inputs=[[value]])
        assert messages_of(manifest)[0].startswith(f"inputs[0][0] {message}")

    def test_a_value_that_holds_itself(self, send):
        itself = []
        itself.append(itself)
        bodies, manifest = send(inputs=[itself, {1, 2}, [1]])
        assert (bodies, manifest.failed) == (["[1]"], 2)

    def test_values_that_python_keeps_rows_in(self, send):
        moment = datetime.datetime(2024, 1, 31, 12, 0, 0, 5, tzinfo=datetime.UTC)
        known = uuid.UUID(int=5)
        bodies, _ = send(
            inputs=[
                {"t": moment, "d": moment.date(), "u": known, "c": Colour.RED, "o": Ticket("a", None)},
                {7: [moment, HUGE], "o": Ticket("b", Decimal("0.50"))},
            ],
        )
        text = "2024-01-31T12:00:00.000005+00:00"
        assert bodies == [
            f'{{"t":"{text}","d":"2024-01-31","u":"{known}","c":"red","o":{{"text":"a","score":null,"_private":1}}}}',
            f'{{"7":["{text}",{HUGE}],"o":{{"text":"b","score":0.50,"_private":1}}}}',
        ]

    def test_dates_in_a_template(self, send):
        bodies, _ = send(inputs=[{"t": datetime.date(2024, 1, 31)}], model_input={"a": "{t}", "b": "at {t}"})
        assert bodies == ['{"a":"2024-01-31","b":"at \\"2024-01-31\\""}']


class TestOutputs:
    @pytest.mark.parametrize(
        "job",
        [
            {"rows_per_request": 2},
            {"split_output": lambda answer: [answer]},
            {"output_filter": lambda answer: answer},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
    def test_digits_and_half_a_character_in_one_answer(self, ask, job, output_format):
        """Each has a way of its own to be written; neither may lose an answer that was paid."""
        value = f'{{"half":"\\ud83d","exact":{HUGE}.{HUGE},"small":[1e-400],"\\udc00":1}}'
        text = f"[{value},1]" if "rows_per_request" in job else value
        rows = [1, 2] if "rows_per_request" in job else [1]
        manifest = ask(text.encode(), inputs=rows, output_format=output_format, **job)
        assert manifest.failed == 0
        if output_format == "jsonl":
            first = next(line for line in text_of(manifest).splitlines() if '"row":0' in line)
            output = json.loads(first, parse_float=Decimal)["output"]
            assert output == json.loads(value, parse_float=Decimal)


class TestIds:
    @pytest.mark.parametrize(
        "ids",
        [
            ["1", '"1"', "true", "null", '"null"', "[1]", '{"a":1}'],
            ["100000000000000000001", "100000000000000000002", "100000000000000000001.5"],
            ["0.12345678901234567890", "0.12345678901234567891"],
            ["9007199254740993", "9007199254740992"],
            ["1e400", "1e401", "1"],
            ['"ü"', '"u\\u0308"'],
        ],
    )
    def test_different_ones_are_all_sent(self, send, tmp_path, ids):
        path = write_jsonl(tmp_path / "in.jsonl", [f'{{"id":{id_},"x":{index}}}' for index, id_ in enumerate(ids)])
        bodies, manifest = send(input_path=path, id_column="id", model_input="x")
        assert (len(bodies), manifest.failed) == (len(ids), 0)

    @pytest.mark.parametrize(
        "ids",
        [
            ["1.10", "1.1"],
            ["12345678901234567.10", "12345678901234567.1"],
            ['{"a":1,"b":[{"c":2,"d":3}]}', '{"b":[{"d":3,"c":2}],"a":1}'],
            ['{"a":12345678901234567.1,"b":1}', '{"b":1,"a":12345678901234567.1}'],
            ['"\\u00fc"', '"ü"'],
            ["1e2", "100.0"],
        ],
    )
    def test_equal_ones_are_repeated(self, send, tmp_path, ids):
        path = write_jsonl(tmp_path / "in.jsonl", [f'{{"id":{id_},"x":{index}}}' for index, id_ in enumerate(ids)])
        bodies, manifest = send(input_path=path, id_column="id", model_input="x")
        assert bodies == ["0"]
        assert "repeats the id" in messages_of(manifest)[1]


def test_random_numbers_keep_their_value(send, tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    choose = random.Random(seed)
    numbers = []
    for _ in range(300):
        digits = "".join(choose.choices("0123456789", k=choose.randint(1, 40))).lstrip("0") or "0"
        place = choose.randint(1, len(digits))
        number = digits[:place] + (f".{digits[place:]}" if place < len(digits) else "")
        number += choose.choice(["", "", f"e{choose.randint(-350, 350)}"])
        numbers.append(choose.choice(["", "-"]) + number)
    path = write_jsonl(tmp_path / "in.jsonl", [f'{{"n":{number}}}' for number in numbers])
    bodies, manifest = send(input_path=path, model_input="n", keep_columns=["n"])
    assert len(bodies) == 300
    assert all(map(same, bodies, numbers))
    kept = [str(line["n"]) for line in lines_of_exact(manifest)]
    assert len(kept) == 300
    assert all(map(same, kept, numbers))


def same(written, number):
    """Tell whether two numbers are equal, or the same 64-bit float, whose shortest form may have a digit less."""
    short = len(Decimal(number).as_tuple().digits) <= 17
    return Decimal(written) == Decimal(number) or (short and float(written) == float(number) != 0)


def lines_of_exact(manifest):
    assert lines_of(*manifest.parts)
    lines = text_of(manifest).splitlines()
    return [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in lines]
