"""What an answer becomes: an output with every byte of it, or a failure that keeps what was paid for."""

import base64
import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest

from airflow_provider_baseten.batch import failure_record
from airflow_provider_baseten.exceptions import BasetenResponseError
from tests.batch.conftest import errors_of, lines_of, outputs_of

EXACT = [
    b'{"n": 18446744073709551617}',
    b'{"n":-123456789012345678901234567890}',
    b"[1234567890123.4567890123456789, 0.1000, 1e2, 1E+2, -0, -0.0]",
    b'{"big": 1e400, "small": 1e-400}',
    b"1" * 4000,
    b'"text"',
    b"true",
    b"null",
    b'{"a": 1, "a": 2}',
    b'{"cut": "\\ud83d"}',
    b'{"\\ud83d": "\\udc00\\ud83d"}',
    '{"t": "ü 😀 \\u0000 \\u2028"}'.encode(),
    b"[" * 500 + b"]" * 500,
    b'{"__classname__": "builtins.object"}',
    b" [ 1 ,\t2 ] ",
]


def raw_outputs(manifest):
    """Return the text of each output as it stands in JSONL parts."""
    lines = b"".join(Path(part).read_bytes() for part in manifest.parts).splitlines()
    return {json.loads(line)["row"]: line.partition(b'"output":')[2][:-1] for line in lines}


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_an_answer_keeps_its_bytes(ask, output_format):
    manifest = ask(lambda body: EXACT[int(body)], inputs=list(range(len(EXACT))), output_format=output_format)
    assert manifest.failed == 0
    if output_format == "jsonl":
        assert raw_outputs(manifest) == dict(enumerate(EXACT))
    else:
        texts = pyarrow.parquet.read_table(manifest.parts[0]).column("output").to_pylist()
        assert texts == [text.decode() for text in EXACT]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\xef\xbb\xbf[1]", b"[1]"),
        ('{"a": "ü"}'.encode("utf-16"), '{"a": "ü"}'.encode()),
        ("[1]".encode("utf-32-le"), b"[1]"),
        (b'"\xed\xa0\xbd"', b'"\\ud83d"'),
        (b'{\r\n  "a": [\r1,\n2]\r\n}\r\n', b'{    "a": [ 1, 2]  }'),
        (b'{"cut":\r\n"\\ud83d"\n}', b'{"cut":  "\\ud83d" }'),
        ('["\x85\u2028\u2029"]'.encode(), b'["\\u0085\\u2028\\u2029"]'),
    ],
)
def test_a_line_is_utf8_on_one_line(ask, body, text):
    manifest = ask(body, inputs=[1, 2])
    (part,) = manifest.parts
    with Path(part).open() as lines:
        assert [json.loads(line)["row"] for line in lines] == [0, 1]
    assert len(Path(part).read_text().splitlines()) == 2
    assert raw_outputs(manifest) == {0: text, 1: text}


def test_kept_columns_and_failures_are_on_one_line_too(ask):
    rows = [{"id": 1, "t": "a\u2028b\r\n"}, {"id": 2, "t": "\x85"}]
    manifest = ask(
        lambda body: b"[NaN,\r\n'\xe2\x80\xa8']" if b'"id":2' in body else b"1", inputs=rows, keep_columns=["t"]
    )
    for uri in (*manifest.parts, *manifest.failed_parts):
        assert len(Path(uri).read_text().splitlines()) == 1
    assert lines_of(*manifest.parts)[0]["t"] == "a\u2028b\r\n"
    assert lines_of(*manifest.failed_parts)[1]["t"] == "\x85"


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"score": NaN}', "output['score'] is nan; JSON can't carry that"),
        (b"[1e400, -Infinity]", "output[1] is -inf"),
        (b'["\\ud83d", Infinity]', "has no form in JSON"),
        (b"[%b]" % (b"1" * 5000), "holds a whole number of 5,000 digits"),
        (b'{"a": ', "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b'{"a": "\x00"}', "is not JSON"),
        (b'{"a": "caf\xe9"}', "is not JSON"),
        (b"\x00\x00", "is not JSON"),
        (b" ", "is not JSON"),
        (b"", "is empty"),
        (b"[" * 100_000 + b"]" * 100_000, "is not JSON"),
        (b"1e99999999999999999999", "is not JSON"),
        ((200, "text/html; charset=utf-8", b"<html>log in</html>"), "HTML page"),
        ((200, "image/png", b"\x89PNG\r\n"), "is image/png, which has no form in JSON"),
        ((200, "", b""), "is empty"),
    ],
)
def test_what_is_not_json_fails_its_row_and_is_kept(ask, server, answer, words, output_format):
    bad = answer if isinstance(answer, tuple) else (200, "application/json", answer)
    arguments = {"inputs": [1, 2, 3], "output_format": output_format}
    manifest = ask(lambda body: bad if body == b"2" else b'"good"', **arguments)
    assert (manifest.succeeded, manifest.outcomes["BasetenResponseError"]) == (2, 1)
    ((number, error),) = errors_of(manifest).items()
    assert number == 1
    assert words in error["message"]
    kept = error["response"].encode() if "response" in error else base64.b64decode(error["response_base64"])
    assert kept == bad[2]
    sent = len(server.bodies)
    assert ask(b'"good"', **arguments).succeeded == 3
    assert server.bodies[sent:] == [b"2"]


def test_no_content_is_null(ask):
    assert outputs_of(ask((204, "", b""), inputs=[1])) == {0: None}


def test_a_large_answer_is_kept_as_far_as_a_record_goes(ask, monkeypatch):
    monkeypatch.setattr(failure_record, "MAX_RECORDED_BYTES", 1000)
    answers = [b'["' + b"x" * 997 + "ü".encode() * 50 + b'", NaN]', b"\xff" * 5000]
    errors = errors_of(ask(lambda body: answers[int(body)], inputs=[0, 1]))
    assert (errors[0]["response"], errors[0]["response_bytes"]) == ('["' + "x" * 997, len(answers[0]))
    assert (base64.b64decode(errors[1]["response_base64"]), errors[1]["response_bytes"]) == (b"\xff" * 1000, 5000)


class TestFunctions:
    def test_they_get_and_give_exact_numbers(self, ask):
        seen = []

        def see(output):
            seen.extend(output)
            return {"sum": 2 * output[0], "price": output[1]}

        manifest = ask(b"[18446744073709551617, 1234567890123.4567890123456789]", inputs=[1], output_filter=see)
        assert seen == [18446744073709551617, Decimal("1234567890123.4567890123456789")]
        assert raw_outputs(manifest) == {0: b'{"sum":36893488147419103234,"price":1234567890123.4567890123456789}'}

    def test_nan_fails_no_row_but_its_own(self, ask):
        answer = b'[NaN, 18446744073709551617, {"a": [-Infinity]}, "\\ud83d"]'
        manifest = ask(answer, inputs=[1, 2, 3, 4], rows_per_request=4)
        assert raw_outputs(manifest) == {1: b"18446744073709551617", 3: b'"\\ud83d"'}
        errors = errors_of(manifest)
        assert errors[0]["response"] == answer.decode()
        assert errors[2]["response_row"] == 0

    def test_a_filter_may_leave_nan_out(self, ask):
        manifest = ask(b'{"label": "a", "score": NaN}', inputs=[1], output_filter=lambda output: output["label"])
        assert outputs_of(manifest) == {0: "a"}

    def test_outputs_of_a_list_keep_their_bytes(self, ask):
        manifest = ask(b'[ {"n": 18446744073709551617} , 0.10 ]', inputs=[1, 2], rows_per_request=2)
        assert raw_outputs(manifest) == {0: b'{"n": 18446744073709551617}', 1: b"0.10"}

    def test_split_output_gets_exact_numbers(self, ask):
        manifest = ask(
            b'{"all": [18446744073709551617, "\\ud83d"]}',
            inputs=[1, 2],
            rows_per_request=2,
            split_output=lambda answer: answer["all"],
        )
        assert raw_outputs(manifest) == {0: b"18446744073709551617", 1: b'"\\ud83d"'}

    @pytest.mark.parametrize(
        "make", [lambda: float("nan"), lambda: [float("inf")], lambda: {1, 2}, object, lambda: b"x", lambda: {(1,): 2}]
    )
    def test_what_they_return_without_a_form_in_json_fails_its_row(self, ask, server, make):
        manifest = ask(lambda body: body, inputs=[1, 2], output_filter=lambda output: make() if output == 2 else output)
        assert outputs_of(manifest) == {0: 1}
        error = errors_of(manifest)[1]
        assert (error["type"], error["response"], error["may_have_run"]) == ("BasetenResponseError", "2", True)
        assert len(server.bodies) == 2

    def test_what_holds_itself_fails_its_row(self, ask):
        def looped(output):
            loop = [output]
            loop.append(loop)
            return loop

        assert errors_of(ask(b"1", inputs=[1], output_filter=looped))[0]["response"] == "1"

    def test_half_an_emoji_is_kept_as_its_escape(self, ask):
        manifest = ask(b'{"t": "\\ud83d"}', inputs=[1], output_filter=lambda output: output["t"])
        assert raw_outputs(manifest) == {0: b'"\\ud83d"'}

    def test_an_error_of_a_filter_never_sends_the_request_again(self, ask, server):
        def refuse(output):
            if output == 2:
                raise BasetenResponseError("no", error_code=["x"], status=10**400, request_id=b"x", retryable=True)
            return output

        manifest = ask(b"[1, 2, 3, 4]", inputs=[1, 2, 3, 4], rows_per_request=4, output_filter=refuse, idempotent=True)
        assert outputs_of(manifest) == {0: 1, 2: 3, 3: 4}
        assert errors_of(manifest)[1]["response"] == "2"
        assert len(server.bodies) == 1


def test_an_answer_for_many_rows_is_kept_once(ask):
    manifest = ask(b'{"error": "busy"}', inputs=[1, 2, 3], rows_per_request=3)
    errors = errors_of(manifest)
    assert errors[0]["response"] == '{"error": "busy"}'
    assert [errors[row]["response_row"] for row in (1, 2)] == [0, 0]
    assert "is an error of the server: busy" in errors[0]["message"]


def test_an_error_of_the_model_s_own_is_its_output(ask):
    assert outputs_of(ask(b'{"error": "no face found"}', inputs=[1])) == {0: {"error": "no face found"}}


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_kept_columns_keep_their_digits(ask, output_format, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": 123456789012345678901, "p": 1.10, "t": "ü", "b": true, "n": null}\n')
    names = ["p", "t", "b", "n"]
    manifest = ask(
        b"1",
        input_path=str(tmp_path / "in.jsonl"),
        model_input="t",
        id_column="id",
        keep_columns=names,
        output_format=output_format,
    )
    if output_format == "jsonl":
        assert lines_of(*manifest.parts)[0]["t"] == "ü"
    else:
        (row,) = pyarrow.parquet.read_table(manifest.parts[0]).to_pylist()
        assert (row["t"], row["b"], row["n"], float(row["p"])) == ("ü", "true", None, 1.1)


class TestUsage:
    @pytest.mark.parametrize(
        "count", [b"true", b"-1", b"1" + b"0" * 400, b"9223372036854775808", b"1.5", b'"7"', b"null", b"[1]", b"{}"]
    )
    def test_what_is_no_count_is_left_out(self, ask, count):
        manifest = ask(b'{"usage": {"a": %b, "b": 2}}' % count, inputs=[1, 2])
        assert (manifest.succeeded, manifest.usage) == (2, {"b": 4})

    def test_sums_and_names_are_bounded(self, ask):
        usage = {"a": 2**62, "": 1, "\ud83d": 1, "x" * 1000: 1} | {f"k{number}": 1 for number in range(200)}
        manifest = ask(json.dumps({"usage": usage}).encode(), inputs=[1, 2, 3])
        assert manifest.succeeded == 3
        assert manifest.usage["a"] == 2**62
        assert len(manifest.usage) == 50
        assert ask(b"1", inputs=[1, 2, 3]) == manifest

    @pytest.mark.parametrize("usage", [b"null", b"[]", b"7", b'"x"'])
    def test_a_usage_that_is_no_object(self, ask, usage):
        assert ask(b'{"usage": %b}' % usage, inputs=[1]).succeeded == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"error_code": "\ud83d"},
        {"error_code": 10**400},
        {"error_code": ["x"]},
        {"error": "\ud83d \x00 half"},
        {"error": {"exception_message": ["\ud83d"]}},
    ],
)
def test_an_error_of_the_server_is_recorded_whatever_it_holds(ask, fields):
    answer = (422, "application/json", json.dumps({"error": "no", **fields}).encode())
    assert errors_of(ask(answer, inputs=[1]))[0]["status"] == 422


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=iso-8859-1", "café".encode("latin-1")),
        ("text/plain; charset=utf-16", "café".encode("utf-16")),
        ("text/plain", "café".encode()),
        ("", "café".encode()),
        ("application/json; charset=iso-8859-1", '"café"'.encode("latin-1")),
        ("application/json; charset=utf-16", '"café"'.encode("utf-16")),
        ("application/json; charset=iso-8859-1", '"café"'.encode()),
    ],
)
def test_text_is_read_in_its_charset(ask, content_type, body):
    assert outputs_of(ask((200, content_type, body), inputs=[1])) == {0: "café"}


def test_an_answer_beyond_the_limit_fails_its_row(ask):
    manifest = ask(
        lambda body: b"[1]" if body == b"1" else b'"%b"' % (b"x" * 5000), inputs=[1, 2], max_response_bytes=5000
    )
    assert outputs_of(manifest) == {0: [1]}
    assert "5,000 bytes" in errors_of(manifest)[1]["message"]
