"""Rows of many kinds as requests of OpenAI-compatible and text-embedding servers; against a custom server."""

import json

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator import Emulator
from tests.batch.conftest import KEY, lines_of, outputs_of, write_jsonl


class CustomServer:
    """Answers as the servers do that the presets are made for, and remembers bodies by path."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = json.loads(body)
        self.bodies.append((scope["path"], request))
        answer = getattr(self, scope["path"].rpartition("/")[2])(request)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def completions(self, request):
        text = request["messages"][-1]["content"]
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached": 0}}
        return {"choices": [{"message": {"content": text.upper()}}], "usage": usage}

    def embeddings(self, request):
        data = [{"index": index, "embedding": [float(len(text)), 0.5]} for index, text in enumerate(request["input"])]
        return {"data": data[::-1], "usage": {"prompt_tokens": len(data), "total_tokens": len(data)}}

    def predict(self, request):
        return [[{"label": text, "score": 1.0}] for (text,) in request["inputs"]]

    def rerank(self, request):
        scores = [{"index": index, "score": float(len(text))} for index, text in enumerate(request["texts"])]
        return sorted(scores, key=lambda item: -item["score"])


@pytest.fixture
def server():
    return CustomServer()


@pytest.fixture
def ask(run, server):
    with Emulator(models={"server": server}, api_key=KEY) as emulator:
        yield lambda **arguments: run(target=Target(model_id="server"), base_url=emulator.url, **arguments)


def test_chat(ask, server, tmp_path):
    messages = [{"role": "user", "content": "b"}]
    rows = ["a", messages, {"messages": messages, "temperature": 0}, {"prompt": "c"}]
    manifest = ask(preset="chat", inputs=rows, parameters={"model": "m", "temperature": 1})
    assert [outputs_of(manifest)[row]["choices"][0]["message"]["content"] for row in (0, 1, 2)] == ["A", "B", "B"]
    assert manifest.usage == {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    bodies = sorted((body for _, body in server.bodies), key=json.dumps)
    user = {"role": "user"}
    assert bodies == sorted(
        [
            {"model": "m", "temperature": 1, "messages": [user | {"content": "a"}]},
            {"model": "m", "temperature": 1, "messages": messages},
            {"model": "m", "temperature": 0, "messages": messages},
        ],
        key=json.dumps,
    )
    assert {path for path, _ in server.bodies} == {"/v1/chat/completions"}
    assert "takes a text, a list of messages" in lines_of(*manifest.failed_parts)[3]["error"]["message"]


def test_chat_of_a_column(ask, server, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"id": 1, "question": "a"}])
    manifest = ask(
        preset="chat",
        input_path=path,
        model_input="question",
        id_column="id",
        output_filter=lambda answer: answer["choices"][0]["message"]["content"],
    )
    assert lines_of(*manifest.parts) == {0: {"row": 0, "id": 1, "output": "A"}}
    assert manifest.usage["total_tokens"] == 5


def test_embeddings_are_split_by_their_index(ask, server):
    texts = ["x" * length for length in range(1, 11)]
    rows = [{"text": text} for text in texts]
    manifest = ask(preset="embeddings", inputs=rows, model_input="text", rows_per_request=4, parameters={"model": "m"})
    assert outputs_of(manifest) == {row: [row + 1.0, 0.5] for row in range(10)}
    assert sorted(len(body["input"]) for _, body in server.bodies) == [2, 4, 4]
    assert {(path, body["model"]) for path, body in server.bodies} == {("/v1/embeddings", "m")}
    assert manifest.usage == {"prompt_tokens": 10, "total_tokens": 10}
    assert manifest.sent == 3


def test_embeddings_as_parquet(ask):
    import pyarrow as pa
    import pyarrow.parquet

    manifest = ask(preset="embeddings", inputs=["a", "bb"], rows_per_request=2, output_format="parquet")
    table = pyarrow.parquet.read_table(manifest.parts[0])
    assert table.schema.field("output").type == pa.list_(pa.field("element", pa.float32()))
    assert table.column("output").to_pylist() == [[1.0, 0.5], [2.0, 0.5]]


def test_a_row_that_can_not_be_embedded_leaves_the_others_together(ask, server):
    manifest = ask(preset="embeddings", inputs=["a", 5, "b"], rows_per_request=3)
    assert outputs_of(manifest).keys() == {0, 2}
    assert [body["input"] for _, body in server.bodies] == [["a", "b"]]
    assert "not int" in lines_of(*manifest.failed_parts)[1]["error"]["message"]


def test_classify(ask, server):
    manifest = ask(preset="classify", inputs=["a", "b", "c"], rows_per_request=2, parameters={"raw_scores": True})
    assert outputs_of(manifest) == {row: [{"label": text, "score": 1.0}] for row, text in enumerate("abc")}
    assert ("/predict", {"raw_scores": True, "inputs": [["a"], ["b"]]}) in server.bodies


def test_rerank_of_whole_rows(ask, server):
    manifest = ask(preset="rerank", inputs=[{"query": "q", "texts": ["a", "bb"]}] * 2, rows_per_request=5)
    scores = [{"index": 1, "score": 2.0}, {"index": 0, "score": 1.0}]
    assert outputs_of(manifest) == {0: scores, 1: scores}
    assert server.bodies == [("/rerank", {"query": "q", "texts": ["a", "bb"]})] * 2


def test_rerank_of_texts_of_one_query_at_a_time(ask, server):
    rows = [{"query": query, "text": text} for query, text in [("q", "a"), ("q", "bb"), ("q", "c"), ("r", "dd")]]
    manifest = ask(preset="rerank", inputs=rows, rows_per_request=2, max_concurrency=1)
    assert {row: output["score"] for row, output in outputs_of(manifest).items()} == {0: 1.0, 1: 2.0, 2: 1.0, 3: 2.0}
    assert [(body["query"], body["texts"]) for _, body in server.bodies] == [
        ("q", ["a", "bb"]),
        ("q", ["c"]),
        ("r", ["dd"]),
    ]


def test_a_route_replaces_that_of_the_preset(ask, server, tmp_path):
    ask(preset="embeddings", inputs=["a"], route="custom/embeddings")
    ask(inputs=[{"inputs": [["a"]]}], route="my/predict", output_path=f"{tmp_path}/out2")
    assert [path for path, _ in server.bodies] == ["/custom/embeddings", "/my/predict"]
