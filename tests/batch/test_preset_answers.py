"""Answers with status 200 that are no success: their rows fail, one by one where possible, and are sent again."""

import json

import pyarrow.parquet
import pytest

from tests.batch.conftest import errors_of, outputs_of

NOT_OF_A_PRESET = [
    b"null",
    b"true",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b"[null]",
    b"[[]]",
    b'["text"]',
    b'{"error": "busy"}',
    b'{"error": {"message": "context length exceeded", "code": 400}}',
    b'{"object": "error", "message": "busy", "type": "server_error"}',
    b'{"detail": "busy"}',
    b'[{"error": "busy"}]',
    b'{"data": null}',
    b'{"data": {}}',
    b'{"data": []}',
    b'{"data": [null]}',
    b'{"data": [[1.0]]}',
    b'{"choices": null}',
    b'{"choices": []}',
    b'{"choices": [null]}',
    b'{"choices": [{}]}',
    b"",
    b" ",
    b'{"data": [{"index": 0, "embedding": [1.0',
    (200, "text/plain", b"busy"),
    (200, "text/html", b"<p>busy</p>"),
    (200, "text/event-stream", b'data: {"choices": []}\n\n'),
    (200, "application/octet-stream", b"\x80"),
    (204, "", b""),
]
INPUTS = {"chat": "a", "embeddings": "a", "classify": "a", "rerank": {"query": "q", "text": "a"}}
GOOD = {
    "chat": b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}',
    "embeddings": b'{"data": [{"index": 0, "embedding": [1.5, -2]}]}',
    "classify": b'[[{"label": "spam", "score": 0.5}]]',
    "rerank": b'[{"index": 0, "score": 0.5}]',
}


@pytest.mark.parametrize("preset", GOOD)
def test_what_is_no_answer_of_a_preset_fails_and_is_sent_again(ask, server, preset):
    inputs = [INPUTS[preset]] * len(NOT_OF_A_PRESET)
    left = iter(NOT_OF_A_PRESET)
    manifest = ask(lambda body: next(left), inputs=inputs, preset=preset, max_concurrency=1)
    assert (manifest.succeeded, manifest.failed) == (0, len(inputs))
    errors = errors_of(manifest)
    for row, answer in enumerate(NOT_OF_A_PRESET):
        body = answer[2] if isinstance(answer, tuple) else answer
        assert errors[row]["may_have_run"] or b"<p>" in body
        assert errors[row].get("response", "") == body.decode(errors="ignore")
    for row in (9, 10, 11):
        assert "error of the server: " in errors[row]["message"]
    assert "context length exceeded" in errors[10]["message"]
    assert ask(GOOD[preset], inputs=inputs, preset=preset).succeeded == len(inputs)
    assert len(server.bodies) == 2 * len(inputs)


@pytest.mark.parametrize("preset", GOOD)
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "", "text/plain"])
def test_a_good_answer_is_known_whatever_its_content_type(ask, preset, content_type):
    manifest = ask((200, content_type, GOOD[preset]), inputs=[INPUTS[preset]], preset=preset)
    assert manifest.succeeded == 1


class TestChat:
    @pytest.mark.parametrize(
        "choice",
        [
            {"message": {"content": None}, "finish_reason": "stop"},
            {"message": {"content": ""}, "finish_reason": "stop"},
            {"message": {"content": "partial"}, "finish_reason": "abort"},
            {"message": {"content": "partial"}, "finish_reason": "error"},
            {"message": {"reasoning_content": "hm"}, "finish_reason": "stop"},
            {"message": None, "finish_reason": "stop"},
            {"delta": {"content": "partial"}, "finish_reason": None},
        ],
    )
    def test_no_success(self, ask, choice):
        assert ask(json.dumps({"choices": [choice]}).encode(), inputs=["a"], preset="chat").failed == 1

    @pytest.mark.parametrize(
        "choice",
        [
            {"message": {"content": "cut"}, "finish_reason": "length"},
            {"message": {"content": "half \ud83d"}, "finish_reason": "stop"},
            {"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"},
            {"message": {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}},
            {"message": {"content": "a"}},
        ],
    )
    def test_success(self, ask, choice):
        manifest = ask(json.dumps({"choices": [choice]}).encode(), inputs=["a"], preset="chat")
        assert outputs_of(manifest) == {0: {"choices": [choice]}}

    def test_a_stream_is_not_asked_for(self, ask, server):
        manifest = ask(GOOD["chat"], inputs=["a"], preset="chat", parameters={"stream": True})
        assert errors_of(manifest)[0]["type"] == "BasetenInputError"
        assert not server.bodies


ODD_VECTORS = [
    b"null",
    b"[]",
    b"[[1.0], [2.0]]",
    b"[null, 1]",
    b"[true, 1]",
    b"[NaN, 1.0]",
    b"[0.5, -Infinity]",
    b'["1", "2"]',
    b'"AACAPwAAAEA="',
    b"7",
    b'{"0": 1.0}',
    b"[1e400]",
    b"[1" + b"0" * 400 + b"]",
    b'[1, "\\ud83d"]',
]


def embed(body, odd=b"null"):
    """Answer with vectors in reverse order; a text that begins with ``odd`` gets an odd one."""
    texts = json.loads(body)["input"]
    items = [
        b'{"index":%d,"embedding": %b}' % (index, odd if text.startswith("odd") else b"[%d.10, 2, -3e0]" % index)
        for index, text in enumerate(texts)
    ]
    return b'{"data": [%b], "usage": {"total_tokens": 1}}' % b",".join(items[::-1])


class TestEmbeddings:
    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
    @pytest.mark.parametrize("odd", ODD_VECTORS)
    def test_an_odd_vector_fails_alone(self, ask, server, odd, output_format):
        texts = ["a", "b", "odd", "c", "d"]
        arguments = {"inputs": texts, "preset": "embeddings", "rows_per_request": 3, "output_format": output_format}
        manifest = ask(lambda body: embed(body, odd), **arguments)
        assert (manifest.succeeded, manifest.failed) == (4, 1)
        assert odd.decode() in errors_of(manifest)[2]["response"]
        assert len(server.bodies) == 2
        again = ask(embed, **arguments | {"inputs": texts})
        assert again.sent == 1
        assert json.loads(server.bodies[-1])["input"] == ["odd"]

    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
    def test_one_of_a_thousand(self, ask, output_format):
        arguments = {
            "inputs": ["odd" if row == 567 else f"t{row}" for row in range(1000)],
            "preset": "embeddings",
            "output_format": output_format,
        }
        first = ask(lambda body: embed(body, b"[[1.0], [2.0]]"), **arguments)
        assert (first.succeeded, first.failed) == (999, 1)
        second = ask(lambda body: embed(body, b"[1.0]"), **arguments)
        assert (second.succeeded, second.failed, second.sent) == (1000, 0, 1)
        if output_format == "parquet":
            rows = [row for part in second.parts for row in pyarrow.parquet.read_table(part).to_pylist()]
            assert {row["row"]: len(row["output"]) for row in rows} == {r: 1 if r == 567 else 3 for r in range(1000)}

    def test_lines_keep_the_bytes_of_vectors(self, ask, tmp_path):
        manifest = ask(embed, inputs=["a", "b"], preset="embeddings", rows_per_request=2)
        text = (tmp_path / "out" / manifest.parts[0].rpartition("/")[2]).read_text()
        assert text == '{"row":0,"output":[0.10, 2, -3e0]}\n{"row":1,"output":[1.10, 2, -3e0]}\n'

    @pytest.mark.parametrize(
        ("vector", "succeeded"),
        [(b"[16777217, 2]", 1), (b"[3.4e38, 1e-50, -0.0]", 1), (b"[1e39]", 0), (b"[-1e300]", 0)],
    )
    def test_parquet_holds_what_fits_32_bits(self, ask, vector, succeeded):
        manifest = ask(
            b'{"data":[{"index":0,"embedding":%b}]}' % vector,
            inputs=["a"],
            preset="embeddings",
            output_format="parquet",
        )
        assert manifest.succeeded == succeeded

    @pytest.mark.parametrize(
        "data",
        [
            b'[{"index": 0, "embedding": [1]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [2]}]',
            b'[{"index": -1, "embedding": [1]}, {"index": 0, "embedding": [2]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": true, "embedding": [2]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": "1", "embedding": [2]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": [1], "embedding": [2]}]',
            b'[{"embedding": [1]}, {"embedding": [2]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}, {"index": 2, "embedding": [3]}]',
            b'[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}, {"index": 1, "embedding": [3]}]',
            b'[{"index": 0, "embedding": [1]}, null]',
        ],
    )
    def test_whose_vector_is_whose_is_never_guessed(self, ask, data):
        manifest = ask(b'{"data": %b}' % data, inputs=["a", "b"], preset="embeddings", rows_per_request=2)
        assert (manifest.succeeded, manifest.failed) == (0, 2)

    @pytest.mark.parametrize(
        ("vector", "succeeded"),
        [(b'"AACAPwAAAEA="', 1), (b"[1.5]", 1), (b'""', 0), (b'"#"', 0), (b'"AAA"', 0), (b"{}", 0)],
    )
    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
    def test_base64_where_it_was_asked_for(self, ask, vector, succeeded, output_format):
        manifest = ask(
            b'{"data":[{"index":0,"embedding":%b}]}' % vector,
            inputs=["a"],
            preset="embeddings",
            parameters={"encoding_format": "base64"},
            output_format=output_format,
        )
        assert manifest.succeeded == succeeded
        if succeeded and output_format == "parquet":
            assert pyarrow.parquet.read_table(manifest.parts[0]).column("output").to_pylist() == [vector.decode()]

    def test_a_filter_gets_floats(self, ask):
        manifest = ask(
            b'{"data":[{"index":0,"embedding":[0.123456789012345678901, 2]}]}',
            inputs=["a"],
            preset="embeddings",
            output_filter=lambda vector: vector[0] * 2.0,
        )
        assert outputs_of(manifest) == {0: pytest.approx(0.246913578)}


class TestClassify:
    @pytest.mark.parametrize(
        "odd",
        [
            b"null",
            b"[]",
            b"{}",
            b'{"error": "no"}',
            b'[{"error": "no"}]',
            b'"spam"',
            b'[{"score": null}]',
            b'[{"score": NaN}]',
            b"[[]]",
        ],
    )
    def test_an_odd_item_fails_alone(self, ask, odd):
        answer = b'[[{"label": "a", "score": 1.0}], %b, {"label": "b", "score": 1}]' % odd
        manifest = ask(answer, inputs=["a", "b", "c"], preset="classify", rows_per_request=3)
        assert outputs_of(manifest) == {0: [{"label": "a", "score": 1.0}], 2: {"label": "b", "score": 1}}

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_wrong_number(self, ask, count):
        answer = json.dumps([[{"label": "a", "score": 1.0}]] * count).encode()
        assert ask(answer, inputs=["a", "b"], preset="classify", rows_per_request=2).failed == 2

    def test_half_an_emoji_in_a_label(self, ask):
        answer = b'[[{"label": "\\ud83d", "score": 1.0, "id": 18446744073709551617}]]'
        assert outputs_of(ask(answer, inputs=["a"], preset="classify")) == {0: json.loads(answer)[0]}


class TestRerank:
    ROWS = ({"query": "q", "text": "a"}, {"query": "q", "text": "b"})

    @pytest.mark.parametrize(
        "answer",
        [
            b'[{"index": 0, "score": 1.0}]',
            b'[{"index": 0, "score": 1.0}, {"index": 0, "score": 1.0}]',
            b'[{"index": 0, "score": 1.0}, {"score": 1.0}]',
            b'[{"index": 0, "score": 1.0}, {"index": -1, "score": 1.0}]',
            b'[{"index": 0, "score": 1.0}, {"index": 1, "score": 1.0}, {"index": 2, "score": 1.0}]',
            b'[{"index": 0, "score": 1.0}, null]',
        ],
    )
    def test_whose_score_is_whose_is_never_guessed(self, ask, answer, tmp_path):
        assert ask(answer, inputs=list(self.ROWS), preset="rerank", rows_per_request=2).failed == 2
        whole = {"query": "q", "texts": ["a", "b"]}
        assert ask(answer, inputs=[whole], preset="rerank", output_path=f"{tmp_path}/whole").failed == 1

    @pytest.mark.parametrize("score", [b"null", b'"1"', b"true", b"[1]", b"NaN", b"1e400"])
    def test_an_odd_score_fails_alone(self, ask, score, tmp_path):
        answer = b'[{"index": 1, "score": %b}, {"index": 0, "score": 0.50}]' % score
        manifest = ask(answer, inputs=list(self.ROWS), preset="rerank", rows_per_request=2)
        assert outputs_of(manifest) == {0: {"index": 0, "score": 0.5}}
        whole = {"query": "q", "texts": ["a", "b"]}
        assert ask(answer, inputs=[whole], preset="rerank", output_path=f"{tmp_path}/whole").failed == 1


@pytest.mark.parametrize("vector", ["[1.5, -2]", '"AADAPwAAAMA="'])
def test_vector_of_another_length_than_was_asked_for_fails_its_row(ask, vector):
    parameters = {"dimensions": 3} | ({"encoding_format": "base64"} if vector.startswith('"') else {})
    answer = b'{"data": [{"index": 0, "embedding": %s}]}' % vector.encode()
    manifest = ask(answer, inputs=["a"], preset="embeddings", parameters=parameters)
    (error,) = errors_of(manifest).values()
    assert error["type"] == "BasetenResponseError"
    assert error["may_have_run"]
    assert "holds a vector of 2 numbers instead of dimensions=3" in error["message"]
    assert error["response"] == answer.decode()
    right = ask(answer, inputs=["a"], preset="embeddings", parameters=parameters | {"dimensions": 2}, overwrite=True)
    assert right.succeeded == 1
