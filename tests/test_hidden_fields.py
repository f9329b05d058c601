"""Inputs of models: a DAG's own code reads them from the task, and Airflow neither stores nor shows them."""

import pytest
from airflow.listeners import hookimpl
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

KEY = "abcd1234.s3cr3t"


@pytest.fixture
def baseten(connect):
    models = {"echo": lambda model_input: model_input}
    with Emulator(models=models, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


@pytest.fixture
def listeners():
    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # Airflow 3.1
        from airflow.listeners.listener import get_listener_manager
    yield get_listener_manager()
    get_listener_manager().clear()


def test_a_mapped_task_is_named_after_its_input(baseten, run_dag):
    with DAG("named") as dag:
        BasetenPredictOperator.partial(
            task_id="echo", model_id="echo", map_index_template="{{ task.model_input['text'] }}"
        ).expand(model_input=[{"text": "private-a"}, {"text": "private-b"}])
    run = run_dag(dag)
    assert run.states == {"echo": "success"}
    assert run.map_indexes == {("echo", 0): "private-a", ("echo", 1): "private-b"}
    assert [run.xcom("echo", map_index=index) for index in (0, 1)] == [{"text": "private-a"}, {"text": "private-b"}]
    assert len(baseten.requests) == 2
    assert {fields["model_input"] for fields in run.rendered.values()} == {"(dict, not shown)"}


def test_pre_execute_and_callbacks_read_the_rendered_input(baseten, run_dag):
    seen = []

    def note(context):
        seen.append(context["task"].model_input)

    def note_and_fail(context):
        note(context)
        raise RuntimeError("a callback of the DAG's author")

    hooks = {"pre_execute": note, "on_execute_callback": note, "on_success_callback": note_and_fail}
    with DAG("callbacks") as dag:
        BasetenPredictOperator(
            task_id="echo",
            model_id="echo",
            model_input={"texts": ["{{ 1 + 1 }}"]},
            post_execute=lambda *_: None,
            **hooks,
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("echo") == {"texts": ["2"]}
    assert seen == [{"texts": ["2"]}] * 3
    assert len(baseten.requests) == 1
    assert run.rendered["echo[-1]"]["model_input"] == "(dict, not shown)"


def test_a_callback_after_a_failure_reads_the_rendered_input(baseten, run_dag):
    seen = []
    with DAG("failure_callback") as dag:
        BasetenPredictOperator(
            task_id="echo",
            model_id="unknown",
            model_input=["{{ 1 + 1 }}"],
            headers={"X-Tenant": "{{ 1 + 2 }}"},
            on_failure_callback=lambda context: seen.append((context["task"].model_input, context["task"].headers)),
        )
    assert run_dag(dag).state == "failed"
    assert seen == [(["2"], {"X-Tenant": "3"})]


def test_a_listener_reads_the_rendered_input(baseten, run_dag, listeners):
    seen = []

    class Listener:
        @hookimpl
        def on_task_instance_running(self, previous_state, task_instance):
            seen.append(task_instance.task.model_input)

    listeners.add_listener(Listener())
    with DAG("listener") as dag:
        BasetenPredictOperator(task_id="echo", model_id="echo", model_input={"n": "{{ 1 + 1 }}"})
    assert run_dag(dag).state == "success"
    assert seen == [{"n": "2"}]


def test_a_decorated_task_is_named_after_its_arguments(baseten, run_dag):
    with DAG("decorated") as dag:

        @task.baseten_predict(model_id="echo", map_index_template="{{ task.op_kwargs['text'] }}")
        def echo(text):
            return {"text": text}

        echo.expand(text=["private-a"])
    run = run_dag(dag)
    assert run.map_indexes == {("echo", 0): "private-a"}
    assert "private-a" not in str(run.rendered)


def test_fields_rendered_again_are_those_of_before(baseten):
    with DAG("twice"):
        operator = BasetenPredictOperator(task_id="t", model_id="{{ 'echo' }}", model_input=["{{ 1 + 1 }}"])
    for _ in range(2):
        operator.render_template_fields({})
        assert (operator.model_id, operator.model_input) == ("echo", ["2"])
        assert [str(getattr(operator, name)) for name in operator.template_fields if name == "model_input"] == [
            "(list, not shown)"
        ]


def test_a_loop_over_the_fields_that_breaks_off_leaves_the_input_as_it_is(baseten):
    with DAG("hidden_when_broken_off"):
        operator = BasetenPredictOperator(task_id="t", model_id="echo", model_input=["secret"])
    operator.render_template_fields({})
    for name in operator.template_fields:
        if name == "model_input":
            break
    assert operator.model_input == ["secret"]
