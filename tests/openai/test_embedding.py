"""BasetenEmbeddingOperator with a real embedding model, and the vectors that Baseten's own client gets."""

import json
import re
from datetime import timedelta

import numpy as np
import pyarrow.parquet
import pytest
from airflow.sdk import DAG
from baseten_performance_client import PerformanceClient, RequestProcessingPreference

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.results import read_output
from tests.openai.support import KEY

TEXTS = [f"private-{word} is lost" for word in ("parcel", "invoice", "dog", "Schlüssel", "train", "hope", "way")]
PARCELS = ["Where is my parcel?", "Mein Paket ist nicht da.", "The weather is fine."]


def embed(task_id="embed", **arguments):
    return BasetenEmbeddingOperator(task_id=task_id, **({"model_id": "vectors"} | arguments))


def as_array(vectors):
    return np.asarray(vectors, dtype=np.float32)


@pytest.fixture
def expected(vectors):
    """Vectors of the texts, from Baseten's performance client."""
    client = PerformanceClient(f"{vectors.url}/model-vectors/environments/production/sync", api_key=KEY)
    preference = RequestProcessingPreference(batch_size=3)
    return as_array(client.embed(TEXTS, model="m", preference=preference).numpy())


@pytest.fixture
def seen(vectors):
    before = len(vectors.requests)
    return lambda: [r for r in vectors.requests[before:] if "performance" not in r.headers["user-agent"]]


def test_a_text_and_a_list_give_the_vectors_of_baseten_s_own_client(expected, seen, run_dag):
    with DAG("vectors") as dag:
        embed("one", texts=TEXTS[3])
        embed("several", texts=TEXTS)
        BasetenEmbeddingOperator.partial(task_id="mapped", model_id="vectors").expand(texts=TEXTS[:2])
    run = run_dag(dag)
    assert run.state == "success"
    np.testing.assert_array_equal(as_array(run.xcom("one")), expected[3])
    np.testing.assert_array_equal(as_array(run.xcom("several")), expected)
    np.testing.assert_array_equal(as_array([run.xcom("mapped", map_index=index) for index in (0, 1)]), expected[:2])
    assert len(seen()) == 4
    assert {request.request_id for request in seen()} >= {
        run.xcom("one", "request_id"),
        run.xcom("several", "request_id"),
    }
    assert run.xcom("several", "usage")["total_tokens"] > run.xcom("one", "usage")["total_tokens"] > 3


def test_the_vectors_mean_something(vectors, run_dag):
    with DAG("meaning") as dag:
        embed(texts=PARCELS)
    question, same, other = as_array(run_dag(dag).xcom("embed"))
    assert question @ same > question @ other


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_a_long_list_goes_through_the_bulk_engine(expected, seen, run_dag, tmp_path, output_format):
    with DAG("bulk") as dag:
        embed(texts=TEXTS, texts_per_request=2, output_path=str(tmp_path / "out"), output_format=output_format)
    run = run_dag(dag)
    manifest = run.xcom("embed")
    assert (manifest["rows"], manifest["succeeded"], manifest["failed"]) == (7, 7, 0)
    assert len(seen()) == 4
    assert run.xcom("embed", "usage")["total_tokens"] > 20
    found = {}
    for part in manifest["parts"]:
        if output_format == "parquet":
            rows = pyarrow.parquet.read_table(part).to_pylist()
        else:
            rows = [json.loads(line) for line in open(part)]  # noqa: SIM115, PTH123
        found |= {row["row"]: row["output"] for row in rows}
    np.testing.assert_array_equal(as_array([found[row] for row in range(7)]), expected)


class LengthsAsVectors:
    """ASGI app that makes a vector of the length of a text, and refuses one text until it is told not to."""

    def __init__(self, refused):
        self.refused = refused
        self.made = []

    async def __call__(self, scope, receive, send):
        texts = json.loads((await receive())["body"])["input"]
        status = 400 if self.refused in texts else 200
        vectors = [{"index": index, "embedding": [float(len(text))]} for index, text in enumerate(texts)]
        if status == 200:
            self.made += texts
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"data": vectors}).encode()})


def test_a_retry_in_bulk_pays_only_for_what_is_missing(connect, run_dag, tmp_path, capfd):
    model = LengthsAsVectors(refused=TEXTS[4])

    def heal(context):
        model.refused = None

    with Emulator(models={"vectors": model}, api_key=KEY) as emulator, DAG("store") as dag:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        embed(
            texts=TEXTS,
            texts_per_request=2,
            retries=1,
            retry_delay=timedelta(0),
            on_retry_callback=heal,
        )
        run = run_dag(dag)
    assert run.states == {"embed": "success"}
    assert sorted(model.made) == sorted(TEXTS)
    (part, *_) = run.xcom("embed")["parts"]
    assert part.startswith(f"file://{tmp_path}/outputs/")
    assert "private-" not in "".join(capfd.readouterr()) + str(run.rendered)


def test_vectors_that_are_too_large_for_xcom_are_read_back_as_they_were(
    vectors, expected, connect, run_dag, tmp_path, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "1000")
    connect(host=vectors.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
    with DAG("large_vectors") as dag:
        embed(texts=TEXTS)
    reference = run_dag(dag).xcom("embed")
    assert reference["uri"].endswith(".json")
    np.testing.assert_array_equal(as_array(read_output(reference)), expected)


def test_texts_are_not_shown(vectors, run_dag, capfd):
    with DAG("private_texts") as dag:
        embed(texts=TEXTS[:1])
    run = run_dag(dag)
    assert run.state == "success"
    assert "private-" not in "".join(capfd.readouterr()) + str(run.rendered)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "empty list"),
        ("", "texts is an empty text"),
        (["a", ""], r"texts\[1\] is an empty text"),
        ([1], "not a text"),
    ],
)
def test_bad_texts_are_found_before_anything_is_sent(vectors, seen, run_dag, capfd, texts, words):
    with DAG("bad_texts") as dag:
        embed(texts=texts)
    assert run_dag(dag).states == {"embed": "failed"}
    assert re.search(words, "".join(capfd.readouterr()))
    assert seen() == []


@pytest.mark.parametrize("arguments", [{"texts_per_request": 0}, {"output_format": "csv"}])
def test_bad_arguments_are_found_when_the_dag_is_parsed(arguments):
    with pytest.raises(BasetenInputError, match=next(iter(arguments))):
        embed(texts="x", **arguments)


@pytest.mark.parametrize(
    "answer",
    [{"data": []}, {"data": [{"index": 1, "embedding": [1.0]}]}, {"data": [{"index": 0}]}, {"vectors": [[1.0]]}],
)
def test_answer_without_a_vector_for_each_text(scripted, run_dag, capfd, answer):
    emulator = scripted(answer | {"usage": {"prompt_tokens": 3, "total_tokens": 3}})
    with DAG("no_vector") as dag:
        embed(model_id="chat", texts=["a"])
    run = run_dag(dag)
    assert run.states == {"embed": "failed"}
    assert "not with one vector for each of the 1 texts" in "".join(capfd.readouterr())
    assert run.xcom("embed", "usage") == {"prompt_tokens": 3, "total_tokens": 3}
    assert len(emulator.requests) == 1
