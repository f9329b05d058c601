"""Whatever is sent, the answer is no server error, and no file appears outside the store."""

import gzip
import json
import random
from collections import Counter

import pytest

from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.spool import Spool
from tests.webhook.deliveries import OLD_SECRET, SECRET, body, connection, signature
from tools.airflow_api import wait_until

DELIVERIES = 10_000
BOM = b"\xef\xbb\xbf"

PIECES = (
    *(
        "..",
        "/",
        "\\",
        "\0",
        "\n",
        "\r\n",
        "%2e%2e%2f",
        "%00",
        "~",
        "\u202e",
        "é",
        "\ud800",
        "😀",
        " ",
        "r1",
        "a" * 300,
    ),
    *(
        "null",
        "{}",
        "v1=",
        "v2=",
        ",",
        "=",
        "0" * 64,
        "f" * 64,
        "-1",
        "1e999",
        "NaN",
        '{"',
        "]",
        "\x7f",
        "\xff",
        "json",
    ),
    *("file:///etc/passwd", "s3://bucket/key", "memory://x/y", "prod", "other", "none", "9" * 5000, "[" * 2000),
)
HEADERS = (
    *("x-baseten-signature", "x-baseten-request-id", "content-type", "content-length", "content-encoding", "host"),
    *("transfer-encoding", "expect", "cookie", "x-forwarded-for", "accept"),
)
FIELDS = ("request_id", "model_id", "chain_id", "type", "time", "data", "errors", "extra")
TIMES = ("2026-10-01T12:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999999Z", "24:00", "now")


def text(rng):
    return "".join(rng.choices(PIECES, k=rng.randrange(5)))


def value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    match kind:
        case 0 | 1:
            return text(rng)
        case 2:
            return rng.choice([None, True, False])
        case 3:
            return rng.choice([0, -1, 10**400, 1.5, float("inf"), float("nan")])
        case 4:
            return rng.choice(TIMES)
        case 5:
            return "abcdef0123456789"[: rng.randrange(17)]
        case 6:
            return {text(rng): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [value(rng, depth + 1) for _ in range(rng.randrange(3))]


def odd_json(rng):
    """What some decoders take and others don't, as Baseten's own body would hold it."""
    data = rng.choice(
        (
            *("NaN", "-Infinity", "1e999", "1e-999999", "-0", "1" * 5000, "0.1" + "1" * 5000, "01", ".5", "+1"),
            *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\t"', "'a'", "[1,]", "{1: 2}", "/**/1", "undefined"),
            *("[" * 100 + "]" * 100, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, '{"": {"": 1}}'),
            *('{"a": 1, "a": 2}', '{"__proto__": {}}', '{"__classname__": "os.system"}', '"\u2028"'),
        )
    )
    first, second = (body(name).decode() for name in rng.sample(["r1", "r2", "../r3"], 2))
    content = rng.choice((first, first[:-1] + "," + second[1:])).replace('{"text": ', f'{{"odd": {data}, "text": ')
    content = rng.choice(("", "", "\ufeff", " \n", "\x1e", ")]}'")) + content + rng.choice(("", "", "\n", "\0", "{}"))
    encoded = content.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-7", "latin-1")), "replace")
    return rng.choice((bytes, bytes, bytes, gzip.compress))(encoded)


def fuzzed_body(rng):
    match rng.randrange(10):
        case 8 | 9:
            return odd_json(rng)
        case 0:
            return rng.randbytes(rng.randrange(200))
        case 1:
            return text(rng).encode("utf-8", "surrogatepass")
        case 2:
            return json.dumps(value(rng)).encode(rng.choice(["utf-8", "utf-16", "utf-32"]))
        case 3:
            content = bytearray(body(text(rng)))
            for _ in range(rng.randrange(1, 4)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            return bytes(content)
        case 4:
            return body("".join(rng.choices("abcdef0123456789", k=32)), age=rng.choice([0, 0, 299, -299, 301, 10**6]))
    fields = {name: value(rng) for name in rng.sample(FIELDS, rng.randrange(1, 5))}
    return body(**({"request_id": "r1"} | fields))


def fuzzed_signature(rng, content):
    right = signature(content, rng.choice([SECRET, OLD_SECRET]))
    match rng.randrange(8):
        case 0:
            return text(rng)
        case 1:
            return right.upper()
        case 2:
            return ",".join([text(rng), right, text(rng)][: rng.randrange(4)])
        case 3:
            return ",".join([right] * rng.choice([1, 15, 16, 17, 5000]))
    return right


def fuzzed_path(rng):
    if rng.randrange(4):
        return f"/webhooks/{rng.choice(['prod', 'prod', 'prod', 'unsigned', 'other'])}"
    return "/" + "/".join(rng.choice(["webhooks", "health", "prod", text(rng)]) for _ in range(rng.randrange(4)))


def fuzzed_scope(rng, content):
    headers = [(rng.choice(HEADERS), text(rng)) for _ in range(rng.choice([0, 0, 1, 3]))]
    headers += [("content-encoding", rng.choice(["gzip", "br", "identity, gzip"]))] * rng.choice([0, 0, 0, 1, 2])
    if rng.randrange(10):
        headers.append(("X-BASETEN-SIGNATURE".lower(), fuzzed_signature(rng, content)))
    return {
        "type": "http",
        "http_version": "1.1",
        "method": rng.choice(["POST"] * 12 + ["GET", "HEAD", "PUT", "OPTIONS", "BREW"]),
        "scheme": "http",
        "path": fuzzed_path(rng),
        "query_string": text(rng).encode("utf-8", "surrogatepass"),
        "headers": [(name.encode(), data.encode("utf-8", "surrogatepass")) for name, data in headers],
    }


def messages(rng, content):
    """The body in pieces, and perhaps a client that goes away before the end."""
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
    parts = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    if not rng.randrange(50):
        parts = parts[:-1]
    for part in parts:
        yield {"type": "http.request", "body": part, "more_body": True}
    if len(parts) == len(cuts):
        yield {"type": "http.disconnect"}
    yield {"type": "http.request", "body": b"", "more_body": False}
    while True:
        yield {"type": "http.disconnect"}


def test_ten_thousand_deliveries(receive, tmp_path, caplog, record_property):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - repeats a failure.
    record_property("seed", seed)
    rng = random.Random(seed)
    sender = receive(
        {
            "prod": connection(f"file://{tmp_path}/in/store", webhook_secrets=(SECRET, OLD_SECRET)),
            "unsigned": connection(f"file://{tmp_path}/in/unsigned", webhook_secrets=(), allow_unsigned_webhooks=True),
        },
        max_body_bytes=20_000,
    )
    statuses = Counter()

    async def deliver():
        content = fuzzed_body(rng)
        scope, incoming, sent = fuzzed_scope(rng, content), messages(rng, content), []

        async def receive_message():
            return next(incoming)

        async def send_message(message):
            sent.append(message)

        await sender.app(scope, receive_message, send_message)
        (status,) = (message["status"] for message in sent if message["type"] == "http.response.start")
        statuses[status] += 1
        # A failure shows what was sent.
        assert status in {200, 400, 401, 403, 404, 405, 413}, (status, scope, content)

    async def all_of_them():
        for _ in range(DELIVERIES):
            await deliver()

    sender.runner.run(all_of_them())
    assert sum(statuses.values()) == DELIVERIES
    # Each of the checks was reached many times.
    assert all(statuses[status] > 20 for status in (200, 400, 401, 403, 404, 405)), statuses
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(stored) > 20
    assert {path.parent for path in stored} == {tmp_path / "in" / "store", tmp_path / "in" / "unsigned"}
    for path in stored:  # As another decoder reads it, which refuses long integers unless it is told to leave them.
        assert json.loads(path.read_bytes().removeprefix(BOM), parse_int=str)["request_id"] == path.stem
        assert Deliveries(ResultStore(str(path.parent))).load(path.stem).request_id == path.stem
    assert all("\n" not in record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("looks_often")
def test_what_is_taken_in_any_trouble_is_stored_in_the_end(receive, bucket, tmp_path, record_property):
    """The store and the place of connections fail and recover at random, receivers end, and strangers forge."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - repeats a failure.
    record_property("seed", seed)
    rng = random.Random(seed)
    lookup_fails = [False]

    def lookup(conn_id):
        if lookup_fails[0]:
            raise OSError("down")
        return connection(bucket.uri) if conn_id == "prod" else None

    def new_receiver():
        return receive(lookup, spool=Spool(tmp_path / "spool"))

    sender = new_receiver()
    taken = {}
    for number in range(300):
        if not rng.randrange(10):
            bucket.read_only = not bucket.read_only
        if not rng.randrange(10):
            lookup_fails[0] = not lookup_fails[0]
        if not rng.randrange(40):
            sender.app.state.stop()
            sender = new_receiver()
            sender.app.state.start()
        name = f"r{number // 2}" if rng.randrange(2) else f"s{number}"
        content = body(name, data=[number])
        kind = rng.randrange(4)
        if kind == 0:
            sender.deliver(body(name, data="forged"), signed=signature(content))
            sender.deliver(content, conn_id="made-up")
        else:
            assert sender.deliver(content).status_code == 200
            taken.setdefault(name, []).append(number)
    bucket.read_only = lookup_fails[0] = False
    sender.app.state.start()
    wait_until(lambda: not list((tmp_path / "spool").glob("*.*")), 30, "the spool to be empty", every=0.02)
    store = ResultStore(bucket.uri)
    assert {path.removeprefix("/bucket/results/") for path in bucket.find("/bucket")} == {f"{n}.json" for n in taken}
    assert all(Deliveries(store).load(name).output()[0] in numbers for name, numbers in taken.items())
