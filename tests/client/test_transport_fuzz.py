"""Whatever bytes a server answers, both transports end alike: with the right output, or an error of the package."""

import asyncio
import gc
import gzip
import json
import random
import tracemalloc
import zlib
from collections import Counter
from dataclasses import dataclass

import pytest

from airflow_provider_baseten.api import truss_msgpack
from airflow_provider_baseten.api.errors import MAX_RETRY_AFTER
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import decode_model_output
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.transport import Transport
from airflow_provider_baseten.exceptions import BasetenError, BasetenResponseError, BasetenUnavailableError
from tests.scripted_server import ScriptedServer, raw

SEED = 20261127
ONCE = RequestRetries(max_attempts=1)
MAX_BYTES = 100_000

ANY = object()  # Of this answer only that both transports end alike.
FAILS = object()  # This answer is an error.

JSON = "application/json"
MSGPACK = "application/octet-stream"
VALUES = (
    None,
    True,
    0,
    -1.5,
    10**18,
    "",
    "caf\u00e9 \u20ac \U0001f600",
    [],
    {},
    [1, [2, {"a": None}]],
    {"output": "x" * 3000},
)


@dataclass
class Ending:
    """How a call ended: with a value, or with an error."""

    value: object = None
    error: BasetenError | None = None

    @property
    def summary(self):
        if self.error is None:
            return "value", type(self.value), repr(self.value)
        error = self.error
        return type(error), error.status, error.retryable, error.may_have_run, error.error_code, error.request_id


class BothTransports:
    """Sends a request over both transports; each has a port, and so a connection, of its own."""

    def __init__(self, runner):
        self._runner = runner

    def ends(self, data, content_type=JSON):
        return [self._end(send, data, content_type) for send in (self._send_blocking, self._send_in_loop)]

    def _end(self, send, data, content_type):
        request = build_predict(Target(model_id="abc"), 1, content_type=content_type)
        with ScriptedServer(raw(data)) as server:
            credentials = Credentials(
                api_key="key",
                base_url=server.url,
                request_retries=ONCE,
                max_response_bytes=MAX_BYTES,
                timeout=10,
            )
            try:
                return Ending(decode_model_output(send(credentials, request)))
            except BasetenError as error:
                return Ending(error=error)

    def _send_blocking(self, credentials, request):
        transport = Transport(credentials)
        try:
            return transport.send(request)
        finally:
            transport.close()

    def _send_in_loop(self, credentials, request):
        async def send():
            transport = AsyncTransport(credentials)
            try:
                return await transport.send(request)
            finally:
                await transport.close()

        return self._runner.run(send())


@pytest.fixture
def client(monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # A collection that begins deep inside an answer would run finalizers with no stack left.
    gc.disable()
    with asyncio.Runner() as runner:
        yield BothTransports(runner)
    gc.enable()


def check(ends, expected, note):
    """Compare how both transports ended with each other and with what is right.

    Errors are alike in type, status, id, and in what they say about a repetition. Their texts differ: the one of a lost
    connection names the type of the library's error.
    """
    blocking, in_loop = ends
    assert blocking.summary == in_loop.summary, f"{note}\n{blocking}\n{in_loop}"
    for end in ends:
        if end.error is not None:
            text = str(end.error)
            assert len(text) < 2500, note
            assert text.isprintable(), note
            assert end.error.__cause__ is None, note
    if expected is FAILS:
        assert blocking.error is not None, f"{note}\n{blocking}"
    elif expected is not ANY:
        assert blocking.error is None, f"{note}\n{blocking}"
        assert repr(blocking.value) == repr(expected), note


# One whole answer, from the inside out.


def payload(rng):
    """Return a Content-Type (of the request, of the answer), a body and the value that it stands for."""
    value = rng.choice(VALUES)
    plain = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    match rng.randrange(11):
        case 0 | 1 | 2:
            return (
                JSON,
                rng.choice([JSON, f"{JSON}; charset=utf-8", "Application/JSON", "application/x+json"]),
                plain.encode(),
                value,
            )
        case 3:
            charset, text = rng.choice(
                [("latin-1", "caf\u00e9"), ("shift_jis", "\u65e5\u672c"), ("utf-16-le", "\u20ac"), ("cp1252", "\u20ac")]
            )
            return JSON, f"text/plain; charset={charset}", text.encode(charset), text
        case 4:
            return (
                JSON,
                rng.choice(["text/plain", "text/csv; charset=none", "text/plain; charset=\xe9"]),
                b"a,b\n",
                "a,b\n",
            )
        case 5:
            return MSGPACK, MSGPACK, truss_msgpack.pack(value), value
        case 6:
            data = b"\x89PNG\xff" + rng.randbytes(rng.randrange(2000))
            return (
                JSON,
                rng.choice(["image/png", "application/x-unknown", "application/msgpack", "audio/*"]),
                data,
                data,
            )
        case 7:
            return JSON, rng.choice(["text/html", "text/html; charset=utf-8"]), b"<html>login</html>", FAILS
        case 8:
            return JSON, JSON, rng.choice([b"", b"{", plain.encode() + b"]", b"\xff", b"[" * 50_000]), FAILS
        case 9:
            return MSGPACK, MSGPACK, rng.randbytes(rng.randrange(1, 40)), ANY
        case _:
            return JSON, "text/plain", b"", None


def packed(rng, body, value):
    """Return the lines of a Content-Encoding, the body in it and the value, or ``FAILS`` where it lies."""
    raw_deflate = zlib.compressobj(wbits=-15)
    cut = rng.randrange(1, 8)
    options = [
        ([], body, value),
        ([], body, value),
        ([rng.choice(["identity", "utf-8", "", "none, identity"])], body, value),
        ([rng.choice(["gzip", "x-gzip", "GZIP", "gzip, identity"])], gzip.compress(body), value),
        (["gzip"], gzip.compress(body[:5]) + gzip.compress(body[5:]), value),
        (["gzip"], gzip.compress(body) + b"\0\0junk", value),
        (["deflate"], zlib.compress(body), value),
        (["deflate"], raw_deflate.compress(body) + raw_deflate.flush(), value),
        (["gzip, gzip"], gzip.compress(gzip.compress(body)), value),
        (["deflate, gzip"], gzip.compress(zlib.compress(body)), value),
        (["gzip, gzip, gzip, gzip"], body, FAILS),
        ([rng.choice(["br", "zstd", "gzip, br"])], body, FAILS),
        (["gzip"], gzip.compress(body)[:-cut], FAILS),
        (["deflate"], zlib.compress(body)[: -min(cut, 4)], FAILS),
        (["gzip"], b"{" + body, FAILS),
        (["deflate"], b"\xff" + body, FAILS),
    ]
    names, data, value = rng.choice(options)
    return [f"Content-Encoding: {name}".encode() for name in names], data, value


def chunks(rng, body):
    """Return a body in chunks of random sizes, with extensions and trailers."""
    data = b""
    while body:
        size = rng.randrange(1, len(body) + 1)
        extension = rng.choice([b"", b"", b";a", b";a=b", b' ;name="v;w"', b";" + b"x" * 200])
        number = rng.choice([b"%x", b"%X", b"00%x"]) % size
        data += number + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    trailers = rng.choice(
        [b"", b"", b"X-Trailer: a\r\n", b"X-Trailer: a\r\nContent-Encoding: gzip\r\nX-T: " + b"b" * 300 + b"\r\n"]
    )
    return data + b"0" + rng.choice([b"", b";last"]) + b"\r\n" + trailers + b"\r\n"


def framed(rng, body, value):
    """Return header lines that say where a body ends, the body with its frame, and the value."""
    length = b"Content-Length: %d" % len(body)
    chunked = b"Transfer-Encoding: chunked"
    more = rng.randrange(1, 100)
    whole = chunks(rng, body)
    right = [
        ([length], body, value),
        ([length, length], body, value),
        ([chunked], whole, value),
        ([chunked], whole, value),
        ([rng.choice([b"transfer-encoding:Chunked", b"Transfer-Encoding:  chunked "])], whole, value),
        ([b"Connection: close"], body, value),
        ([length], body + b"more than it said" * more, value),
    ]
    wrong = [
        ([b"Content-Length: %d" % (len(body) + more)], body, FAILS),
        ([b"Content-Length: %d" % max(0, len(body) - more)], body, ANY),
        ([length, b"Content-Length: %d" % (len(body) + 1)], body, FAILS),
        ([rng.choice([b"Content-Length: ten", b"Content-Length: 1,2", b"Content-Length: -5"])], body, FAILS),
        ([b"Content-Length:"], body, FAILS),
        ([b"Content-Length: %d" % 10 ** rng.randrange(10, 40)], body, FAILS),
        ([chunked, length], whole, ANY),
        ([chunked], whole[: rng.randrange(len(whole))], FAILS),
        ([chunked], rng.choice([b"zz\r\n", b"-5\r\n", b"0x5\r\n", b"1_0\r\n", b"\r\n", b"f" * 40]) + whole, FAILS),
        ([chunked], whole.replace(b"\r\n0", b"xx0", 1), FAILS if b"\r\n0" in whole else ANY),
        ([rng.choice([b"Transfer-Encoding: gzip", b"Transfer-Encoding: gzip, chunked"])], whole, FAILS),
    ]
    # Of an answer with two faults the transports may find another one first, and so differ in the kind of error.
    return rng.choice(right if value is FAILS or rng.random() < 0.6 else wrong)


ODD_LINES = (
    *(b"X-A: caf\xc3\xa9", b"X-A: caf\xe9", b"X-A:", b"X-A: one\r\n two", b"X-A: one\r\n\ttwo\r\n three"),
    *(b"no colon", b"Bad Name: x", b": no name", b"X-A : space", b"\xff\xfe: x", b"X-A: " + b"a" * 8000),
    *(
        b"X-Baseten-Request-Id: r1",
        b"X-Baseten-Request-Id: \xe9",
        b"Retry-After: 5",
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
    ),
    *(
        b"Keep-Alive: timeout=-1",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Date: never",
        b"Location: http://[bad",
    ),
    *(
        b"X-Baseten-Error-Source: 04",
        b"X-A: a\r\n \r\n b",
        b"X-Baseten-Request-Id: " + b"r" * 3000,
        b"X-A\t: tab",
        b"From here: x",
        b"X-A: a\x0bb",
    ),
)
# Where such a line ends is a matter of opinion.
UNCLEAR_LINES = (b"X-A: a\0b", b"X-A: a\rContent-Encoding: gzip", b"X-A: a\r", b"\0", b"\0: x")
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 X\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 199 \r\nno colon\r\n\r\n",
)


def headed(rng, status, lines, data):
    """Return an answer as bytes: interim ones, a status line, header lines in any order, the body."""
    lines = [*lines, *rng.choices(ODD_LINES, k=rng.choice([0, 0, 1, 3, 6]))]
    rng.shuffle(lines)
    # The async transport takes no chunks from a server that speaks HTTP/1.0, which has none.
    chunked = any(line.lower().startswith(b"transfer-encoding") for line in lines)
    first = b"HTTP/1.%d %d%s" % (
        1 if chunked else rng.choice([1, 1, 0]),
        status,
        rng.choice([b" OK", b" ", b"", b" caf\xe9"]),
    )
    before = b"".join(rng.choices(INTERIM, k=rng.choice([0, 0, 0, 1, 3])))
    return before + b"\r\n".join([first, *lines, b"", b""]) + data


def whole_answer(rng, status=200):
    """Return the request's Content-Type, an answer and its value."""
    asked, content_type, body, value = payload(rng)
    encoding, body, value = packed(rng, body, value)
    frame, body, value = framed(rng, body, value)
    lines = [*frame, *encoding, f"Content-Type: {content_type}".encode("latin-1")]
    return asked, headed(rng, status, lines, body), value


def mutated(rng, data):
    """Return an answer with a few bytes changed, added or left out."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        piece = rng.choice([b"", b"\r", b"\n", b"\0", b":", b" ", b"\xff", b"0", b"\r\n\r\n", rng.randbytes(3)])
        changed[at : at + rng.randrange(4)] = piece
    return bytes(changed)


RETRY_AFTER = (
    *(0, -1, 5, 1.5, 1e308, 10**400, True, None, [], {}, [5], "5", " 7 ", "-3", "1e999", "nan", "inf", "x", "", "1_0"),
    *("\u0663", "\ud800", "9" * 5000, "0" * 5000, "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"),
    *("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 99 Foo 2030 99:99:99", "0x10", "1" * 30, "5, 6", "5;x", "-inf"),
)


def error_answer(rng):
    """Return an answer with a status that is none of success, and a body of any kind."""
    status = rng.choice([300, 304, 307, 400, 401, 404, 408, 413, 422, 429, 451, 500, 502, 503, 504, 529, 599, 600, 999])
    asked = rng.choice(RETRY_AFTER)
    fields = {"error": rng.choice(["no", "", None, [1], {"exception_message": "\n" * 50 + "e" * 9000}, "x\u202ey"])}
    fields |= {"error_code": rng.choice([1, "code", ["x"], "c" * 9000]), "retry_after": asked}
    plain = rng.choice([json.dumps(fields).encode(), b"", b"<html>", b"\xff\xfe", b"[" * 20_000, b"1" * 5000])
    encoding, body, _ = packed(rng, plain, ANY)
    content_type = rng.choice([JSON, "text/html", "text/plain; charset=utf-16", "a/b", ""]).encode()
    lines = [b"Content-Length: %d" % len(body), *encoding, b"Content-Type: " + content_type]
    header = str(rng.choice(RETRY_AFTER)).encode(errors="replace").replace(b"\n", b"")
    return headed(rng, status, [*lines, b"Retry-After: " + header], b"" if status == 304 else body)


def run(client, number, data, asked, expected):
    ends = client.ends(data, asked)
    check(ends, expected, f"seed {SEED}-{number}, expected {expected!r:.80}: {data[:3000]!r}")
    return ends


class TestAnswers:
    def test_right_output_or_an_error(self, client):
        endings = Counter()
        for number in range(800):
            asked, data, value = whole_answer(random.Random(f"{SEED}-{number}"))
            endings[type(run(client, number, data, asked, value)[0].error)] += 1
        assert min(endings[type(None)], endings[BasetenResponseError], endings[BasetenUnavailableError]) > 100

    def test_heads_that_are_not_clear(self, client):
        for number in range(100):
            rng = random.Random(f"{SEED}-{number}")
            lines = [b"Content-Length: 1", b"Content-Type: application/json", rng.choice(UNCLEAR_LINES)]
            expected = ANY if lines[2] == b"X-A: a\r" else FAILS
            run(client, number, headed(rng, 200, lines, b"1"), JSON, expected)

    def test_errors_and_waits_that_are_asked_for(self, client):
        for number in range(400):
            data = error_answer(random.Random(f"{SEED}-{number}"))
            waits = [end.error.retry_after for end in run(client, number, data, JSON, FAILS)]
            if waits != [None, None]:
                assert all(0 <= wait <= MAX_RETRY_AFTER for wait in waits), number
                assert abs(waits[0] - waits[1]) < 5, number

    def test_changed_bytes_are_no_foreign_error(self, client):
        """Which faults of HTTP are forgiven differs between the transports; a value that both take is the same."""
        for number in range(300):
            rng = random.Random(f"{SEED}-{number}")
            asked, data, _ = whole_answer(rng)
            data = mutated(rng, data)
            blocking, in_loop = client.ends(data, asked)
            if blocking.error is None and in_loop.error is None:
                assert blocking.summary == in_loop.summary, f"seed {SEED}-{number}: {data[:3000]!r}"


CUT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PACKED = gzip.compress(b'{"a": [1, 2]}', mtime=0)
CHUNKED = b"0009;x\r\n" + PACKED[:9] + b"\r\n%x\r\n" % len(PACKED[9:]) + PACKED[9:] + b"\r\n00\r\nX-T: a\r\n\r\n"


class TestCutAnswers:
    @pytest.mark.parametrize(
        "data",
        [
            CUT + b'Content-Length: 13\r\n\r\n{"a": [1, 2]}',
            CUT + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
            CUT + b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n" + CHUNKED,
            CUT + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + PACKED,
        ],
        ids=["length", "gzip and length", "gzip and chunks", "gzip until the end"],
    )
    def test_cut_at_each_byte(self, client, data):
        check(client.ends(data), {"a": [1, 2]}, data)
        body = data.index(b"\r\n\r\n", len(CUT)) + 4
        for end in range(len(data)):
            ends = client.ends(data[:end])
            # Nothing of a body that the end of the connection ends is a body of nothing, not a cut one.
            check(ends, ANY if end == body else FAILS, data[:end])
            assert all(each.error is not None for each in ends), data[:end]

    def test_head_without_a_body(self, client):
        data = b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
        for end in range(len(data)):
            check(client.ends(data[:end]), FAILS, data[:end])
        check(client.ends(data), None, data)


class TestBombs:
    @pytest.mark.parametrize("layers", [1, 2, 3])
    @pytest.mark.parametrize("status", [200, 307, 500])
    @pytest.mark.parametrize("kind", ["gzip", "deflate"])
    def test_memory_is_bounded(self, client, layers, status, kind):
        pack = gzip.compress if kind == "gzip" else zlib.compress
        body = b"\0" * 20_000_000
        for _ in range(layers):
            body = pack(body)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Encoding: {', '.join([kind] * layers)}"
        tracemalloc.start()
        try:
            ends = client.ends(head.encode() + b"\r\nLocation: /\r\n\r\n" + body)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()
        check(ends, FAILS, kind)
