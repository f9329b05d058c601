"""Values that Truss's own msgpack can hold, and a program that packs and reads them with Truss's own serialiser.

``.venv-truss/bin/python msgpack_values.py TRUSS_SERIALIZATION`` reads a JSON object from standard input: names of
values, with bodies in hexadecimal. It writes two objects: Truss's own bodies, and what Truss reads from the given ones
if that is another value.
"""

import importlib.util
import json
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

VALUES: dict[str, Any] = {
    "plain": {"a": [1, None, "\u00fc", b"\x00", 1.5, True], "\U0001f600": -(2**63), "most": 2**64 - 1},
    "datetime": datetime(2024, 5, 1, 12, 30, 0, 123456),
    "datetime in UTC": datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    "datetime with a zone": datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "last datetime": datetime.max,
    "date": date(1, 1, 1),
    "time": time(12, 30, 0, 5),
    "timedelta": timedelta(days=-1, seconds=2, microseconds=3),
    "longest timedelta": timedelta.max,
    "decimal": Decimal("0.10000000000000000000000000000000000000001"),
    "long decimal": Decimal("9" * 5000),
    "decimal NaN": Decimal("NaN"),
    "uuid": UUID(int=5),
    "complex": 1 + 2j,
    "nan": float("nan"),
    "nested": {"rows": [{"a": np.arange(3)}, {"when": date(2024, 5, 1)}]},
    "no dimension": np.array(5),
    "no rows": np.zeros((0, 768)),
    "every second": np.arange(6)[::2],
    "by columns": np.asfortranarray(np.eye(2, 3)),
    "one character": np.array(["", ""]),
}
DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "S3", "U3", ">i4", ">f8"]
VALUES |= {f"array of {dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in [*DTYPES, ">c16", ">U3"]}
VALUES |= {f"scalar of {dtype}": [np.arange(6).astype(dtype)[3]] for dtype in DTYPES}


def same(a: Any, b: Any) -> bool:
    """Return whether two values are of the same type and equal, NaN included."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape) and bool((a == b).all())
    # msgpack has its own form for these, in which they lose numpy's type.
    plain = {np.float64: float, np.bytes_: bytes, np.str_: str}
    return type(b) is plain.get(type(a), type(a)) and (bool(a == b) or str(a) == str(b) == "nan" or str(b) == "NaN")


def main(path: str) -> None:
    """Pack and read with the serialiser in that file."""
    spec = importlib.util.spec_from_file_location("truss_serialization", path)
    assert spec
    assert spec.loader
    truss = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(truss)
    given = {name: truss.truss_msgpack_deserialize(bytes.fromhex(body)) for name, body in json.load(sys.stdin).items()}
    packed = {name: truss.truss_msgpack_serialize(value).hex() for name, value in VALUES.items()}
    wrong = {name: repr(value) for name, value in given.items() if not same(VALUES[name], value)}
    json.dump([packed, wrong], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
