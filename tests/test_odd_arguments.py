"""Every argument of every operator and sensor, and of the hook and a bulk job, with values that are none of its own: an
error of this package before anything is sent, or it works.
"""

import asyncio
import contextlib
import dataclasses
import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.compat import AirflowFailException, AirflowSensorTimeout, TaskDeferred
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenResultLostError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchMergeOperator, BasetenBatchPlanOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor
from tests.odd_values import NO_TEXTS, ODD, ObligingServer

KEY = "abcd1234.s3cr3t"
# Below Airflow 3.3 a failure that no retry can help reaches Airflow as its own exception.
REFUSED = (BasetenInputError, AirflowFailException)

# Arguments with which each of them succeeds; the folder of bulk runs is added.
MODEL = {"model_id": "a"}
WAITING = MODEL | {"request_ids": "r1", "expects_delivery": False, "timeout": 0.2, "poke_interval": 0.1}
GOOD = {
    "predict": (BasetenPredictOperator, MODEL | {"model_input": 1}),
    "deferred predict": (BasetenPredictOperator, MODEL | {"model_input": 1, "deferrable": True}),
    "async": (BasetenAsyncPredictOperator, MODEL | {"model_input": 1, "deferrable": False}),
    "deferred async": (BasetenAsyncPredictOperator, MODEL | {"model_input": 1, "deferrable": True}),
    "route": (BasetenSyncRouteOperator, MODEL | {"route": "r", "method": "POST"}),
    "chat": (BasetenChatCompletionOperator, MODEL | {"prompt": "hi"}),
    "embedding": (BasetenEmbeddingOperator, MODEL | {"texts": ["a", "b", "c"]}),
    "bulk": (BasetenBatchPredictOperator, MODEL | {"inputs": [1]}),
    "plan": (BasetenBatchPlanOperator, MODEL | {"inputs": [1]}),
    "merge": (BasetenBatchMergeOperator, {"output_path": "file:///nowhere", "num_shards": 1}),
    "sensor": (BasetenAsyncRequestSensor, WAITING),
    "deferred sensor": (BasetenAsyncRequestSensor, WAITING | {"deferrable": True}),
}
# Arguments of Airflow's that a sensor has too.
OF_SENSORS = {"timeout", "poke_interval"}


def own_arguments(kind):
    own = [base for base in kind.__mro__ if base.__module__.startswith("airflow_provider_baseten.")]
    names = {name for base in own for name in inspect.signature(base.__init__).parameters} | (
        OF_SENSORS if "Sensor" in kind.__name__ else set()
    )
    return sorted(names - {"self", "args", "kwargs", "task_id"})


@pytest.fixture(scope="module")
def server():
    with ObligingServer() as server:
        yield server


@pytest.fixture
def baseten(server, connect, tmp_path):
    connect(host=server.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
    server.sent = 0
    return server


def context():
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2, "try_number": 1}
    return {"ti": SimpleNamespace(**identity, xcom_push=lambda key, value: None)}


def run(kind, arguments):
    """Do what Airflow does: make the task, render it, execute it."""
    task = kind(task_id="t", **arguments)
    task.render_template_fields(context())
    try:
        return task.execute(context())
    except TaskDeferred as deferred:
        # As Airflow does.
        return deferred.timeout and datetime.now(UTC) + deferred.timeout


def arguments_of(case, folder, name, value):
    kind, good = GOOD[case]
    folders = (
        {"output_path": f"file://{folder}"} if kind in (BasetenBatchPredictOperator, BasetenBatchPlanOperator) else {}
    )
    # A group has room for one at most.
    others = {"model_id": "chain_id", "chain_id": "model_id", "messages": "prompt", "input_path": "inputs"}
    left = {key: item for key, item in (folders | good).items() if key != others.get(name)}
    return kind, left | {name: value}


@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, (kind, _) in GOOD.items() for name in own_arguments(kind)]
)
def test_odd_values_are_errors_of_this_package_or_work(baseten, tmp_path, case, name):
    trouble = {}
    values = NO_TEXTS if name == "output_path" else ODD
    for number, (title, value) in enumerate(values.items()):
        kind, arguments = arguments_of(case, tmp_path / str(number), name, value)
        before = baseten.sent
        try:
            run(kind, arguments)
        except REFUSED as error:
            if baseten.sent > before:
                trouble[title] = f"found after {baseten.sent - before} requests: {error}"
        except (BasetenError, AirflowSensorTimeout):
            continue
        except Exception as error:
            trouble[title] = f"{type(error).__name__}: {str(error)[:100]}"
    assert trouble == {}


TEXTS = {
    *(
        "model_id",
        "chain_id",
        "environment",
        "deployment_id",
        "baseten_conn_id",
        "model",
        "webhook_endpoint",
        "result_path",
    ),
    *(
        "route",
        "method",
        "output_path",
        "input_path",
        "id_column",
        "job_version",
        "on_orphaned_request",
        "on_incomplete",
    ),
    *("content_type", "output_format", "preset"),
}
FLAGS = {
    *(
        "regional",
        "idempotent",
        "log_stream",
        "model_apis",
        "stream",
        "wait_for_completion",
        "cancel_on_kill",
    ),
    *("cancel_on_timeout", "expects_delivery", "only_failed", "overwrite", "deferrable"),
}
COUNTS = {"texts_per_request", "rows_per_request", "num_shards"}
SECONDS = {"timeout", "poll_interval", "poke_interval"}


def accepted(case, name):
    """Titles of the values that an argument takes."""
    if name in TEXTS:
        return ODD.keys() - NO_TEXTS.keys()
    if name in FLAGS:
        may_be_none = name == "expects_delivery" or (name == "deferrable" and "predict" not in case)
        return {"True", "False"} | ({"None"} if may_be_none else set())
    if name in COUNTS:
        return {"one"} if name == "num_shards" else {"one", "10**30", "10**5000"}
    return {"one", "float"} | ({"None"} if name == "timeout" and "async" in case else set())


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (case, name)
        for case, (kind, _) in GOOD.items()
        for name in own_arguments(kind)
        if name in TEXTS | FLAGS | COUNTS | SECONDS
    ],
)
def test_what_is_none_of_its_values_is_an_error_that_names_the_argument(baseten, tmp_path, case, name):
    refused = {title: value for title, value in ODD.items() if title not in accepted(case, name)}
    assert len(refused) > 20
    trouble = {}
    for number, (title, value) in enumerate(refused.items()):
        kind, arguments = arguments_of(case, tmp_path / str(number), name, value)
        try:
            trouble[title] = run(kind, arguments)
        except REFUSED as error:
            if name not in str(error):
                trouble[title] = str(error)
        except Exception as error:
            trouble[title] = error
    assert trouble == {}
    assert baseten.sent == 0


class Later:
    """Stands for the output of another task."""

    def __init__(self, value):
        self.value = value

    def resolve(self, context):
        return self.value

    def iter_references(self):
        return iter(())


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *(
            (case, name)
            for case in ("predict", "embedding", "bulk")
            for name in ("model_id", "environment", "output_path")
        ),
        *((case, name) for case in ("async", "sensor") for name in ("model_id", "result_path", "baseten_conn_id")),
        *(("route", name) for name in ("route", "method")),
        *(("embedding", "model"), ("chat", "model"), ("merge", "output_path"), ("async", "webhook_endpoint")),
    ],
)
def test_what_another_task_gives_is_checked_before_anything_is_sent(baseten, tmp_path, case, name):
    for value in NO_TEXTS.values():
        kind, arguments = arguments_of(case, tmp_path / "out", name, Later(value))
        with pytest.raises(REFUSED, match=name):
            run(kind, arguments)
    assert baseten.sent == 0


@pytest.mark.parametrize("environment", [None, ""])
def test_environment_that_is_not_given_is_production(environment):
    assert Target(model_id="a", environment=environment).environment == "production"


@pytest.mark.parametrize("kind", ["predict", "async", "sensor"])
def test_execution_timeout_without_end_can_be_deferred(baseten, kind):
    operator, arguments = GOOD[f"deferred {kind}"]
    run(operator, arguments | {"execution_timeout": timedelta.max})


@pytest.mark.parametrize("path", ["{{ 'file:///nowhere' }}/{request_id}.json", Path("/nowhere/{request_id}.json")])
@pytest.mark.parametrize("case", ["async", "sensor"])
def test_result_path_may_be_a_template_or_a_path_object(baseten, case, path):
    kind, arguments = GOOD[case]
    with pytest.raises(BasetenResultLostError, match=r"/nowhere/r1\.json"):
        run(kind, arguments | {"result_path": path})


@pytest.mark.parametrize("case", ["predict", "bulk"])
def test_paths_may_be_those_of_airflow(baseten, tmp_path, case):
    kind, arguments = GOOD[case]
    (tmp_path / "in.jsonl").write_text("1\n2\n")
    if case == "bulk":
        arguments = MODEL | {"input_path": ObjectStoragePath(f"file://{tmp_path}/in.jsonl")}
    run(kind, arguments | {"output_path": ObjectStoragePath(f"file://{tmp_path}/{{{{ 'out' }}}}")})
    out = tmp_path / "out"
    assert out.is_file() if case == "predict" else [*out.iterdir()]


async def predict_async(hook, target):
    async with await hook.async_client() as client:
        return await client.predict(target, 1)


HOOK_CALLS = {
    "predict": lambda hook, value: hook.predict(value, 1),
    "async_client": lambda hook, value: asyncio.run(predict_async(hook, value)),
    "sync_route": lambda hook, value: hook.sync_route(value, "r"),
    "route": lambda hook, value: hook.sync_route(Target(model_id="a"), value),
    "method": lambda hook, value: hook.sync_route(Target(model_id="a"), "r", method=value),
    "idempotent": lambda hook, value: hook.predict(Target(model_id="a"), 1, idempotent=value),
    "content_type": lambda hook, value: hook.predict(Target(model_id="a"), 1, content_type=value),
    "request_id": lambda hook, value: hook.get_async_request(Target(model_id="a"), value),
    "webhook_endpoint": lambda hook, value: hook.async_predict(Target(model_id="a"), 1, webhook_endpoint=value),
    "name": lambda hook, value: hook.client().management.list_models(value),
    "model_id": lambda hook, value: hook.client().management.get_model(value),
    "conn_id": lambda hook, value: BasetenHook(value).predict(Target(model_id="a"), 1),
    "request_retries": lambda hook, value: BasetenHook(request_retries=value),
    "model_apis": lambda hook, value: hook.openai_client(model_apis=value),
    "base_url": lambda hook, value: Credentials(api_key="k", base_url=value),
}


@pytest.mark.parametrize("name", HOOK_CALLS)
def test_hook(baseten, name):
    hook = BasetenHook()
    for title, value in NO_TEXTS.items():
        if isinstance(value, bool) and name in {"idempotent", "model_apis"}:
            continue
        with pytest.raises(BasetenInputError):
            pytest.fail(f"{title}: {HOOK_CALLS[name](hook, value)}")
    assert baseten.sent == 0


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(BatchJob)])
def test_job(field):
    good = {"target": Target(model_id="a"), "inputs": [1], "output_path": "out"}
    if field == "input_path":
        del good["inputs"]
    for value in ODD.values():
        with contextlib.suppress(BasetenInputError):
            BatchJob(**good | {field: value})


@pytest.mark.parametrize("field", ["output_path", "output_format", "preset", "max_concurrency", "idempotent", "target"])
def test_job_refuses(field):
    good = {"target": Target(model_id="a"), "inputs": [1], "output_path": "out"}
    taken = {"max_concurrency": {"one"}, "idempotent": {"True", "False"}}.get(field, set())
    for title in NO_TEXTS.keys() - taken:
        with pytest.raises(BasetenInputError, match=field):
            BatchJob(**good | {field: NO_TEXTS[title]})
