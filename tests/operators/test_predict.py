"""BasetenPredictOperator in a real Airflow, against the emulator."""

import json
import logging
import re

import numpy as np
import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.storage.outputs import read_output
from tests.scripted_server import ScriptedServer, raw

KEY = "abcd1234.s3cr3t"


def stream(model_input):
    for number in range(model_input["lines"]):
        yield f"line {number}\n"


def line_without_end(model_input):
    for _ in range(3):
        yield "y" * model_input["characters"]


MODELS = {
    "nothing": lambda model_input: None,
    "line": line_without_end,
    "echo": lambda model_input: model_input,
    "stream": stream,
    "large": lambda model_input: ["x" * 100] * 5000,
    "squares": lambda model_input: {"squares": np.asarray(model_input["x"]) ** 2, "raw": model_input["x"]},
    "blob": lambda model_input: {"blob": b"\x00\xff"},
}


@pytest.fixture
def baseten(connect):
    with Emulator(models=MODELS, chains={"chain": lambda inputs: inputs}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


def predict(task_id, model_id="echo", **arguments):
    return BasetenPredictOperator(task_id=task_id, model_id=model_id, **arguments)


def test_outputs_arrive_in_xcom(baseten, run_dag):
    inputs = {"number": 1.5, "text": "ü", "list": [1, [None]], "object": {"a": {"b": True}}}
    with DAG("any_json") as dag:
        for name, value in inputs.items():
            predict(name, model_input=value)
        predict("null", "nothing", model_input=1)
    run = run_dag(dag)
    assert run.state == "success"
    assert {name: run.xcom(name) for name in inputs} == inputs
    assert run.keys("null") == {"request_id"}  # Airflow stores no XCom for None.
    sent = {request.request_id for request in baseten.requests}
    assert {run.xcom(name, "request_id") for name in [*inputs, "null"]} == sent
    assert len(baseten.requests) == len(inputs) + 1


def test_input_from_another_task_template_and_mapping(baseten, run_dag):
    @task
    def make():
        return {"rows": [1, 2]}

    with DAG("inputs") as dag:
        first = predict("first", model_input=make())
        predict("second", model_input={"before": first.output, "task": "{{ ti.task_id }}"})
        BasetenPredictOperator.partial(task_id="mapped", model_id="echo").expand(model_input=["a", "b"])
    run = run_dag(dag)
    assert run.xcom("second") == {"before": {"rows": [1, 2]}, "task": "second"}
    assert [run.xcom("mapped", map_index=index) for index in (0, 1)] == ["a", "b"]


def test_targets(baseten, run_dag):
    with DAG("targets", params={"env": "development"}) as dag:
        predict("environment", environment="{{ params.env }}", model_input=1)
        BasetenPredictOperator(task_id="chain", chain_id="chain", model_input={"n": 1})
    run = run_dag(dag)
    assert run.xcom("chain") == {"n": 1}
    paths = {request.path for request in baseten.requests}
    assert paths == {"/model-echo/development/predict", "/chain-chain/environments/production/run_remote"}


def test_msgpack_both_ways(baseten, run_dag, tmp_path):
    arguments = {"content_type": "application/octet-stream", "model_input": {"x": np.arange(3, dtype="float32")}}
    with DAG("msgpack") as dag:
        predict("lists", "squares", **arguments)
        predict("landed", "squares", output_path=f"file://{tmp_path}/", **arguments)
        predict("bytes", "blob", **arguments)
    run = run_dag(dag)
    assert run.xcom("lists") == {"squares": [0.0, 1.0, 4.0], "raw": [0.0, 1.0, 2.0]}
    landed = read_output(run.xcom("landed"))
    assert landed["squares"].dtype == np.float32
    np.testing.assert_array_equal(landed["squares"], [0, 1, 4])
    assert read_output(run.xcom("bytes")) == {"blob": b"\x00\xff"}


def test_stream_is_collected_and_logged_only_when_asked(baseten, run_dag, capfd):
    with DAG("stream") as dag:
        predict("quiet", "stream", model_input={"lines": 3})
        predict("loud", "stream", model_input={"lines": 4}, log_stream=True)
    run = run_dag(dag)
    assert run.xcom("quiet") == "line 0\nline 1\nline 2\n"
    assert run.xcom("loud").endswith("line 3\n")
    logged = re.findall(r"\bline \d(?= )", capfd.readouterr().out)
    assert logged == ["line 0", "line 1", "line 2", "line 3"]


@pytest.mark.parametrize("characters", [5, 100_000])
def test_a_line_without_an_end_is_logged_in_bounded_parts(baseten, run_dag, capfd, characters):
    with DAG(f"line_{characters}") as dag:
        predict("loud", "line", model_input={"characters": characters}, log_stream=True)
    assert run_dag(dag).xcom("loud") is not None
    parts = re.findall(r"\by{5,}(?= )", capfd.readouterr().out)
    assert sum(map(len, parts)) == 3 * characters
    assert all(len(part) < 400_000 for part in parts)
    assert len(parts) > 1 or characters == 5


def test_what_came_of_a_stream_that_breaks_off_is_logged(connect, run_dag, capfd):
    begin = raw(b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nyyyyy\nyyyyyy")
    with ScriptedServer(begin) as server, DAG("broken_off") as dag:
        connect(host=server.url, password=KEY)
        predict("loud", model_input=1, log_stream=True)
        assert run_dag(dag).state == "failed"
    assert re.findall(r"\by{5,}(?= )", capfd.readouterr().out) == ["yyyyy", "yyyyyy"]


class TestLanding:
    def test_output_path_gets_the_bytes_and_xcom_the_reference(self, baseten, run_dag, tmp_path):
        with DAG("landing") as dag:
            predict("file", model_input={"a": 1}, output_path=f"file://{tmp_path}/sub/{{{{ ti.task_id }}}}.json")
            predict("folder", model_input="text", output_path=f"file://{tmp_path}/folder/")
        run = run_dag(dag)
        request_id = run.xcom("file", "request_id")
        size = (tmp_path / "sub" / "file.json").stat().st_size
        uri = f"file://{tmp_path}/sub/file.json"
        reference = {name: value for name, value in run.xcom("file").items() if name != "signature"}
        assert reference == {
            "uri": uri,
            "bytes": size,
            "request_id": request_id,
            "format": "json",
            "baseten_conn_id": "baseten_default",
        }
        assert json.loads((tmp_path / "sub" / "file.json").read_bytes()) == {"a": 1}
        assert read_output(run.xcom("file")) == {"a": 1}
        assert [path.name for path in (tmp_path / "folder").iterdir()] == [run.xcom("folder", "request_id") + ".json"]
        assert read_output(run.xcom("folder")) == "text"
        assert not list(tmp_path.rglob("*.part"))

    def test_output_that_is_too_large_for_xcom_is_landed(self, baseten, connect, run_dag, tmp_path):
        connect(host=baseten.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        with DAG("large") as dag:
            predict("large", "large", model_input=1)
        run = run_dag(dag)
        reference = run.xcom("large")
        assert reference["uri"].startswith(f"file://{tmp_path}/store/outputs/")
        assert reference["bytes"] > 262_144
        assert read_output(reference) == ["x" * 100] * 5000

    def test_limit_and_store_of_the_configuration(self, baseten, run_dag, tmp_path, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "10")
        monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}")
        with DAG("configured") as dag:
            predict("under", model_input="x" * 8)
            predict("over", model_input="x" * 9)
        run = run_dag(dag)
        assert run.xcom("under") == "x" * 8
        assert run.xcom("over")["uri"].startswith(f"file://{tmp_path}/")

    @pytest.mark.parametrize("path", ["nosuchscheme://bucket/x.json", "file:///proc/no/such.json", "{taken}/x.json"])
    def test_path_that_can_not_be_written_is_found_before_anything_is_sent(self, baseten, run_dag, tmp_path, path):
        (tmp_path / "taken").write_text("a file, not a folder")
        with DAG("unwritable") as dag:
            predict("unwritable", model_input=1, output_path=path.format(taken=tmp_path / "taken"))
        run = run_dag(dag)
        assert run.state == "failed"
        assert baseten.requests == []

    def test_nowhere_to_land_a_large_output(self, baseten, connect, run_dag, caplog):
        connect(host=baseten.url, password=KEY, extra={"result_store": "file:///proc/no/such/store"})
        with DAG("nowhere") as dag:
            predict("nowhere", "large", model_input=1)
        run = run_dag(dag)
        assert run.state == "failed"
        assert "return_value" not in run.keys("nowhere")


def test_do_xcom_push_is_respected(baseten, run_dag, tmp_path):
    with DAG("no_push") as dag:
        predict("small", model_input=1, do_xcom_push=False)
        predict("large", "large", model_input=1, do_xcom_push=False)
        predict("file", model_input=2, output_path=f"file://{tmp_path}/out.json", do_xcom_push=False)
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcoms == {}
    assert (tmp_path / "out.json").read_text() == "2"


def test_input_and_headers_are_in_neither_log_nor_rendered_templates(baseten, run_dag, caplog, capfd):
    with DAG("private") as dag:
        predict("plain", model_input={"text": "private-{{ 1 + 1 }}"}, headers={"X-Token": "private-3"})
        BasetenPredictOperator.partial(task_id="mapped", model_id="echo").expand(model_input=["private-4"])
        predict("failing", "blob", model_input={"text": "private-5"})
    with caplog.at_level(logging.DEBUG):
        run = run_dag(dag)
    assert run.xcom("plain") == {"text": "private-2"}
    assert [r.headers["x-token"] for r in baseten.requests if "x-token" in r.headers] == ["private-3"]
    assert "private-" not in str(run.rendered)
    assert run.rendered["plain[-1]"]["model_id"] == "echo"
    seen = caplog.text + "".join(capfd.readouterr())
    assert "returned 200" in seen
    for secret in ("private-2", "private-3", "private-4", "private-5", KEY):
        assert secret not in seen


def test_a_request_that_did_not_run_is_sent_again_and_one_that_may_have_run_is_not(baseten, run_dag):
    baseten.inject(Fault(target="echo", status=503, headers={"Retry-After": "0"}), Fault(target="large", status=500))
    with DAG("faults") as dag:
        predict("busy", model_input=1)
        predict("failed", "large", model_input=1)
    run = run_dag(dag)
    assert run.states == {"busy": "success", "failed": "failed"}
    assert sorted(request.model_id for request in baseten.requests) == ["echo", "echo", "large"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of model_id and chain_id; neither"),
        ({"model_id": "a", "chain_id": "b"}, "both"),
        ({"model_id": "a", "environment": "e", "deployment_id": "d"}, "environment and deployment_id"),
    ],
)
def test_contradicting_targets_are_found_when_the_dag_is_parsed(arguments, words):
    with pytest.raises(BasetenInputError, match=words):
        BasetenPredictOperator(task_id="t", model_input=1, **arguments)


@pytest.mark.parametrize("operator", [BasetenPredictOperator, BasetenAsyncPredictOperator])
def test_no_input_is_an_error_when_the_dag_is_parsed(operator):
    with pytest.raises(BasetenInputError, match="model_input is None, so nothing was sent"):
        operator(task_id="t", model_id="echo", model_input=None)


@pytest.mark.parametrize("operator", [BasetenPredictOperator, BasetenAsyncPredictOperator])
def test_an_input_that_another_task_did_not_return_is_an_error(operator, baseten, run_dag):
    with DAG("nothing_returned") as dag:

        @task
        def nothing():
            pass

        operator(task_id="ask", model_id="echo", model_input=nothing())
    run = run_dag(dag)
    assert run.states == {"nothing": "success", "ask": "failed"}
    assert not baseten.requests
