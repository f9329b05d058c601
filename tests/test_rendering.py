"""Templates in a DAG with native rendering: texts stay texts in every operator."""

import pytest
from airflow.sdk import DAG
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_baseten.decorators.async_predict import BasetenAsyncPredictDecoratedOperator
from airflow_provider_baseten.decorators.batch import BasetenBatchDecoratedOperator
from airflow_provider_baseten.decorators.chat import BasetenChatDecoratedOperator
from airflow_provider_baseten.decorators.predict import BasetenPredictDecoratedOperator
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchMergeOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

KEY = "abcd1234.s3cr3t"


async def mirror(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "body": (await request.body()).decode()})


@pytest.fixture
def baseten(connect):
    server = Starlette(routes=[Route("/{rest:path}", mirror, methods=["POST"])])
    models = {"2024": lambda model_input: model_input, "2025": lambda model_input: model_input, "2026": server}
    with Emulator(models=models, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


# What Python takes for a number, a truth value, nothing, a list or a dictionary.
LITERALS = ["2024", "1e5", "True", "None", "[1]", "(1,)", '{"a": 1}', "'quoted'", "0x10", "1_000", " 5", "..."]

COMMON = {"model_id", "headers", "output_path", "baseten_conn_id"}
CASES = [
    (BasetenPredictOperator, {"model_input": 1}, COMMON | {"environment"}),
    (BasetenPredictOperator, {"model_input": 1}, COMMON | {"deployment_id"}),
    (BasetenSyncRouteOperator, {}, COMMON | {"route", "method", "data", "query_params"}),
    (BasetenAsyncPredictOperator, {"model_input": 1}, COMMON | {"webhook_endpoint"}),
    (BasetenAsyncPredictOperator, {"model_input": 1}, {"model_id", "result_path"}),
    (BasetenChatCompletionOperator, {}, COMMON | {"prompt", "model"}),
    (BasetenChatCompletionOperator, {}, COMMON | {"messages"}),
    (BasetenEmbeddingOperator, {}, COMMON | {"texts", "model"}),
    (BasetenBatchPredictOperator, {"input_path": "x"}, COMMON | {"route"}),
    (BasetenBatchPredictOperator, {}, COMMON | {"input_path"}),
    (BasetenAsyncRequestSensor, {"request_ids": "r"}, {"model_id", "result_path", "baseten_conn_id"}),
    (BasetenBatchMergeOperator, {"num_shards": 1}, {"output_path"}),
]
OPERATORS = [
    *dict.fromkeys(operator for operator, _, _ in CASES),
    BasetenAsyncPredictDecoratedOperator,
    BasetenBatchDecoratedOperator,
    BasetenChatDecoratedOperator,
    BasetenPredictDecoratedOperator,
]


def rendered(make, context):
    with DAG("d", schedule=None, render_template_as_native_obj=True):
        operator = make()
    operator.render_template_fields(context)
    return operator


def shaped(name, text):
    """Return an argument that holds this text."""
    match name:
        case "headers" | "query_params":
            return {"k": text}
        case "messages":
            return [{"role": "user", "content": [{"text": text}]}]
    return text


@pytest.mark.parametrize(("operator", "arguments", "texts"), CASES)
@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.parametrize("template", ["{literal}", "{{{{ params.x }}}}", "{{% if 1 %}}{{{{ params.x }}}}{{% endif %}}"])
def test_texts_arrive_as_they_were_written(operator, arguments, texts, literal, template):
    text = template.format(literal=literal)
    given = arguments | {name: shaped(name, text) for name in texts}
    made = rendered(lambda: operator(task_id="t", **given), {"params": {"x": literal}})
    assert {name: getattr(made, name) for name in texts} == {name: shaped(name, literal) for name in texts}


@pytest.mark.parametrize("value", [5, 1.5, True])
def test_a_number_that_an_expression_gives_becomes_a_text(value):
    made = rendered(lambda: predict(environment="{{ params.x }}"), {"params": {"x": value}})
    assert made.environment == str(value)


@pytest.mark.parametrize("request_id", ["2024", "1e5", "True", "None", "0x10", "1_000"])
def test_ids_stay_texts(request_id):
    for template in (request_id, "{{ params.x }}"):
        arguments = {"task_id": "t", "model_id": "abc", "request_ids": template}
        made = rendered(lambda: BasetenAsyncRequestSensor(**arguments), {"params": {"x": request_id}})  # noqa: B023
        assert made.request_ids == request_id


@pytest.mark.parametrize("value", [["r1", "r2"], ["1", "2"], []])
def test_an_expression_may_give_a_list_of_ids(value):
    def make():
        return BasetenAsyncRequestSensor(task_id="t", model_id="abc", request_ids="{{ params.x }}")

    assert rendered(make, {"params": {"x": value}}).request_ids == value


def test_an_expression_may_give_headers_and_nothing():
    made = rendered(
        lambda: predict(headers="{{ params.h }}", deployment_id="{{ params.d }}"),
        {"params": {"h": {"A": "1"}, "d": None}},
    )
    assert (made.headers, made.deployment_id) == ({"A": "1"}, None)


def test_inputs_are_native_as_the_dag_asks():
    made = rendered(lambda: predict(model_input={"n": "{{ params.n }}", "t": "2024"}), {"params": {"n": 5}})
    assert made.model_input == {"n": 5, "t": 2024}
    with DAG("d", schedule=None, render_template_as_native_obj=True):
        route = BasetenSyncRouteOperator(task_id="t", model_id="m", route="r", json={"n": "{{ 1 + 1 }}"})
    route.render_template_fields({})
    assert route.json == {"n": 2}


def test_a_field_of_a_user_s_operator_is_native_if_the_operator_says_so():
    class Chat(BasetenChatCompletionOperator):
        template_fields = (*BasetenChatCompletionOperator.template_fields, "limits", "note")
        native_fields = (*BasetenChatCompletionOperator.native_fields, "limits")

        def __init__(self, *, limits, note, **kwargs):
            super().__init__(**kwargs)
            self.limits = limits
            self.note = note

    arguments = {"limits": "{{ [1, 2] }}", "note": "{{ 1 }}", "options": {"seed": "{{ 1 }}"}}
    made = rendered(lambda: Chat(task_id="t", model_id="abc", prompt="1", **arguments), {})
    assert (made.limits, made.note, made.options, made.prompt) == ([1, 2], "1", {"seed": 1}, "1")


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_native_fields_are_template_fields_and_include_those_of_the_bases(operator):
    assert set(operator.native_fields) <= set(operator.template_fields)
    for base in operator.__bases__:
        assert set(getattr(base, "native_fields", ())) <= set(operator.native_fields)


def test_without_native_rendering_nothing_changes():
    with DAG("d", schedule=None):
        made = predict(headers={"A": "{{ params.n }}"}, model_input={"n": "{{ params.n }}"})
    made.render_template_fields({"params": {"n": 5}})
    assert (made.headers, made.model_input) == ({"A": "5"}, {"n": "5"})


def test_a_whole_run_with_mapped_tasks(baseten, run_dag):
    with DAG("native", render_template_as_native_obj=True, params={"model": "2024"}) as dag:
        predict(
            "plain", model_id="{{ params.model }}", headers={"X-V": "{{ 1e5 | int }}"}, model_input={"n": "{{ 1 }}"}
        )
        BasetenPredictOperator.partial(task_id="mapped", model_input="{{ 1 + 1 }}", headers={"X-V": "7"}).expand(
            model_id=["2024", "2025"]
        )
        BasetenSyncRouteOperator(task_id="route", model_id="2026", route="1", method="POST", data='{"a": 1}')
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("plain") == {"n": 1}
    assert [run.xcom("mapped", map_index=index) for index in (0, 1)] == [2, 2]
    assert sorted(request.headers["x-v"] for request in baseten.requests if "x-v" in request.headers) == [
        "100000",
        "7",
        "7",
    ]
    assert run.xcom("route") == {"path": "/1", "body": '{"a": 1}'}


def predict(task_id="t", **arguments):
    return BasetenPredictOperator(task_id=task_id, **{"model_id": "abc", "model_input": 1} | arguments)
