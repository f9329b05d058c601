"""@task.baseten_predict and @task.baseten_async_predict in a real Airflow, against the emulator."""

import datetime

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.compat import AirflowSkipException
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.waiting.results import AsyncResults
from tests.decorators.conftest import KEY

NOW = {"retries": 1, "retry_delay": datetime.timedelta(0)}
MODES = {
    "predict": (task.baseten_predict, {}),
    "deferred_predict": (task.baseten_predict, {"deferrable": True}),
    "async_predict": (task.baseten_async_predict, {"deferrable": False, "poll_interval": 0.5}),
    "deferred_async_predict": (task.baseten_async_predict, {"deferrable": True, "poll_interval": 0.5}),
}


@pytest.fixture(params=MODES)
def mode(request):
    """The decorator in each way of waiting; `mode.name` is one that no other DAG has."""
    decorator, arguments = MODES[request.param]

    def decorate(**options):
        target = {} if "chain_id" in options else {"model_id": "echo"}
        return decorator(**arguments | target | options)

    decorate.name = f"{request.node.originalname}_{request.param}"
    decorate.is_async = "async" in request.param
    return decorate


def submitted(baseten):
    return [r for r in baseten.requests if r.method == "POST"]


def test_function_gets_xcoms_templates_and_context_and_runs_once(baseten, run_dag, mode):
    calls = []

    @task
    def rows():
        return [1, 2]

    @mode()
    def ask(rows, day, *, factor, ti=None):
        calls.append(ti.task_id)
        return {"rows": [row * factor for row in rows], "day": day}

    @task
    def use(answer):
        return answer["rows"]

    with DAG(mode.name, schedule=None, start_date=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)) as dag:
        use(ask(rows(), "{{ dag.dag_id }}", factor=10))
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("ask") == {"rows": [10, 20], "day": mode.name}
    assert run.xcom("use") == [10, 20]
    assert calls == ["ask"]
    assert run.xcom("ask", "request_id") == submitted(baseten)[0].request_id
    assert len(submitted(baseten)) == 1


def test_what_it_returns_is_not_rendered(baseten, run_dag, mode):
    value = {"jinja": "{{ 7 * 7 }} {% broken", "path": "query.sql", "list": ["{{ conn.baseten_default.password }}"]}

    @mode()
    def ask():
        return value

    with DAG(mode.name) as dag:
        ask()
    assert run_dag(dag).xcom("ask") == value


def test_mapped_over_lists_and_the_output_of_a_task(baseten, run_dag, mode):
    @task
    def texts():
        return ["a", "b", "{{ c }}"]

    @mode()
    def ask(text, suffix):
        return text + suffix

    with DAG(mode.name) as dag:
        ask.partial(suffix="!").expand(text=texts())
        ask.override(task_id="literal").expand_kwargs([{"text": "x", "suffix": "1"}, {"text": "y", "suffix": "2"}])
    run = run_dag(dag)
    assert [run.xcom("ask", map_index=index) for index in range(3)] == ["a!", "b!", "{{ c }}!"]
    assert [run.xcom("literal", map_index=index) for index in range(2)] == ["x1", "y2"]
    assert len(submitted(baseten)) == 5


def test_arguments_of_the_decorator_are_those_of_the_operator(baseten, run_dag, mode, tmp_path):
    @mode(chain_id="{{ 'chain' }}", environment="staging", output_path=f"file://{tmp_path}/{{{{ ti.task_id }}}}.json")
    def ask():
        return {"a": 1, "b": 2}

    with DAG(mode.name) as dag:
        ask()
        ask.override(task_id="development", environment="development")()
    run = run_dag(dag)
    # The emulator's chain has no environment of that name.
    assert run.states == {"ask": "failed", "development": "success"}
    assert run.xcom("development")["uri"] == f"file://{tmp_path}/development.json"
    assert {(r.chain_id, "/environments/staging/" in r.path) for r in submitted(baseten)} == {
        ("chain", True),
        ("chain", False),
    }


@pytest.mark.parametrize("end", [AirflowSkipException("nothing to do"), LookupError("no such row"), None])
def test_without_an_input_nothing_is_sent(baseten, run_dag, mode, capfd, end):
    @mode()
    def ask():
        if end is not None:
            raise end

    with DAG(f"{mode.name}_{type(end).__name__}") as dag:
        ask()
    run = run_dag(dag)
    assert run.states == {"ask": "skipped" if isinstance(end, AirflowSkipException) else "failed"}
    assert baseten.requests == []
    if end is None:
        assert "The function ask returned nothing; it has to return model_input." in capfd.readouterr().out


def test_arguments_may_have_names_of_the_context(baseten, run_dag, mode):
    @mode()
    def ask(*arguments, **named):
        return [*arguments, named["run_id_of"], "ti" in named]

    with DAG(mode.name) as dag:
        ask(1, run_id_of="x", task_instance="shadowed", max_tries=0)
    assert run_dag(dag).xcom("ask") == [1, "x", True]


class TestRetry:
    def crash_once(self, monkeypatch):
        crashes = iter([True])
        finish = AsyncResults.output

        def output(self, *arguments, **options):
            if next(crashes, False):
                raise RuntimeError("the worker dies after the result was there")
            return finish(self, *arguments, **options)

        monkeypatch.setattr(AsyncResults, "output", output)

    @pytest.mark.parametrize(("varies", "sent"), [(False, 1), (True, 2)])
    def test_async_predict_attaches_if_the_function_returns_the_same(self, baseten, run_dag, monkeypatch, varies, sent):
        calls = []
        self.crash_once(monkeypatch)

        @task.baseten_async_predict(model_id="echo", deferrable=True, poll_interval=0.5, **NOW)
        def ask():
            calls.append(None)
            return len(calls) if varies else 0

        with DAG(f"attach_{varies}") as dag:
            ask()
        run = run_dag(dag)
        assert run.xcom("ask") == (2 if varies else 0)
        assert (len(calls), len(submitted(baseten))) == (2, sent)

    def test_function_that_fails_is_called_again(self, baseten, run_dag, mode):
        calls = []

        @mode(**NOW)
        def ask():
            calls.append(None)
            if len(calls) == 1:
                raise LookupError
            return "here"

        with DAG(mode.name) as dag:
            ask()
        assert run_dag(dag).xcom("ask") == "here"
        assert (len(calls), len(submitted(baseten))) == (2, 1)


class TestMultipleOutputs:
    def test_fields_of_the_output(self, baseten, run_dag, mode):
        @mode(multiple_outputs=True)
        def ask():
            return {"label": "de", "score": 0.5}

        @task
        def use(label):
            return label

        with DAG(mode.name) as dag:
            use(ask()["label"])
        run = run_dag(dag)
        assert run.xcom("use") == "de"
        assert run.xcom("ask") == {"label": "de", "score": 0.5}

    def test_annotation_of_the_input_says_nothing_of_the_output(self, baseten, run_dag, mode):
        @mode(model_id="length")
        def ask() -> dict[str, str]:
            return {"text": "abc"}

        with DAG(mode.name) as dag:
            ask()
        assert run_dag(dag).xcom("ask") == [3]


def test_input_is_in_neither_log_nor_rendered_templates(baseten, run_dag, mode, capfd):
    @mode()
    def ask(text, *, more):
        return f"private-{text} {more}"

    with DAG(mode.name) as dag:
        ask("private-argument", more="private-more")
        ask.partial(more="private-more").expand(text=["private-mapped"])
    run = run_dag(dag)
    assert run.state == "success"
    seen = "".join(capfd.readouterr()) + str(run.rendered)
    assert "echo" in seen
    assert not [secret for secret in ("private-", KEY) if secret in seen]


def test_input_belongs_into_the_function(mode):
    def ask():
        return "y"

    with pytest.raises(BasetenInputError, match="model_input is the return value of the function ask"), DAG("d"):
        mode(model_input="x")(ask)()


def test_functions_that_return_no_input_are_refused(mode):
    async def coroutine():
        return 1

    def generator():
        yield 1

    for function in (coroutine, generator):
        with pytest.raises(BasetenInputError, match="asynchronous or a generator"), DAG("d"):
            mode()(function)()
