import json
import random
from decimal import Decimal

import pytest

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.exceptions import BasetenInputError


@pytest.mark.parametrize(
    "text",
    [
        "100000000000000000001",
        "-18446744073709551616",
        "1234567890123.45678901",
        "9999999999999.9999",
        "12345678901234567.0",
        "1E+400",
        "1E-400",
        "0.1",
        "-0.0",
        "0.30000000000000004441",
        "0.1000000000000000055511151231257827021181583404541015625",
        "24957.9555275929217",
    ],
)
def test_every_digit_survives(text):
    assert exact_json.encode(exact_json.decode(text.encode())).decode() == text


def test_an_integer_with_more_digits_than_python_reads_survives():
    digits = b"9" * 5000
    assert exact_json.encode([exact_json.decode(digits)]) == b"[" + digits + b"]"


@pytest.mark.parametrize("text", ["1.10", "0.30000000000000004", "0.10000000000000001", "2.50e1", "0e99"])
def test_a_number_that_a_float_holds_is_a_float(text):
    value = exact_json.decode(text.encode())
    assert type(value) is float
    assert value == float(text)


@pytest.mark.parametrize("seed", [random.randrange(1 << 32)])
def test_random_numbers_survive(seed):
    draw = random.Random(seed)
    for _ in range(3000):
        digits = "".join(draw.choices("0123456789", k=draw.randrange(1, 40))).lstrip("0") or "7"
        cut = draw.randrange(len(digits) + 1)
        text = draw.choice(["", "-"]) + (digits[:cut] or "0") + (f".{digits[cut:]}" if digits[cut:] else "")
        if draw.random() < 0.3:
            text += f"e{draw.randrange(-400, 400)}"
        kept = exact_json.decode(text.encode())
        if isinstance(kept, float):  # Printed with as many digits as the text has, it is the text.
            assert Decimal(f"{kept:.{len(Decimal(text).as_tuple().digits) - 1}e}") == Decimal(text), text
        else:
            assert Decimal(exact_json.encode([kept])[1:-1].decode()) == Decimal(text), text


def test_floats_that_python_prints_stay_floats():
    draw = random.Random(7)
    numbers = [draw.uniform(-1, 1) * 10 ** draw.randrange(-30, 30) for _ in range(3000)]
    assert exact_json.decode(json.dumps(numbers).encode()) == numbers
    assert all(type(number) is float for number in exact_json.decode(json.dumps(numbers).encode()))


@pytest.mark.parametrize("body", [b"[" * 100_000, b"1e99999999999999999999", b"\xff", b"", b'{"a":1} x'])
def test_what_is_no_json_is_a_value_error(body):
    with pytest.raises(ValueError):  # noqa: PT011
        exact_json.decode(body)


def test_a_byte_order_mark_is_no_part_of_the_value():
    assert exact_json.decode(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_keys_become_texts_with_and_without_decimals():
    assert exact_json.encode({5: 1, False: 2, None: 3, 1.5: 4}) == b'{"5":1,"false":2,"null":3,"1.5":4}'
    assert exact_json.encode({5: Decimal("1.10"), False: 2, None: 3}) == b'{"5":1.10,"false":2,"null":3}'


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), float("nan"), float("-inf")])
def test_a_number_that_is_none_is_named_with_its_place(value):
    with pytest.raises(BasetenInputError, match=r"model_input\['a'\]\[1\] is (NaN|nan|Infinity|-inf)"):
        encode_json("model_input", {"a": [Decimal(1), value]})


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        ("0.14285714285714285", False),
        ("1.7976931348623157e+308", False),
        ("123456789012345678", False),
        ('"4111-1111.1111.1111.1111"', True),
        ("18446744073709551616", True),
        ("9007199254740993.5", True),
        ("0.12345678901234567890", True),
        ("1e400", True),
        ("1.5E-400", True),
    ],
)
def test_numbers_that_orjson_would_round_are_told_from_floats_as_python_writes_them(number, rounded):
    assert exact_json.is_rounded(f'{{"a":[1,{number}]}}'.encode()) == rounded
