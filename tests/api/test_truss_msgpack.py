"""Truss's binary format."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack as library
import msgpack_numpy
import numpy as np
import pytest

from airflow_provider_baseten.api import truss_msgpack
from airflow_provider_baseten.exceptions import BasetenInputError
from tests.fuzz.msgpack_bodies import array_form

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
    back = truss_msgpack.unpack(truss_msgpack.pack(value))
    assert back == value
    assert type(back) is type(value)


PLAIN = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32"]
PLAIN += ["float64", "complex64", "complex128", "S3", "<U3", ">i4", ">f8", ">U2", "datetime64[D]", "datetime64[ns]"]
PLAIN += ["timedelta64[25s]", "timedelta64"]


@pytest.mark.parametrize("dtype", PLAIN)
def test_arrays_keep_type_and_shape(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = truss_msgpack.unpack(truss_msgpack.pack({"rows": array}))["rows"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_bytes_on_the_wire_are_those_of_truss():
    value = {"when": datetime(2024, 5, 1, 12, tzinfo=UTC), "a": np.array([[1, 2]], dtype="<i2")}
    assert truss_msgpack.pack(value) == FROM_TRUSS
    assert truss_msgpack.unpack(FROM_TRUSS)["when"] == value["when"]


@pytest.mark.parametrize("dtype", [dtype for dtype in PLAIN if dtype[0] not in "S<>"])
def test_scalars_keep_type(dtype):
    scalar = np.arange(6).astype(dtype)[3]
    back = truss_msgpack.unpack(truss_msgpack.pack([scalar]))[0]
    assert back == scalar
    assert np.asarray(back).dtype == (scalar.dtype if dtype != "float64" else np.float64)


@pytest.mark.parametrize(
    "array", [np.arange(6)[::2], np.asfortranarray(np.eye(2, 3)), np.array(5), np.zeros((0, 768)), np.zeros((2, 0))]
)
def test_arrays_of_any_layout(array):
    back = truss_msgpack.unpack(truss_msgpack.pack(array))
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_an_array_outlives_its_body_and_is_read_only():
    body = truss_msgpack.pack(np.arange(100_000))
    array = truss_msgpack.unpack(body)
    del body
    assert array.sum() == 4_999_950_000
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)


def test_keys_are_kept_as_they_are():
    value = {0: 0.1, -1: "a", "b": 1, b"c": 2, None: 3, 2.5: 4}
    assert truss_msgpack.unpack(truss_msgpack.pack(value)) == value


@pytest.mark.parametrize("value", [{b"nd": True}, {b"data": b"x"}, {b"nd": False, b"data": 1}, {"nd": True, "data": 1}])
def test_what_only_looks_like_an_array_stays_a_dictionary(value):
    assert truss_msgpack.unpack(library.packb(value)) == value


class FinerTime(datetime):
    """A time as pandas has it."""

    def isoformat(self, *_):
        return super().isoformat(timespec="microseconds") + "789"


class NoTime(datetime):
    """What pandas has for a time that is missing."""

    def isoformat(self, *_):
        return "NaT"


class FinerDuration(timedelta):
    def __ne__(self, other):
        return True


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        2**70,
        -(2**64),
        "\ud83d",
        time(12, 30, tzinfo=UTC),
        time(12, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        FinerTime(2024, 5, 1),
        NoTime(2024, 5, 1),
        FinerDuration(1),
        np.array([object()]),
        np.array([(1, 2.0)], dtype="i4,f8"),
        np.void(b"ab"),
        np.rec.array([(1, 2.0)]),
        np.ma.masked_array([1, 2], [True, False]),
        np.longdouble(1),
        memoryview(b"abcd")[::2],
        iter([1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_msgpack_form(value):
    for within in (value, [value], {"a": value}):
        with pytest.raises(BasetenInputError, match="can't be packed"):
            truss_msgpack.pack(within)


def test_a_value_that_holds_itself():
    value = []
    value.append(value)
    with pytest.raises(BasetenInputError, match="can't be packed"):
        truss_msgpack.pack(value)


def test_a_time_zone_with_seconds():
    value = datetime(2024, 5, 1, tzinfo=timezone(timedelta(seconds=30)))
    assert truss_msgpack.unpack(truss_msgpack.pack(value)) == value


def test_an_hour_that_comes_twice():
    value = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert truss_msgpack.unpack(truss_msgpack.pack(value)).isoformat() == "2024-10-27T02:30:00+02:00"


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-Infinity", "1E+999999", "0.1000000000000000000000000000000000001"])
def test_decimals_keep_every_digit(number):
    assert str(truss_msgpack.unpack(truss_msgpack.pack(Decimal(number)))) == number


def test_timestamps_of_msgpack():
    when = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert truss_msgpack.unpack(library.packb([{"when": when}], datetime=True)) == [{"when": when}]
    with pytest.raises(truss_msgpack.RefusedError, match="nanoseconds"):
        truss_msgpack.unpack(library.packb(library.Timestamp(1, 1)))


def test_pickled_arrays_are_not_unpickled():
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    body = library.packb(np.array([Evil()], dtype=object), default=msgpack_numpy.encode)
    with pytest.raises(truss_msgpack.RefusedError, match="Python objects"):
        truss_msgpack.unpack(body)


ADDRESS = (0x4141414141414141).to_bytes(8)


@pytest.mark.parametrize(
    "body",
    [
        array_form(type="|O", data=ADDRESS),
        array_form(type="O8", data=ADDRESS),
        array_form(nd=False, type="|O", data=ADDRESS),
        array_form(type=[["f0", "|O"]], kind=b"V", data=ADDRESS),
        array_form(type=[["f0", "|O"]], data=ADDRESS),
        array_form(type="i4,O", data=ADDRESS + b"1234"),
        array_form(type="|V2"),
        array_form(type="(2,)i1"),
        array_form(shape=[2]),
        array_form(shape=[-1]),
        array_form(shape=[2**62, 4], data=b""),
        array_form(shape=[True]),
        array_form(type="|b1", data=b"\x02"),
        array_form(type="<U1", data=b"\xff\xff\xff\x7f"),
        array_form(shape=[10**9, 0], data=b""),
        array_form(nd=False, data=b"abcd"),
        array_form(data="ab"),
        library.packb({b"__decimal__": True, b"data": "1e99999999999999999999"}),
        library.packb({b"__decimal__": True, b"data": 1.5}),
        library.packb({b"__uuid__": True, b"data": 5}),
        library.packb({b"__dt_datetime_iso__": True, b"data": None}),
        library.packb({b"__dt_timedelta__": True, b"data": [10**12, 0, 0]}),
        library.packb({b"__dt_timedelta__": True, b"data": [1, 2]}),
        library.packb({b"complex": True, b"data": "1" * 1000}),
        library.packb(library.ExtType(5, b"x")),
        library.packb(library.Timestamp(2**62, 0)),
        b"\x81\x90\x01",
        b"\xa2\xff\xfe",
        b"\x91" * 257 + b"\xc0",
    ],
)
def test_msgpack_that_is_refused(body):
    with pytest.raises(truss_msgpack.RefusedError, match=r"^(?!.*99999999999).+"):
        truss_msgpack.unpack(body)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\x89PNG\r\n\x1a\n", b"\xdd\xff\xff\xff\xff", b"\x91" * 5000]
)
def test_what_is_no_msgpack(body):
    with pytest.raises(ValueError, match="not one whole msgpack value") as raised:
        truss_msgpack.unpack(body)
    assert not isinstance(raised.value, truss_msgpack.RefusedError)


def test_as_deep_as_it_goes():
    assert truss_msgpack.unpack(b"\x91" * 256 + b"\xc0")
