"""The link of a task: where it leads, and that Airflow has it at every end of a task."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten import links
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.links import BasetenLink, BasetenProgressLink, page_of
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.base import BasetenOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

KEY = "abcd1234.s3cr3t"
BASETEN = "https://api.baseten.co"
APP = "https://app.baseten.co"


@pytest.mark.parametrize(
    ("target", "page"),
    [
        (Target(model_id="abc"), f"{APP}/models/abc/overview"),
        (Target(model_id="abc", environment="staging", regional=True), f"{APP}/models/abc/overview"),
        (Target(model_id="abc", deployment_id="d1"), f"{APP}/models/abc/logs/d1"),
        (Target(chain_id="xyz"), f"{APP}/chains/xyz/overview"),
        (Target(chain_id="xyz", deployment_id="d1"), f"{APP}/chains/xyz/overview"),
        (ModelApis(), f"{APP}/model-apis"),
    ],
)
def test_pages_of_baseten(target, page):
    assert page_of(target, BASETEN) == page


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (Target(model_id="abc"), "/v1/models/abc"),
        (Target(model_id="abc", deployment_id="abcd1"), "/v1/models/abc/deployments/abcd1"),
        (Target(chain_id="xyz"), "/v1/chains/xyz"),
        (Target(chain_id="xyz", deployment_id="xyzd1"), "/v1/chains/xyz/deployments/xyzd1"),
    ],
)
def test_another_host_is_asked_itself_and_the_emulator_answers(target, path):
    from requests import get

    with Emulator(models={"abc": len}, chains={"xyz": len}) as emulator:
        page = page_of(target, emulator.url)
        assert page == f"{emulator.url}{path}"
        assert get(page, timeout=10).json()["id"] in {"abc", "xyz", "abcd1", "xyzd1"}


class TestConnection:
    """Which management API a connection has decides where its links lead."""

    def link(self, **arguments):
        operator = BasetenPredictOperator(task_id="t", model_input=1, **({"model_id": "abc"} | arguments))
        return BasetenLink().get_link(operator, ti_key=None)

    def test_baseten_itself(self, connect):
        connect(password=KEY)
        assert self.link() == f"{APP}/models/abc/overview"

    def test_a_proxy_in_front_of_it(self, connect):
        connect(password=KEY, host="https://proxy.example.com", extra={"management_url": f"{BASETEN}/"})
        assert self.link() == f"{APP}/models/abc/overview"

    def test_another_host(self, connect):
        connect(password=KEY, host="https://baseten.example.com/prefix/")
        assert self.link(deployment_id="d1") == "https://baseten.example.com/prefix/v1/models/abc/deployments/d1"

    def test_key_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("BASETEN_API_KEY", KEY)
        assert self.link() == f"{APP}/models/abc/overview"

    @pytest.mark.parametrize(
        "fields",
        [{"host": f"https://user:{KEY}@baseten.example.com"}, {"host": f"https://h/?key={KEY}"}, {"host": "ftp://no"}],
    )
    def test_a_host_that_is_no_plain_address_gives_no_link(self, connect, fields):
        connect(password=KEY, **fields)
        assert self.link() == ""

    def test_no_connection_no_link(self):
        assert self.link(baseten_conn_id="missing") == ""

    def test_model_apis(self, connect):
        chat = BasetenChatCompletionOperator(task_id="t", model_apis=True, model="org/llm", prompt="Hello")
        connect(password=KEY)
        assert BasetenLink().get_link(chat, ti_key=None) == f"{APP}/model-apis"
        connect(password=KEY, host="https://baseten.example.com")
        assert BasetenLink().get_link(chat, ti_key=None) == ""

    def test_an_operator_of_a_user_says_what_it_calls(self, connect):
        class Wake(BasetenOperator):
            called_target = Target(chain_id="xyz")

        connect(password=KEY)
        assert BasetenLink().get_link(Wake(task_id="t"), ti_key=None) == f"{APP}/chains/xyz/overview"
        assert BasetenLink().get_link(BasetenOperator(task_id="t"), ti_key=None) == ""

    def test_sensor(self, connect):
        connect(password=KEY)
        sensor = BasetenAsyncRequestSensor(task_id="t", model_id="abc", request_ids="r1")
        assert BasetenLink().get_link(sensor, ti_key=None) == f"{APP}/models/abc/overview"

    @pytest.mark.parametrize("model_id", ["{{ params.model }}", "a/../b", "javascript:alert(1)"])
    def test_what_can_not_be_an_id_gives_no_link(self, connect, model_id):
        connect(password=KEY)
        assert self.link(model_id=model_id) == ""


@pytest.mark.parametrize(
    ("base_url", "begins"),
    [("https://airflow.example.com/team/", "https://airflow.example.com/team/baseten"), ("", "/baseten")],
)
def test_progress_is_below_the_base_url_of_airflow(monkeypatch, base_url, begins):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    key = SimpleNamespace(dag_id="d", run_id="manual__2026-11-28T20:00:00+00:00", task_id="t", map_index=-1)
    fields = "dag_id=d&run_id=manual__2026-11-28T20%3A00%3A00%2B00%3A00&task_id=t&map_index=-1"
    assert BasetenProgressLink().get_link(None, ti_key=key) == f"{begins}/ui/task?{fields}"


@pytest.fixture
def baseten(connect, tmp_path):
    models = {"abc": lambda model_input: model_input, "bad": lambda model_input: 1 / 0}
    with Emulator(models=models, chains={"xyz": lambda arguments: arguments}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        connect("own", password=KEY)
        yield emulator


class TestInAirflow:
    def test_every_task_has_one_however_it_ends(self, baseten, run_dag):
        with DAG("links", params={"model": "abc"}) as dag:
            BasetenPredictOperator(task_id="rendered", model_id="{{ params.model }}", model_input=1)
            BasetenPredictOperator(task_id="failed", model_id="bad", model_input=1, deployment_id="badd1")
            BasetenPredictOperator(task_id="unpushed", chain_id="xyz", model_input={}, do_xcom_push=False)
            BasetenPredictOperator.partial(task_id="mapped", model_input=1).expand(model_id=["abc", "bad"])
            BasetenAsyncPredictOperator(task_id="deferred", model_id="abc", model_input=1, deferrable=True)
            BasetenPredictOperator(task_id="lost", model_id="abc", model_input=1, baseten_conn_id="missing")
        run = run_dag(dag)
        assert (run.states["failed"], run.states["deferred"]) == ("failed", "success")
        models = f"{baseten.url}/v1/models"
        assert run.links == {
            ("rendered", -1): f"{models}/abc",
            ("failed", -1): f"{models}/bad/deployments/badd1",
            ("unpushed", -1): f"{baseten.url}/v1/chains/xyz",
            ("mapped", 0): f"{models}/abc",
            ("mapped", 1): f"{models}/bad",
            ("deferred", -1): f"{models}/abc",
            ("lost", -1): "",
        }
        assert KEY not in json.dumps(list(run.links.values()))
        assert run.progress_links.keys() == run.links.keys()
        mapped = urlsplit(run.progress_links["mapped", 1])
        assert mapped.path == "/baseten/ui/task"
        fields = dict(parse_qsl(mapped.query))
        assert fields.pop("run_id").startswith("manual__")
        assert fields == {"dag_id": "links", "task_id": "mapped", "map_index": "1"}

    def test_it_is_there_while_the_sensor_is_deferred(self, baseten, run_dag, monkeypatch):
        from airflow.sdk.execution_time import task_runner

        pushed = []
        push = task_runner._xcom_push_to_db
        monkeypatch.setattr(
            task_runner,
            "_xcom_push_to_db",
            lambda ti, key, value: (pushed.append((key, value)), push(ti, key, value))[1],
        )
        request_id = self.submitted(baseten)
        with DAG("sensor_link") as dag:
            BasetenAsyncRequestSensor(
                task_id="sensor", request_ids=request_id, model_id="abc", expects_delivery=False, deferrable=True
            )
        run = run_dag(dag)
        assert run.states == {"sensor": "success"}
        # By Airflow once when it is deferred, once at its end.
        assert [value for key, value in pushed if key == "_link_BasetenLink"] == [f"{baseten.url}/v1/models/abc"] * 2
        assert [key for key, _ in pushed].count("_link_BasetenProgressLink") == 2

    def test_it_is_there_while_the_task_runs(self, connect, run_dag, tmp_path):
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        found = {}

        def look(model_input):
            with create_session() as session:
                rows = session.query(XComModel).filter_by(dag_id="running", key="_link_BasetenLink")
                found.update({(row.task_id, row.map_index): XComModel.deserialize_value(row) for row in rows})
            return model_input

        with Emulator(models={"abc": look}, api_key=KEY) as emulator, DAG("running") as dag:
            connect(host=emulator.url, password=KEY)
            bulk = BasetenBatchPredictOperator.partial(task_id="bulk", model_id="abc", inputs=[1])
            bulk.expand(output_path=[f"{tmp_path}/a", f"{tmp_path}/b"])
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input=1)
            BasetenPredictOperator(task_id="deferred", model_id="abc", model_input=1, deferrable=True)

            @task.baseten_batch(model_id="abc", output_path=f"{tmp_path}/c")
            def rows():
                return [1]

            @task.baseten_predict(model_id="abc")
            def one():
                return 1

            rows()
            one()
            run = run_dag(dag)
            page = f"{emulator.url}/v1/models/abc"
        assert run.state == "success"
        assert found == run.links == dict.fromkeys(run.links, page)
        assert len(found) == 6

    def test_a_link_that_can_not_be_set_at_the_start_does_not_fail_the_task(self, baseten, run_dag, monkeypatch):
        def fail(*arguments):
            raise RuntimeError("no XComs now")

        monkeypatch.setattr(links, "push_early", fail)
        with DAG("no_link") as dag:
            BasetenPredictOperator(task_id="predict", model_id="abc", model_input=1)
        run = run_dag(dag)
        assert run.state == "success"
        assert run.links

    @staticmethod
    def submitted(baseten):
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        return BasetenHook().async_predict(Target(model_id="abc"), 1)
