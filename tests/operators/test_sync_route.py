"""BasetenSyncRouteOperator in a real Airflow, against a custom server behind the emulator."""

import pytest
from airflow.sdk import DAG
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.storage.outputs import read_output

KEY = "abcd1234.s3cr3t"
PNG = b"\x89PNG\r\n\x1a\n\xff"


async def mirror(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.query_params.multi_items(),
            "type": request.headers.get("content-type"),
            "team": request.headers.get("x-team"),
            "body": body.decode(),
        }
    )


SERVER = Starlette(
    routes=[
        Route("/v1/{rest:path}", mirror, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        Route("/text", lambda request: PlainTextResponse("grüße")),
        Route("/image", lambda request: Response(PNG, media_type="image/png")),
        Route("/empty", lambda request: Response(status_code=204)),
        Route("/missing", lambda request: JSONResponse({"id": None}, 404)),
        Route("/large", lambda request: PlainTextResponse("x" * 300_000)),
        Route("/huge", lambda request: PlainTextResponse("x" * 6_000_000)),
    ]
)


@pytest.fixture
def baseten(connect):
    with Emulator(models={"srv": SERVER}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


def call(task_id, route, **arguments):
    return BasetenSyncRouteOperator(task_id=task_id, model_id="srv", route=route, **arguments)


def test_methods_routes_queries_headers_and_bodies(baseten, run_dag):
    with DAG("routes") as dag:
        call("get", "v1/a/b", query_params={"q": "{{ ti.task_id }} &", "tag": ["x", "y"]}, headers={"X-Team": "data"})
        call("post", "/v1/items", method="post", json={"n": "{{ 1 + 1 }}"})
        call("put", "v1/{{ ti.task_id }}", method="PUT", data="a,b", headers={"Content-Type": "text/csv"})
        call("delete", "v1/x", method="DELETE", deployment_id="{{ params.deployment }}", params={"deployment": "srvd1"})
    run = run_dag(dag)
    empty = {"query": [], "type": None, "team": None, "body": ""}
    query = [["q", "get &"], ["tag", "x"], ["tag", "y"]]
    assert run.xcom("get") == empty | {"method": "GET", "path": "/v1/a/b", "query": query, "team": "data"}
    post = {"method": "POST", "path": "/v1/items", "type": "application/json", "body": '{"n":"2"}'}
    assert run.xcom("post") == empty | post
    assert run.xcom("put") == empty | {"method": "PUT", "path": "/v1/put", "type": "text/csv", "body": "a,b"}
    assert {request.deployment_id for request in baseten.requests} == {None, "srvd1"}


def test_answers_by_their_content_type(baseten, run_dag, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
    with DAG("answers") as dag:
        call("text", "text")
        call("image", "image")
        call("empty", "empty")
        call("large", "large")
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("text") == "grüße"
    assert "return_value" not in run.keys("empty")
    assert run.xcom("image")["uri"] == f"file://{tmp_path}/outputs/{run.xcom('image', 'request_id')}.bin"
    assert read_output(run.xcom("image")) == PNG
    assert read_output(run.xcom("large")) == "x" * 300_000


def test_allowed_statuses_check_and_filter(baseten, run_dag):
    with DAG("checks") as dag:
        call("allowed", "missing", allowed_statuses=range(404, 410))
        call("not_allowed", "missing")
        call("checked", "text", response_check=lambda response: response.output() == "grüße")
        call("refused", "text", response_check=lambda response: "ok" in response.output())
        call("filtered", "text", response_filter=lambda response: {"length": len(response.body)})
        call("filtered_huge", "huge", response_filter=lambda response: {"length": len(response.body)})
        call("unfit", "text", response_filter=lambda response: object())
    run = run_dag(dag)
    failed = {task_id for task_id, state in run.states.items() if state == "failed"}
    assert failed == {"not_allowed", "refused", "unfit"}
    assert run.xcom("allowed") == {"id": None}
    assert run.xcom("checked") == "grüße"
    assert run.xcom("filtered") == {"length": 7}
    assert run.xcom("filtered_huge") == {"length": 6_000_000}


def test_payload_is_not_among_the_rendered_templates(baseten, run_dag):
    with DAG("private_routes") as dag:
        call("json", "v1/x", method="POST", json={"a": "private-1"}, query_params={"q": "private-2"})
        call("data", "v1/x", method="POST", data="private-3", headers={"X-Team": "private-4"})
    run = run_dag(dag)
    assert run.state == "success"
    assert run.rendered["json[-1]"]["route"] == "v1/x"
    assert "private-" not in str(run.rendered)


@pytest.mark.parametrize("route", ["a/../../predict", "%2e%2e/x", "//evil.example/", "a\nb", "x?y=1"])
def test_route_that_leaves_the_server_is_never_sent(baseten, run_dag, route):
    with DAG("bad_route") as dag:
        call("bad", route)
    assert run_dag(dag).state == "failed"
    assert baseten.requests == []
