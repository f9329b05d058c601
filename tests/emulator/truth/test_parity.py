"""The same requests to Truss's own server, to that server behind the emulator, and to the emulator's Truss loader."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from parity_cases import CASES, PREDICT, Case
from truth_support import API_KEY, AUTHORIZED, TRUSSES

from airflow_provider_baseten.emulator import Emulator, Upstream

# What belongs to the connection or to the gateway, not to the model.
NOT_COMPARED = {"date", "server", "connection", "content-length", "transfer-encoding", "x-baseten-request-id"}


@dataclass(frozen=True)
class Answer:
    """What a caller can tell two answers apart by."""

    status: int
    framing: str
    headers: list[tuple[str, str]]
    body: bytes


def ask(http: httpx.Client, url: str, case: Case) -> Answer:
    answer = http.request(case.method, f"{url}/{case.route}", content=case.content, headers=case.headers)
    kept = sorted(item for item in answer.headers.multi_items() if item[0] not in NOT_COMPARED)
    framing = answer.headers.get("transfer-encoding") or f"length {answer.headers.get('content-length')}"
    return Answer(answer.status_code, framing, kept, answer.content)


def through_gateway(case: Case) -> Case:
    """The same request as a caller of Baseten sends it."""
    predicts = (case.route, case.method) == (PREDICT, "POST")
    return replace(
        case,
        route=f"environments/production/{'predict' if predicts else 'sync/' + case.route}",
        headers={**case.headers, "authorization": f"Api-Key {API_KEY}"},
    )


@pytest.fixture(scope="module")
def emulator(truss_servers: dict[str, str]) -> Iterator[Emulator]:
    """Every Truss directory twice: loaded by the emulator, and behind it in Truss's own server."""
    loaded = {model_id("loader", name): folder for name, folder in TRUSSES.items()}
    forwarded = {model_id("upstream", name): Upstream(url) for name, url in truss_servers.items()}
    with Emulator(models={**loaded, **forwarded}, api_key=API_KEY) as emulator:
        yield emulator


def model_id(kind: str, truss: str) -> str:
    return kind + truss.replace("_", "")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
class TestParity:
    def test_truss_itself(self, http: httpx.Client, truss_servers: dict[str, str], case: Case) -> None:
        assert ask(http, truss_servers[case.truss], case).status == case.status

    @pytest.mark.parametrize("kind", ["loader", "upstream"])
    def test_emulator(
        self, http: httpx.Client, truss_servers: dict[str, str], emulator: Emulator, case: Case, kind: str
    ) -> None:
        url = f"{emulator.url}/model-{model_id(kind, case.truss)}"
        assert ask(http, url, through_gateway(case)) == ask(http, truss_servers[case.truss], case)


class Server:
    """One of the three servers of a Truss directory, by its predict route."""

    def __init__(self, http: httpx.Client, urls: dict[str, str]) -> None:
        self.http = http
        self.urls = urls

    def predict(self, truss: str, model_input: Any) -> httpx.Response:
        return self.http.post(self.urls[truss], json=model_input, headers=AUTHORIZED)


@pytest.fixture(params=["truss", "loader", "upstream"])
def server(
    request: pytest.FixtureRequest, http: httpx.Client, truss_servers: dict[str, str], emulator: Emulator
) -> Server:
    if request.param == "truss":
        return Server(http, {name: f"{url}/{PREDICT}" for name, url in truss_servers.items()})
    targets = {name: f"model-{model_id(request.param, name)}/environments/production" for name in TRUSSES}
    return Server(http, {name: f"{emulator.url}/{target}/predict" for name, target in targets.items()})


def test_predict_concurrency(server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda _: server.predict("gauge", {"limit": 2}), range(6))
    assert max(answer.json()["peak"] for answer in answers) == 2


def test_a_stream_arrives_while_the_model_still_works(server: Server) -> None:
    with server.http.stream("POST", server.urls["gate"], json={}, headers=AUTHORIZED) as answer:
        chunks = answer.iter_text()
        assert next(chunks) == "before;"
        assert server.predict("gate", "open").json() == "opened"
        assert "".join(chunks) == "after"


def test_an_upload_in_chunks(server: Server) -> None:
    parts = (b"x" * 100_000 for _ in range(30))
    answer = server.http.post(server.urls["request_only"], content=parts, headers=AUTHORIZED)
    assert answer.json() == {"bytes": 3_000_000, "content_type": None}


def test_an_unhandled_error_does_not_spoil_the_next_request(server: Server) -> None:
    """Truss closes the connection after such an error without saying so."""
    inputs = [{"output": "object"}, {"output": "text"}] * 15
    assert [server.predict("arrays", model_input).status_code for model_input in inputs] == [500, 200] * 15


@pytest.mark.parametrize("kind", ["loader", "upstream"])
def test_the_model_sees_the_request_id(http: httpx.Client, emulator: Emulator, kind: str) -> None:
    url = f"{emulator.url}/model-{model_id(kind, 'request_beside_input')}/production/predict"
    answer = http.post(url, json={"header": "x-baseten-request-id"}, headers=AUTHORIZED)
    assert answer.json()["header"] == answer.headers["x-baseten-request-id"] == emulator.requests[-1].request_id
