"""Truss's binary format."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from airflow_provider_baseten.api import msgpack
from airflow_provider_baseten.exceptions import BasetenInputError

# What Truss's own server makes of {"when": 2024-05-01T12:00Z, "a": int16 array [[1, 2]]}.
FROM_TRUSS = (
    b"\x82\xa4when\x82\xc4\x13__dt_datetime_iso__\xc3\xc4\x04data\xb42024-05-01T12:00:00Z"
    b"\xa1a\x85\xc4\x02nd\xc3\xc4\x04type\xa3<i2\xc4\x04kind\xc4\x00\xc4\x05shape\x92\x01\x02\xc4\x04data\xc4\x04\x01\x00\x02\x00"
)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, None, "ü", b"\x00", 1.5, True]},
        datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
        datetime(2024, 5, 1, 12, 30),
        date(2024, 5, 1),
        time(12, 30),
        timedelta(days=1, seconds=2, microseconds=3),
        Decimal("1.10"),
        UUID("12345678123456781234567812345678"),
    ],
)
def test_round_trip(value):
    back = msgpack.unpack(msgpack.pack(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "bool", "complex64", "<U3"])
def test_arrays_keep_type_and_shape(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = msgpack.unpack(msgpack.pack({"rows": array}))["rows"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_bytes_on_the_wire_are_those_of_truss():
    value = {"when": datetime(2024, 5, 1, 12, tzinfo=UTC), "a": np.array([[1, 2]], dtype="<i2")}
    assert msgpack.pack(value) == FROM_TRUSS
    assert msgpack.unpack(FROM_TRUSS)["when"] == value["when"]


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), 2**70])
def test_what_has_no_msgpack_form(value):
    with pytest.raises(BasetenInputError, match="can't be packed"):
        msgpack.pack(value)


def test_pickled_arrays_are_not_unpickled():
    import msgpack as library
    import msgpack_numpy

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    body = library.packb(np.array([Evil()], dtype=object), default=msgpack_numpy.encode)
    with pytest.raises(ValueError, match="Python objects"):
        msgpack.unpack(body)


@pytest.mark.parametrize(
    ("body", "trouble"),
    [(b"", "incomplete"), (b"\xc1", "^$"), (b"\x92\x01", "incomplete"), (b"\x01\x02", "extra data")],
)
def test_broken_body(body, trouble):
    with pytest.raises(ValueError, match=trouble):
        msgpack.unpack(body)
