"""msgpack bodies of strangers, and a program that lets a decoder read them.

``python tests/fuzz/msgpack_bodies.py DECODER SEED COUNT`` reads with ``client`` or ``emulator`` and uses what the
bodies hold. A decoder may raise ``ValueError``; anything else, a crash or much memory ends the program with another
code than 0.
"""

import random
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import numpy as np

MAX_BYTES = 700_000_000

TYPES = ["b1", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "S3", "U2", "S0", "U0", "M8", "M8[ns]"]
TYPES += ["M8[25s]", "m8[D]", "M8[0s]", "M8[s/3]", "O", "O8", "V4", "V", "V0", "a3", "p", "P", "T16", "i3", "i16", "?"]
TYPES += [
    "i4,O",
    "(2,2)i4",
    "O,",
    "float64",
    "object",
    "",
    "S99999999",
    "U99999999",
    "i4\x00",
    "\u0661",
    "B",
    "i4:O",
    "c32",
]

TAGS = [
    b"__dt_datetime_iso__",
    b"__dt_date_iso__",
    b"__dt_time_iso__",
    b"__dt_timedelta__",
    b"__decimal__",
    b"__uuid__",
]
TAGS += [b"complex"]

LEAVES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, -(2**63), 1.5, float("nan"), "", "text", "1e9", "2024-05-01", "NaN", "sNaN",
    "1e999999999999999999999", "9" * 5000, "2024-05-01T12:00:00Z", "12:30", "(1+2j)", "\x00", b"", b"\xff" * 16, [],
    {}, [1, 2, 3], ["a", 1, None], [1e300, 0, 0], [2**63, 0, 0], {1: 2}, {b"data": 1}, msgpack.Timestamp(1, 2),
    msgpack.Timestamp(2**62, 0), msgpack.ExtType(5, b"x"),
]  # fmt: skip

VALID: list[Any] = [
    {"a": [1, None, "\u00fc", b"\x00", 1.5, True], 0: 0.1, -5: "x", None: 1},
    [datetime(2024, 5, 1, 12, 30, tzinfo=UTC), date(2024, 5, 1), time(12, 30), timedelta(days=1, microseconds=3)],
    [Decimal("1.10"), UUID(int=5), 1 + 2j, np.float32(1.5), np.bool_(True), np.int64(-3)],
    {"rows": np.arange(6, dtype="f4").reshape(2, 3), "names": np.array(["a", "bc"])},
    {"when": np.array(["NaT"], "M8[s]")},
    [np.zeros((0, 768)), np.array(5), np.array([True, False]), np.array([b"a", b"bc"]), np.eye(2, dtype=">c16")],
]  # fmt: skip


def array_form(**fields: Any) -> bytes:
    """Return the body of an array of one int16, with other fields."""
    form = {"nd": True, "type": "<i2", "kind": b"", "shape": [1], "data": b"ab", **fields}
    return bytes(msgpack.packb({name.encode(): value for name, value in form.items() if value is not ...}))


def hostile() -> Iterator[bytes]:
    """Yield bodies that are made to hurt."""
    address = struct.pack("<Q", 0x4141414141414141)
    for type_ in TYPES:
        for order in ("", "<", ">", "|", "="):
            for data in (b"", b"\xff" * 8, address, b"\xff" * 64):
                for shape in ([], [1], [0], [len(data)], [len(data) // 4]):
                    yield array_form(type=order + type_, shape=shape, data=data)
                yield array_form(nd=False, type=order + type_, data=data)
    for shape in (None, 1, "1", [-1], [-2, -1], [True], [1.0], [2**63], [2**62, 4], [2**32, 2**32], [10**9, 0],
                  [1] * 33, [1] * 65, [2**63] * 1000, [0, 2**62, 2**62], [[1]], {}, [0] * 64):  # fmt: skip
        yield array_form(shape=shape)
        yield array_form(shape=shape, data=b"")
    for kind in ("", "O", b"O", b"V", "V", None, [], {}, b"\x00"):
        yield array_form(kind=kind)
        yield array_form(kind=kind, type=[["f0", "|O"]], data=address)
        yield array_form(kind=kind, type=[["f0", "<i2", [1]]])
    for tag in TAGS:
        yield from (bytes(msgpack.packb([{tag: True, b"data": leaf}])) for leaf in LEAVES)
        yield from (bytes(msgpack.packb({tag: leaf})) for leaf in LEAVES)
    yield from (bytes(msgpack.packb(leaf)) for leaf in LEAVES)
    yield b"\x82\xa1a\x01\xa1a\x02"  # One key twice
    yield b"\x81\x90\x01"  # A list as key
    yield b"\x81\x82\xc4\x0b__decimal__\xc3\xc4\x04data\xa4sNaN\x01"  # A key that has no hash
    yield b"\xa2\xff\xfe"
    yield b"\x91\xa3\xed\xa0\x80"
    for head in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                 b"\xc9\xff\xff\xff\xff\x01"):  # fmt: skip
        yield head
        yield head + b"\x00" * 1000
    yield (b"\xdd" + struct.pack(">I", 5_000_000)) * 1000 + b"\x00" * 5_000_000
    for depth in (100, 256, 257, 511, 1023, 1024, 1025, 100_000):
        yield b"\x91" * depth + b"\xc0"
        yield b"\x81\xa0" * depth + b"\xc0"
        yield b"\x81" * depth + b"\xc0" * (depth + 1)
    yield b"\xdd" + struct.pack(">I", 50_000) + array_form(shape=[60_000, 0], data=b"") * 50_000


def random_bodies(seed: int, count: int) -> Iterator[bytes]:
    """Yield random bytes, random forms, and valid bodies with some bytes changed."""
    rng = random.Random(seed)
    valid = [bytes(msgpack.packb(value, default=_encode)) for value in VALID]
    for _ in range(count):
        match rng.randrange(4):
            case 0:
                yield rng.randbytes(rng.randrange(40))
            case 1:
                yield array_form(
                    nd=rng.choice([True, True, True, False, 1, None]),
                    type=rng.choice("<>|=") + rng.choice(TYPES),
                    shape=[rng.choice([0, 1, 2, 3, 8, 2**31, 2**63]) for _ in range(rng.randrange(4))],
                    data=rng.randbytes(rng.choice([0, 1, 2, 4, 8, 16, 64])),
                    kind=rng.choice([b"", b"", b"", ..., b"O", b"V"]),
                )
            case _:
                body = bytearray(rng.choice(valid))
                for _ in range(rng.randrange(1, 4)):
                    body[rng.randrange(len(body))] = rng.randrange(256)
                cut = rng.randrange(len(body)) if rng.random() < 0.1 else len(body)
                yield bytes(body[:cut])


def _encode(value: Any) -> Any:
    from airflow_provider_baseten.api.truss_msgpack import pack

    return msgpack.unpackb(pack(value))


def use(decoded: Any) -> None:
    """Do what callers do with values: read arrays as lists, print them, look for what is not zero."""
    left = [decoded]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, np.ndarray | np.generic):
            value.tolist()
            np.nonzero(np.atleast_1d(value))
            value.copy()
            if value.dtype.kind != "M":  # numpy's own words fail for dates without a unit.
                str(value)
        else:
            str(value)


def main(decoder: str, seed: str, count: str) -> int:
    """Read the bodies; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
    decode = decoder_of(decoder)
    for body in [*hostile(), *random_bodies(int(seed), int(count))]:
        try:
            use(decode(body))
        except ValueError:
            continue
        except BaseException as error:
            sys.stdout.write(
                f"seed {seed}: {body[:200]!r} ({len(body)} bytes) raises {type(error).__name__}: {error}\n"
            )
            return 1
    # Not ru_maxrss, which begins with the memory of the process that started this one.
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    used = int(peak.split()[1]) * 1024
    sys.stdout.write(f"seed {seed}: {used:,} bytes of memory\n")
    return 0 if used < MAX_BYTES else 2


def decoder_of(name: str) -> Callable[[bytes], Any]:
    """Return the decoder of the client or of the emulator."""
    if name == "client":
        from airflow_provider_baseten.api.truss_msgpack import unpack

        return unpack
    from airflow_provider_baseten.emulator.serialization import from_msgpack

    return from_msgpack


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main(*sys.argv[1:]))
