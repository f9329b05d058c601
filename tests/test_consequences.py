"""Errors of a storage that fails: each says what was sent, what is lost, and what the next attempt does."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.manifest import Manifest, merge_manifests
from airflow_provider_baseten.batch.output_folder import OutputFolder
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.compat import TaskDeferred
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.idempotency.deferred_call import DeferredCall
from airflow_provider_baseten.idempotency.held_response import HeldResponse
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.storage import files, outputs, write_retries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.spool import Spool
from tests.webhook.deliveries import Sender, body, connection

KEY = "abcd1234.s3cr3t"
FULL = r"could not be written to \S+ \(OSError: \[Errno 28\] No space left on device\)\. "


@pytest.fixture
def store(tmp_path):
    return ResultStore(f"file://{tmp_path}/store")


@pytest.fixture
def fails(monkeypatch):
    """Let every operation fail on files with these words in their URI."""
    real = files.locate

    def fail(*words):
        def locate(uri):
            if any(word in uri for word in words):
                raise OSError(28, "No space left on device")
            return real(uri)

        monkeypatch.setattr(files, "locate", locate)

    fail.no_more = lambda: monkeypatch.setattr(files, "locate", real)
    return fail


@pytest.fixture
def baseten(connect, store, monkeypatch):
    monkeypatch.setattr(write_retries, "WORKER_SECONDS", 0.0)
    monkeypatch.setattr(write_retries, "TRIGGERER_SECONDS", 0.0)
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": store.uri})
        yield emulator
        emulator.release()


def context(**fields):
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2, "try_number": 1}
    return {"ti": SimpleNamespace(**identity | fields, xcom_push=lambda key, value: None)}


class TestAsyncPredict:
    @pytest.fixture
    def operator(self):
        return lambda **options: BasetenAsyncPredictOperator(
            task_id="t", model_id="echo", model_input=1, **{"timeout": 20} | options
        )

    def test_intent(self, baseten, fails, operator):
        fails("/ledger/")
        with pytest.raises(BasetenResultStoreError, match=r"/ledger/.*This attempt sent nothing\.$"):
            operator().execute(context())
        assert not baseten.requests

    def test_record_of_the_id(self, baseten, monkeypatch, operator):
        baseten.hold()
        written = []

        def write(self, name, body, real=ResultStore.write):
            if written:
                raise BasetenResultStoreError("It could not be written.")
            written.append(name)
            real(self, name, body)

        monkeypatch.setattr(ResultStore, "write", write)
        with pytest.raises(BasetenResultStoreError) as caught:
            operator().execute(context())
        ((request_id, request),) = baseten.async_requests.items()
        assert f"Async request {request_id} was sent, but the next attempt does not find its id" in str(caught.value)
        assert "on_orphaned_request decides" in str(caught.value)
        assert request.status == "CANCELED"

    def test_output(self, baseten, fails, operator, tmp_path):
        (tmp_path / "own.json").write_text("1")
        fails("own.json")
        with pytest.raises(
            BasetenResultStoreError, match=r"The next attempt waits for this request again and sends nothing"
        ):
            operator(result_path=f"file://{tmp_path}/own.json").execute(context())


class TestPredict:
    @pytest.mark.parametrize("options", [{}, {"output_path": "file:///proc/no/out.json"}])
    def test_before_it_is_sent(self, baseten, fails, options):
        fails("/proc/no") if options else fails("/store/")
        with pytest.raises(BasetenResultStoreError, match=r"is not usable \(.*\)\. Nothing was sent\.$"):
            BasetenPredictOperator(task_id="t", model_id="echo", model_input=1, **options).execute(context())
        assert not baseten.requests

    def test_response(self, baseten, fails, tmp_path, monkeypatch):
        def send(self, *arguments, real=BasetenPredictOperator.send):
            response = real(self, *arguments)
            fails("out.json")
            return response

        monkeypatch.setattr(BasetenPredictOperator, "send", send)
        operator = BasetenPredictOperator(
            task_id="t", model_id="echo", model_input=1, output_path=f"file://{tmp_path}/out.json"
        )
        with pytest.raises(BasetenResultStoreError) as caught:
            operator.execute(context())
        words = str(caught.value)
        assert (
            f"Request {baseten.requests[0].request_id} got a response, but its output could not be stored: 1 byte"
            in words
        )
        assert words.endswith("The response is lost: the next attempt sends the request again, and pays again.")

    def test_held_response_is_found_through_another_proxy(self, baseten, fails, store, connect, monkeypatch):
        states = TaskStates()

        def send(self, *arguments, real=BasetenPredictOperator.send):
            response = real(self, *arguments)
            fails("/store/")
            return response

        monkeypatch.setattr(BasetenPredictOperator, "send", send)
        monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "1")

        def attempt(number, **fields):
            operator = BasetenPredictOperator(task_id="t", model_id="echo", model_input="large")
            return operator.execute(context(try_number=number, **fields) | {"task_state_store": states})

        with pytest.raises(BasetenResultStoreError, match=r"the next attempt stores it and sends nothing\.$"):
            attempt(1)
        fails.no_more()
        proxy = baseten.url.replace("127.0.0.1", "localhost")
        connect(host=proxy, password=KEY, extra={"result_store": store.uri})
        assert outputs.read_output(attempt(2)) == "large"
        assert len(baseten.requests) == 1
        assert not states

    def test_held_response_is_not_used_after_a_clear(self, baseten):
        request = build_predict(Target(model_id="echo"), 1)
        states = TaskStates()
        mine, cleared = (
            HeldResponse(context(try_number=2, max_tries=tries) | {"task_state_store": states}, request)
            for tries in (2, 3)
        )
        assert mine.keep(Response(request=request, status=200, headers={}, body=b"1"))
        assert cleared.find() is None
        assert mine.find().body == b"1"

    def test_held_response_of_a_newer_version_is_used(self, baseten):
        states, held = self.held()
        assert states["baseten_held_response"]["version"] == 1
        states["baseten_held_response"] |= {"version": 9, "field": "new"}
        response = held.find()
        assert (response.status, response.headers, response.body) == (200, {"x": "y"}, b"1")

    @pytest.mark.parametrize(
        "change", [{"status": "200"}, {"headers": []}, {"body": None}, {"body": "é"}, {"body": "x"}]
    )
    def test_held_response_that_is_damaged_is_not_sent_again_unasked(self, baseten, change):
        states, held = self.held()
        states["baseten_held_response"] |= change
        with pytest.raises(BasetenResultStoreError, match=r"is damaged\. Nothing was sent\. Clear the task"):
            held.find()

    @staticmethod
    def held():
        request = build_predict(Target(model_id="echo"), 1)
        states = TaskStates()
        held = HeldResponse(context(try_number=2) | {"task_state_store": states}, request)
        assert held.keep(Response(request=request, status=200, headers={"x": "y"}, body=b"1"))
        return states, held


class TaskStates(dict):
    """Airflow's task state store."""

    def set(self, key, value):
        self[key] = value

    def delete(self, key):
        del self[key]


class TestDeferredPredict:
    def operator(self, **options):
        return BasetenPredictOperator(task_id="t", model_id="echo", model_input=1, deferrable=True, **options)

    def trigger(self, **options):
        with pytest.raises(TaskDeferred) as deferred:
            self.operator(**options).execute(context())
        return deferred.value.trigger

    def run(self, trigger):
        async def events():
            return [event.payload async for event in trigger.run()]

        return asyncio.run(events())

    def test_input(self, baseten, fails):
        fails("/calls/")
        with pytest.raises(BasetenResultStoreError, match=r"/calls/.*This attempt sent nothing\.$"):
            self.operator().execute(context())

    def test_response_of_the_trigger(self, baseten, store, monkeypatch):
        def leave_response(self, response):
            raise BasetenResultStoreError("1 byte could not be written.")

        trigger = self.trigger()
        monkeypatch.setattr(DeferredCall, "leave_response", leave_response)
        (event,) = self.run(trigger)
        with pytest.raises(BasetenResultStoreError) as caught:
            self.operator().execute_complete(context(), event)
        (request,) = baseten.requests
        assert f"(request id {request.request_id}) was paid for and is lost: the next attempt sends" in str(
            caught.value
        )

    def test_response_that_the_worker_can_not_read(self, baseten, fails):
        (event,) = self.run(self.trigger())
        fails("/response")
        with pytest.raises(
            BasetenResultStoreError, match="The next attempt reads it again, and sends nothing if there is"
        ):
            self.operator().execute_complete(context(), event)

    def test_output_that_the_worker_can_not_write(self, baseten, fails, tmp_path):
        options = {"output_path": f"file://{tmp_path}/out.json"}
        (event,) = self.run(self.trigger(**options))
        fails("out.json")
        with pytest.raises(BasetenResultStoreError, match=r"The response stays in .* reads it and sends nothing\.$"):
            self.operator(**options).execute_complete(context(), event)
        fails.no_more()
        assert self.operator(**options).execute(context())["bytes"] == 1
        assert len(baseten.requests) == 1


class TestEmbedding:
    @pytest.fixture(autouse=True)
    def server(self, connect, store):
        async def vectors(request):
            texts = (await request.json())["input"]
            return JSONResponse({"data": [{"index": index, "embedding": [1.5]} for index in range(len(texts))]})

        app = Starlette(routes=[Route("/v1/embeddings", vectors, methods=["POST"])])
        with Emulator(models={"vectors": app}, api_key=KEY) as emulator:
            connect(host=emulator.url, password=KEY, extra={"result_store": store.uri})
            yield emulator

    def embed(self, tmp_path):
        arguments = {"texts": ["a", "b", "c"], "texts_per_request": 2, "output_path": f"file://{tmp_path}/out.json"}
        return BasetenEmbeddingOperator(task_id="t", model_id="vectors", **arguments).execute(context())

    def test_before_anything_is_sent(self, server, tmp_path, fails):
        fails("out.json")
        with pytest.raises(BasetenResultStoreError, match=r"is not usable \(.*\)\. Nothing was sent\.$"):
            self.embed(tmp_path)
        assert not server.requests

    def test_vectors_that_can_not_be_written(self, server, tmp_path, fails, monkeypatch):
        monkeypatch.setattr(files, "check_writable", lambda *arguments: None)
        monkeypatch.setattr(write_retries, "WORKER_SECONDS", 0.0)
        fails("out.json")
        words = r"could not be stored: .*The vectors are kept in file://.*/embeddings/\w+: the next attempt reads them"
        with pytest.raises(BasetenResultStoreError, match=words):
            self.embed(tmp_path)
        sent = len(server.requests)
        fails.no_more()
        assert self.embed(tmp_path)["bytes"] > 0
        assert len(server.requests) == sent == 2


@pytest.mark.parametrize("has_spool", [False, True])
def test_webhook_delivery(tmp_path, fails, caplog, has_spool):
    fails("/store")
    spool = Spool(tmp_path / "spool") if has_spool else None
    sender = Sender(create_app(Connections({"prod": connection(f"file://{tmp_path}/store")}.get), spool=spool))
    try:
        answer = sender.deliver(body("r1"))
    finally:
        sender.close()
    end = "was spooled: " if has_spool else "was not stored: "
    assert f"The result of async request r1 for connection prod {end}the store failed (Baseten" in caplog.text
    assert answer.status_code == (200 if has_spool else 503)


class TestBulk:
    @pytest.fixture
    def folder(self, tmp_path):
        job = BatchJob(target=Target(model_id="echo"), inputs=[1], output_path=f"{tmp_path}/out")
        return OutputFolder(BatchPlan.of(job), "fingerprint")

    @pytest.mark.parametrize("look", ["claim", "manifest", "contents", "previous_runs"])
    def test_before_anything_is_sent(self, folder, fails, look):
        fails("/out")
        with pytest.raises(BasetenResultStoreError, match=r"\. Nothing was sent\.$"):
            getattr(folder, look)()

    def test_owner(self, folder, fails):
        fails("_job-")
        with pytest.raises(BasetenResultStoreError, match=rf"{FULL}Nothing was sent\.$"):
            folder.claim()

    def test_part(self, folder, fails):
        folder.claim()
        fails("part-")
        with pytest.raises(BasetenResultStoreError, match=rf"{FULL}The rows in it are sent again by the next run"):
            folder.write(1, [(0, b"", b"1")])

    def test_manifest(self, folder, fails):
        folder.claim()
        fails("_manifest")
        with pytest.raises(BasetenResultStoreError, match=rf"{FULL}No row is lost: the next run writes the manifest"):
            folder.commit(Manifest(fingerprint="fingerprint"), [])

    def test_replaced_files(self, folder, fails):
        folder.claim()
        fails("_failed")
        with pytest.raises(BasetenResultStoreError, match=r"could not be deleted .*The job is complete"):
            folder.commit(Manifest(fingerprint="fingerprint"), ["_failed-1"])

    def test_merge(self, tmp_path, fails):
        fails("_manifest")
        with pytest.raises(BasetenResultStoreError, match="merge them again, which sends nothing"):
            merge_manifests(f"{tmp_path}/out", 2)
