"""Answers by chance: every row comes out once, as an output that every reader takes or as a failure."""

import json
import random
from pathlib import Path

import orjson
import pyarrow.parquet
import pytest

from tests.batch.conftest import lines_of

ROWS = 200

ODD = [
    *["null", "true", "false", "NaN", "-Infinity", "-1", "0", "1", "-0", "1e400", "0.1234567890123456789012"],
    *["18446744073709551617", "1" * 5000, '""', '"stop"', '"abort"', '"\\ud83d"', '"\\u0000"', '"\u2028\x85"'],
    *['"\U0001f600"', "[]", "{}", "[[]]", "[null]", "[1.5, 2]", '{"error": "no"}', '{"error": {"message": "\\ud83d"}}'],
    *["\r\n", "[" * 2000, '{"a": 1, "a": [2]}'],
]

GOOD = {
    "predict": {"label": "spam", "score": 0.5, "usage": {"tokens": 3}},
    "chat": {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    },
    "embeddings": {"data": [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": [2, 3]}], "usage": {"a": 1}},
    "classify": [[{"label": "a", "score": 0.5}], [{"label": "b", "score": 1}]],
    "rerank": [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.25}],
}

INPUTS = {
    "predict": lambda row: {"n": row},
    "chat": lambda row: f"text {row}",
    "embeddings": lambda row: f"text {row}",
    "classify": lambda row: f"text {row}",
    "rerank": lambda row: {"query": "q", "text": f"text {row}"},
}

CONTENT_TYPES = [
    *["application/json"] * 12,
    "",
    "text/plain",
    "text/html",
    "text/event-stream",
    "image/png",
    "application/x+json",
]


def changed(value, choose):
    """Return JSON of a value in which some parts are replaced by odd ones."""
    if choose.random() < 0.12:
        return choose.choice(ODD)
    match value:
        case dict():
            kept = [name for name in value if choose.random() < 0.95]
            return f"{{{', '.join(f'{json.dumps(name)}: {changed(value[name], choose)}' for name in kept)}}}"
        case list():
            items = [item for item in value for _ in range(choose.choice([*[1] * 18, 0, 2]))]
            return f"[{', '.join(changed(item, choose) for item in items)}]"
    return json.dumps(value)


def answer(value, choose):
    body = changed(value, choose).encode()
    match choose.randrange(12):
        case 0:
            body = body[: choose.randrange(len(body) + 1)]
        case 1:
            place = choose.randrange(len(body) + 1)
            body = body[:place] + choose.randbytes(choose.randrange(1, 4)) + body[place:]
        case 2:
            body = choose.randbytes(choose.randrange(30))
        case 3:
            body = body.decode().encode(choose.choice(["utf-8-sig", "utf-16", "utf-32-be"]))
        case 4:
            body = body.replace(b" ", b"\r\n")
    status = choose.choice([*[200] * 20, 201, 204, 422, 500])
    return status, choose.choice(CONTENT_TYPES), b"" if status == 204 else body


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("rows_per_request", [1, 2])
@pytest.mark.parametrize("preset", GOOD)
def test_every_row_comes_out_once(ask, server, preset, rows_per_request, output_format):
    if preset == "chat" and rows_per_request > 1:
        return
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    choose = random.Random(seed)
    value = GOOD[preset]
    if preset != "chat" and rows_per_request == 1:
        value = value[:1] if isinstance(value, list) else value | {"data": GOOD["embeddings"]["data"][:1]}
    elif preset == "predict":
        value = [value, value]
    arguments = {
        "inputs": [INPUTS[preset](row) for row in range(ROWS)],
        "preset": preset,
        "rows_per_request": rows_per_request,
        "output_format": output_format,
        "max_concurrency": 1,
    }
    first = ask(lambda body: answer(value, choose), **arguments)
    done = check_parts(first, output_format)
    failed = lines_of(*first.failed_parts)
    assert done.keys() | failed.keys() == set(range(ROWS))
    assert not done.keys() & failed.keys()
    assert (first.succeeded, first.failed) == (len(done), len(failed))
    assert all(line["error"]["message"] for line in failed.values())
    second = ask(json.dumps(value).encode(), **arguments)
    assert second.rows == ROWS
    assert check_parts(second, output_format).items() >= done.items()


def check_parts(manifest, output_format):
    """Return the outputs by row; each reader of lines finds the same."""
    if output_format == "parquet":
        rows = [row for part in manifest.parts for row in pyarrow.parquet.read_table(part).to_pylist()]
        for row in rows:
            assert row["output"] is not None
            if isinstance(row["output"], str):
                json.loads(row["output"], parse_constant=pytest.fail)
    else:
        rows = []
        for part in manifest.parts:
            lines = Path(part).read_text().splitlines()
            assert Path(part).read_bytes().count(b"\n") == len(lines)
            rows += [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert len({row["row"] for row in rows}) == len(rows)
    orjson.dumps(manifest.as_dict())
    return {row["row"]: row["output"] for row in rows}
