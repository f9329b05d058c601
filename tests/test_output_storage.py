"""The Truss that stores its outputs, together with ``result_path``: no output is lost with its webhook."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from airflow.sdk import DAG
from starlette.requests import Request

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.limits import Limits
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from tests.s3_server import KEYS, S3Server

TRUSS = Path(__file__).parents[1] / "example_dags" / "models" / "word_counts"
KEY = "abcd1234.s3cr3t"
INPUT = {"text": "to be or not to be"}
OUTPUT = {"words": {"to": 2, "be": 2, "or": 1, "not": 1}}
NOWHERE = "http://127.0.0.1:9/webhook"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    from airflow.sdk.io import store

    log = tmp_path_factory.mktemp("s3") / "log"
    with S3Server(log, "bucket") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        for name, value in KEYS.items():
            patch.setenv(f"TRUSS_SECRET_{name}", value)
        yield server
    for name in [name for name in store._STORE_CACHE if name.startswith("s3")]:
        del store._STORE_CACHE[name]


@pytest.fixture
def baseten(connect: Callable[..., None], s3: S3Server, tmp_path: Path) -> Iterator[Emulator]:
    limits = Limits(webhook_retry_seconds=0.05)
    with Emulator({"words": TRUSS}, api_key=KEY, limits=limits) as baseten:
        connect(host=baseten.url, password=KEY, extra={"result_store": f"file://{tmp_path}/results"})
        yield baseten


@pytest.fixture
def storage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("output_storage", TRUSS / "packages" / "output_storage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def request(request_id: str | None = "r1") -> Request:
    headers = [] if request_id is None else [(b"x-baseten-request-id", request_id.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.processes
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_task_gets_an_output_whose_webhook_was_lost(baseten, s3, run_dag, deferrable):
    with DAG(f"stored_{deferrable}") as dag:
        for task_id, endpoint in {"lost": NOWHERE, "without": None}.items():
            BasetenAsyncPredictOperator(
                task_id=task_id,
                model_id="words",
                model_input=INPUT,
                webhook_endpoint=endpoint,
                result_path="s3://aws_default@bucket/outputs/{request_id}.json",
                deferrable=deferrable,
                poll_interval=0.5,
                timeout=120,
            )
    run = run_dag(dag)
    assert run.states == {"lost": "success", "without": "success"}
    assert [run.xcom(task_id) for task_id in run.states] == [OUTPUT, OUTPUT]
    statuses = [baseten.async_requests[run.xcom(name, "request_id")].status for name in ("lost", "without")]
    assert statuses == ["WEBHOOK_FAILED", "SUCCEEDED"]


@pytest.mark.processes
def test_an_output_that_can_not_be_stored_fails_the_request(s3, tmp_path):
    truss = tmp_path / "truss"
    shutil.copytree(TRUSS, truss)
    config = truss / "config.yaml"
    config.write_text(config.read_text().replace("s3://bucket/outputs", f"{config}/no-folder"))
    with Emulator({"words": truss}) as baseten:
        answer = httpx.post(f"{baseten.url}/model-words/production/predict", json=INPUT, trust_env=False)
    assert answer.status_code == 500


@pytest.mark.processes
def test_in_an_object_store_a_second_run_replaces_the_file(s3, storage):
    keys = {"key": "test", "secret": "test"}
    for output in ({"n": 1}, {"n": 2}):
        assert storage.store_output(output, request(), "s3://bucket/twice/", **keys) == "s3://bucket/twice/r1.json"
    listed = s3.client.list_objects_v2(Bucket="bucket", Prefix="twice/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["twice/r1.json"]
    assert json.load(s3.client.get_object(Bucket="bucket", Key="twice/r1.json")["Body"]) == {"n": 2}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_on_a_disk_there_is_the_whole_file_or_none(storage, tmp_path, monkeypatch, scheme):
    folder = f"{scheme}{tmp_path}/new/folder"
    assert storage.store_output({"text": "Grüße"}, request(), folder) == f"{folder}/r1.json"
    assert json.loads((tmp_path / "new" / "folder" / "r1.json").read_text()) == {"text": "Grüße"}
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["r1.json"]

    def fail(self, source, target, **options):
        assert json.loads(Path(source).read_text()) == [2]
        raise OSError("no space left on device")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.mv", fail)
    with pytest.raises(OSError, match="no space"):
        storage.store_output([2], request(), folder)
    assert json.loads((tmp_path / "new" / "folder" / "r1.json").read_text()) == {"text": "Grüße"}


@pytest.mark.parametrize("request_id", [None, "", "../r1", "a/b", "x" * 129])
def test_a_request_without_an_id_is_an_error(storage, tmp_path, request_id):
    with pytest.raises(ValueError, match="no id of Baseten"):
        storage.store_output([1], request(request_id), str(tmp_path))
    assert list(tmp_path.iterdir()) == []
