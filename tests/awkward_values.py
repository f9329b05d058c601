"""Values that Airflow's XComs hold, bodies of answers that they don't, and a comparison that looks at types."""

import math
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
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
