"""BasetenEmbeddingOperator with a real embedding model, and the vectors that Baseten's own client gets."""

import json
import re
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from airflow.sdk import DAG
from baseten_performance_client import PerformanceClient, RequestProcessingPreference
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_baseten.api.openai import embeddings
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError, BasetenResponseError
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.storage.outputs import read_output
from example_dags import match_tickets
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


@pytest.mark.parametrize("texts_per_request", [1, 2, 6, 7, 100])
def test_a_list_gives_a_list_of_vectors_however_many_requests_it_takes(expected, seen, run_dag, texts_per_request):
    with DAG("many") as dag:
        embed(texts=TEXTS, texts_per_request=texts_per_request)
    run = run_dag(dag)
    np.testing.assert_array_equal(as_array(run.xcom("embed")), expected)
    assert len(seen()) == -(-len(TEXTS) // texts_per_request)
    assert run.xcom("embed", "usage")["total_tokens"] > 20
    assert set(run.xcom("embed", "usage")) == {"prompt_tokens", "total_tokens"}


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:2], TEXTS[3]])
@pytest.mark.parametrize("name", ["vectors.json", ""])
def test_output_path_is_one_file(vectors, expected, run_dag, tmp_path, texts, name):
    with DAG("one_file") as dag:
        embed(texts=texts, texts_per_request=2, output_path=f"{tmp_path}/out/{name}")
    reference = run_dag(dag).xcom("embed")
    (file,) = (tmp_path / "out").iterdir()
    assert reference["uri"].endswith(str(file))
    wanted = expected[3] if isinstance(texts, str) else expected[: len(texts)]
    np.testing.assert_array_equal(as_array(read_output(reference)), wanted)


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


def test_thirty_three_texts_are_a_list_of_vectors_too(connect, run_dag):
    texts = ["x" * (index + 1) for index in range(33)]
    with Emulator(models={"vectors": LengthsAsVectors(None)}, api_key=KEY) as emulator, DAG("one_more") as dag:
        connect(host=emulator.url, password=KEY)
        embed(texts=texts)
        run = run_dag(dag)
        assert run.xcom("embed") == [[float(index + 1)] for index in range(33)]
        assert [request.method for request in emulator.requests].count("POST") == 2


@pytest.mark.parametrize("xcom_max_bytes", ["100", "262144"])
def test_example_with_more_tickets_than_one_request_takes(connect, run_dag, tmp_path, monkeypatch, xcom_max_bytes):
    monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", xcom_max_bytes)
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
    tickets = tmp_path / "tickets.json"
    tickets.write_text(json.dumps([{"text": "x" * (index + 1)} for index in range(33)]))
    monkeypatch.setattr(match_tickets, "TICKETS", tickets)
    with Emulator(models={match_tickets.MODEL_ID: LengthsAsVectors(None)}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        run = run_dag(match_tickets.match_tickets())
    # The longest page has the longest vector.
    assert run.xcom("match") == [max(match_tickets.PAGES, key=len)] * 33


def test_many_vectors_are_one_reference(connect, run_dag, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "1000")
    texts = ["x" * (index % 500 + 1) for index in range(2500)]
    with Emulator(models={"vectors": LengthsAsVectors(None)}, api_key=KEY) as emulator, DAG("very_many") as dag:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        embed(texts=texts)
        run = run_dag(dag)
    reference = run.xcom("embed")
    assert reference["uri"].startswith(f"file://{tmp_path}/outputs/")
    assert read_output(reference) == [[float(len(text))] for text in texts]


def test_a_cleared_task_sends_again(connect, tmp_path):
    model = LengthsAsVectors(None)
    with Emulator(models={"vectors": model}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        for max_tries, sent in ((1, 7), (1, 7), (3, 14)):
            operator = embed(texts=TEXTS, texts_per_request=2)
            ti = SimpleNamespace(
                dag_id="d",
                run_id="r",
                task_id="embed",
                map_index=-1,
                max_tries=max_tries,
                try_number=1,
                xcom_push=lambda **_: None,
            )
            assert operator.execute({"ti": ti}) == [[float(len(text))] for text in TEXTS]
            assert len(model.made) == sent


def test_a_retry_of_many_texts_pays_only_for_what_is_missing(connect, run_dag, tmp_path, capfd):
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
    assert run.xcom("embed") == [[float(len(text))] for text in TEXTS]
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


@pytest.mark.parametrize(
    "arguments",
    [{"texts_per_request": odd} for odd in (0, -1, True, 2.0, "2")]
    + [{"dimensions": odd} for odd in (0, True, "7", 10**30)],
)
def test_bad_arguments_are_found_when_the_dag_is_parsed(arguments):
    with pytest.raises(BasetenInputError, match=next(iter(arguments))):
        embed(texts="x", **arguments)


VECTOR = [1.0, 2.0]


def item(embedding=VECTOR, **fields):
    return {"object": "embedding", "index": 0, "embedding": embedding, **fields}


class TestAnswersWithoutAVectorForEachText:
    @pytest.mark.parametrize(
        "answer",
        [
            {"data": []},
            {"data": None},
            {"data": {"0": VECTOR}},
            {"data": [item(index=1)]},
            {"data": [item(index=None)]},
            {"data": [item(index="0")]},
            {"data": [item(index=False)]},
            {"data": [item(index=[0])]},
            {"data": [item(), item()]},
            {"data": [item(), item(index=1)]},
            {"data": [{"index": 0}]},
            {"data": [VECTOR]},
            {"data": [None]},
            *[
                {"data": [item(vector)]}
                for vector in (
                    *(None, [], "AACAPw==", [VECTOR], [1.0, None], [1.0, "2"], [True, False], {"0": 1.0}, 1.0),
                    *([1.0, float("nan")], [float("inf")], [10**400], {"dense": VECTOR}),
                )
            ],
            {"vectors": [VECTOR]},
        ],
    )
    def test_fail(self, scripted, run_dag, capfd, answer):
        emulator = scripted(answer | {"usage": {"prompt_tokens": 3, "total_tokens": 3}})
        with DAG("no_vector") as dag:
            embed(model_id="chat", texts=["a"])
        run = run_dag(dag)
        assert run.states == {"embed": "failed"}
        assert "not one vector for each of the 1 texts" in "".join(capfd.readouterr())
        assert run.xcom("embed", "usage") == {"prompt_tokens": 3, "total_tokens": 3}
        assert [request.method for request in emulator.requests].count("POST") == 1

    @pytest.mark.parametrize("answer", [None, [], 7, "text", [VECTOR]])
    def test_of_another_kind_fail(self, answer):
        with pytest.raises(BasetenResponseError, match="not one vector"):
            read(answer, 1)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ({"error": {"message": "out of memory"}}, "server: out of memory"),
            ({"error": "out of memory", "data": [item()]}, "server: out of memory"),
            ({"object": "error", "message": "out of memory"}, "server: out of memory"),
            ({"detail": "Not Found"}, "server: Not Found"),
        ],
    )
    def test_errors_of_the_server(self, answer, words):
        with pytest.raises(BasetenModelError, match=words):
            read(answer, 1)

    def test_vectors_of_several_lengths_fail(self):
        with pytest.raises(BasetenResponseError, match="each of the 2 texts"):
            read({"data": [item(), item([1.0], index=1)]}, 2)


@pytest.mark.parametrize(("texts", "texts_per_request"), [("a", 32), (["a", "b"], 32), (["a", "b", "c"], 1)])
@pytest.mark.parametrize("dimensions", [1, 3, 4096])
def test_vectors_of_another_length_than_was_asked_for_are_no_success(
    scripted_vectors, run_dag, capfd, tmp_path, texts, texts_per_request, dimensions
):
    with DAG("ignored_dimensions") as dag:
        embed(texts=texts, texts_per_request=texts_per_request, dimensions=dimensions)
    assert run_dag(dag).states == {"embed": "failed"}
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()).decode()
    # Of several requests, each that fails is recorded where its answer is.
    told = kept if len(texts) > texts_per_request else "".join(capfd.readouterr())
    assert f"holds a vector of 2 numbers instead of dimensions={dimensions}" in told
    assert "[1.5" in kept


def test_vectors_of_several_lengths_in_several_requests_are_not_retried(connect, run_dag, capfd, tmp_path):
    async def vectors(request):
        texts = (await request.json())["input"]
        return JSONResponse({"data": [{"index": 0, "embedding": [1.5] * len(texts[0])}]})

    server = Starlette(routes=[Route("/v1/embeddings", vectors, methods=["POST"])])
    with Emulator(models={"vectors": server}, api_key=KEY) as emulator, DAG("several_lengths") as dag:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        embed(texts=["a", "four"], texts_per_request=1, retries=3, retry_delay=timedelta(0))
        run = run_dag(dag)
        assert (run.states, run.tries) == ({"embed": "failed"}, {("embed", -1): 1})
        assert [request.method for request in emulator.requests].count("POST") == 2
    logged = " ".join("".join(capfd.readouterr()).split())
    assert "the vectors have different lengths, from 1 to 4 numbers" in logged
    assert "then clear the task: it sends all texts again." in logged


def test_vectors_of_the_length_that_was_asked_for_are_taken(scripted_vectors, run_dag):
    with DAG("dimensions") as dag:
        embed(texts=["a", "b", "c"], texts_per_request=2, dimensions=2)
    assert run_dag(dag).xcom("embed") == [[1.5, 2.5]] * 3


@pytest.fixture
def scripted_vectors(connect, tmp_path):
    """Server that makes vectors of two numbers, whatever it is asked for."""

    async def vectors(request):
        texts = (await request.json())["input"]
        return JSONResponse({"data": [{"index": index, "embedding": [1.5, 2.5]} for index in range(len(texts))]})

    server = Starlette(routes=[Route("/v1/embeddings", vectors, methods=["POST"])])
    with Emulator(models={"vectors": server}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        yield emulator


def test_vectors_are_floats_in_the_order_of_the_texts():
    answer = {"data": [item([1, 0.5], index=1), item([0.1234567890123456789012, 2], index=0)], "detail": None}
    assert read(answer, 2) == [[0.12345678901234568, 2.0], [1.0, 0.5]]
    body = b'{"data": [{"index": 0, "embedding": [0.12345678901234567890123, 100000000000000000000001]}]}'
    assert read(body, 1) == [[0.12345678901234568, float(10**23 + 1)]]


def read(answer, count):
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    request = embeddings.build_embeddings(Target(model_id="abc"), ["x"] * count)
    headers = {"content-type": "application/json"}
    return embeddings.read_embeddings(Response(request=request, status=200, headers=headers, body=body), count)


@pytest.mark.parametrize(
    "texts", [np.array(["a", "b"]), {"a"}, b"a", 7, None, iter(["a"]), [["a"]], [b"a"], {"a": "b"}]
)
def test_texts_of_other_types(texts):
    with pytest.raises(BasetenInputError, match="not a text"):
        embeddings.checked_texts(texts)
