"""Values that Airflow's XComs hold, bodies of answers that they don't, and a comparison that looks at types."""

import math
import random
from typing import Any

PLAIN = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    0.1,
    -1.5e-300,
    9.9e15,
    "",
    "grüße 😀 \u2028 \x1f",
    [],
    {},
    [1, [2.5, None, {"a": {"b": [False]}}]],
    {"_x": 1, "": 2, "a__b": 3, "type": "dict", "data": [1]},
]

# JSON bodies; each decodes.
AWKWARD = [
    b'{"score": NaN}',
    b"[Infinity]",
    b"-Infinity",
    b'{"text": "a\\u0000b"}',
    b'{"a\\u0000": 1}',
    b'"cut \\ud83d"',
    b'{"\\udc00": 1}',
    b'{"n": 1e16}',
    b'{"n": 0.12345678901234567890123}',
    b'{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}',
    b'{"__type": "set", "__var": [1]}',
    b'[{"deep": {"__type": "dict"}}]',
    b'{"__id__": "x"}',
    b'{"__data__": 1}',
    b'{"__any": 1}',
    b"[" * 120 + b"]" * 120,
    b'{"uri": "file:///etc/passwd", "bytes": 1, "request_id": null, "format": "text", "baseten_conn_id": "c",'
    b' "signature": "0"}',
]


def same(one: Any, other: Any) -> bool:
    """Compare with types; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    match one:
        case float():
            return (math.isnan(one) and math.isnan(other)) or (one == other)
        case list():
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def random_value(chance: random.Random, depth: int = 4) -> Any:
    """Draw a value of JSON, now and then one that XCom does not hold."""
    pick = chance.randrange(12 if depth else 8)
    match pick:
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return chance.randrange(-(10 ** chance.randrange(1, 40)), 10 ** chance.randrange(1, 40))
        case 3:
            return chance.choice([chance.gauss(0, 10 ** chance.randrange(-5, 30)), float("nan"), float("-inf"), 1e300])
        case 4 | 5 | 6 | 7:
            letters = 'ab"\\\0\n\u2028üé😀' + ("\ud83d\udc00" if depth < 4 else "")
            return "".join(chance.choice(letters) for _ in range(chance.randrange(8)))
        case 8 | 9:
            return [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {
        f"k{n}{chance.choice(['', '__x', chr(0)])}": random_value(chance, depth - 1) for n in range(chance.randrange(4))
    }
