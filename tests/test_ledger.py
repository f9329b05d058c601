"""The ledger decides whether an attempt sends, and keeps what it decided from."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenOrphanedRequestError, BasetenResultStoreError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.idempotency.ledger import (
    Attach,
    Entry,
    Replace,
    Send,
    fingerprint_request,
    intent,
    open_ledger,
    plan,
    write_persistently,
)
from airflow_provider_baseten.storage import write_retries
from airflow_provider_baseten.storage.result_store import ResultStore

SENT = Entry(fingerprint="f", max_tries=2, created_at=0, run="first", request_id="r1")
INTENT = Entry(fingerprint="f", max_tries=2, created_at=0, run="first")


def wanted(fingerprint="f", max_tries=2, run="first"):
    return Entry(fingerprint=fingerprint, max_tries=max_tries, run=run, created_at=9)


@pytest.mark.parametrize(
    ("entry", "wanted", "expected"),
    [
        (None, wanted(), Send()),
        (SENT, wanted(), Attach("r1")),
        (SENT, wanted("other"), Replace("r1")),
        (SENT, wanted(max_tries=3), Replace("r1")),
        (SENT, wanted(run="second"), Replace("r1")),
        (SENT, wanted(run=None), Attach("r1")),
        (replace(SENT, run=None), wanted(), Attach("r1")),
        (INTENT, wanted(), Send()),
        (INTENT, wanted("other"), Send()),
        (INTENT, wanted(max_tries=3), Send()),
    ],
)
def test_plan(entry, wanted, expected):
    assert plan(entry, wanted, "resubmit") == expected


def test_orphan_fails_only_where_nobody_asked_to_send_again():
    with pytest.raises(BasetenOrphanedRequestError, match="died while it sent"):
        plan(INTENT, wanted(), "fail")
    for other in (wanted(max_tries=3), wanted("other"), wanted(run="second")):
        assert plan(INTENT, other, "fail") == Send()


class TestFingerprint:
    def of(self, model_input=1, **target):
        called = Target(**{"model_id": "abc"} | target)
        return fingerprint_request(build_predict(called, model_input))

    @pytest.mark.parametrize(
        "change",
        [
            {"model_input": 2},
            {"model_input": "1"},
            {"model_id": "abcd"},
            {"environment": "staging"},
            {"environment": "development"},
            {"deployment_id": "d1"},
            {"environment": "staging", "regional": True},
            {"environment": "prod-us", "regional": True},
        ],
    )
    def test_tells_apart_what_is_called(self, change):
        assert self.of(**change) != self.of()
        assert self.of(environment="staging") != self.of(environment="staging", regional=True)

    def test_another_method_is_another_request(self):
        request = build_predict(Target(model_id="abc"), 1)
        assert fingerprint_request(request) != fingerprint_request(replace(request, method="PUT"))


class FakeTaskStates(dict):
    def set(self, key, value, *, retention):
        from airflow.sdk import NEVER_EXPIRE

        assert retention is NEVER_EXPIRE
        self[key] = value

    def delete(self, key):
        self.pop(key, None)

    def get(self, key):
        return super().get(key)


def started(day):
    return SimpleNamespace(start_date=datetime(2026, 1, day, tzinfo=UTC))


def identity(**changes):
    return SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2} | changes)


@pytest.fixture(params=["task states", "result store"])
def contexts(request, tmp_path):
    """Make the context of a task instance and the store, as an attempt of it finds them."""
    if request.param == "task states":
        context = pytest.importorskip("airflow.sdk.execution_time.context")
        if not hasattr(context, "NEVER_EXPIRE"):
            pytest.skip("The task state store came with Airflow 3.3.")
    states = FakeTaskStates() if request.param == "task states" else None
    store = ResultStore(f"file://{tmp_path}")
    return lambda **changes: ({"task_state_store": states, "ti": identity(**changes)}, store)


def test_next_attempt_reads_what_the_last_one_wrote(contexts):
    ledger = open_ledger(*contexts(try_number=1))
    assert ledger.read() is None
    ledger.write(INTENT)
    ledger.write(SENT)
    again = open_ledger(*contexts(try_number=2))
    assert again.read() == SENT
    again.delete()
    assert open_ledger(*contexts(try_number=3)).read() is None


def test_each_kind_has_an_entry_of_its_own(contexts):
    open_ledger(*contexts()).write(SENT)
    job = replace(SENT, kind="training_job", request_id="j1")
    training = open_ledger(*contexts(), "training_job")
    assert training.read() is None
    training.write(job)
    assert (open_ledger(*contexts()).read(), training.read()) == (SENT, job)
    training.delete()
    assert (open_ledger(*contexts()).read(), training.read()) == (SENT, None)


def test_an_intent_is_of_its_kind():
    assert intent({"ti": identity()}, "f", "training_job").kind == "training_job"
    assert intent({"ti": identity()}, "f").kind == "async_request"


@pytest.mark.parametrize("change", [{"dag_id": "x"}, {"run_id": "../r"}, {"task_id": "t/u"}, {"map_index": 0}])
def test_task_instances_do_not_share(tmp_path, change):
    store = ResultStore(f"file://{tmp_path}")
    open_ledger({"ti": identity()}, store).write(SENT)
    other = open_ledger({"ti": identity(**change)}, store)
    assert other.read() is None


class TestRuns:
    def test_run_made_again_under_its_id_is_another_one(self):
        first, again, second = (identity_of({"ti": identity(), "dag_run": started(day)}) for day in (1, 1, 2))
        assert (first, first.key) == (again, again.key)
        assert first.name == second.name
        assert first.key != second.key

    def test_same_moment_in_another_zone_is_the_same_run(self):
        from datetime import timedelta, timezone

        there = SimpleNamespace(start_date=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
        contexts = [{"ti": identity(), "dag_run": run} for run in (started(1), there)]
        assert identity_of(contexts[0]) == identity_of(contexts[1])

    def test_context_without_a_run_has_an_identity(self):
        assert identity_of({"ti": identity()}).run is None
        assert identity_of({"ti": identity(), "dag_run": SimpleNamespace(start_date=None)}).run is None

    @pytest.mark.parametrize("has_task_states", [True, False])
    def test_request_of_a_deleted_run_is_replaced(self, tmp_path, has_task_states):
        if has_task_states:
            context = pytest.importorskip("airflow.sdk.execution_time.context")
            if not hasattr(context, "NEVER_EXPIRE"):
                pytest.skip("The task state store came with Airflow 3.3.")

        def attempt(day):  # Airflow deletes the task states with the run.
            states = {"task_state_store": FakeTaskStates()} if has_task_states else {}
            return {"ti": identity(max_tries=2), "dag_run": started(day)} | states

        store = ResultStore(f"file://{tmp_path}")
        first, second = attempt(1), attempt(2)
        open_ledger(first, store).write(replace(intent(first, "f"), request_id="r1"))
        found = open_ledger(second, store).read()
        assert plan(found, intent(second, "f"), "fail") == Replace("r1")


class TestTwoRecords:
    """Airflow's task state store decides; the result store helps where the id did not get there."""

    @pytest.fixture
    def states(self):
        context = pytest.importorskip("airflow.sdk.execution_time.context")
        if not hasattr(context, "NEVER_EXPIRE"):
            pytest.skip("The task state store came with Airflow 3.3.")
        return FakeTaskStates()

    @pytest.fixture
    def ledger(self, states, tmp_path):
        context = {"ti": identity(), "dag_run": started(1), "task_state_store": states}
        return lambda: open_ledger(context, ResultStore(f"file://{tmp_path}/store"))

    def test_id_counts_that_only_the_store_has(self, ledger, states, monkeypatch):
        ledger().write(INTENT)

        def down(*arguments, **options):
            raise OSError("Airflow's API is down")

        with monkeypatch.context() as patch:
            patch.setattr(FakeTaskStates, "set", down)
            ledger().write(SENT)
        assert states["baseten_async_request"]["request_id"] is None
        assert ledger().read() == SENT

    def test_id_counts_that_only_the_task_states_have(self, ledger, tmp_path):
        (tmp_path / "store").write_text("no folder")
        ledger().write(INTENT)
        ledger().write(SENT)
        assert ledger().read() == SENT

    def test_id_that_nothing_has_is_an_error(self, ledger, tmp_path, monkeypatch):
        ledger().write(INTENT)
        (tmp_path / "store").write_text("no folder")

        def down(*arguments, **options):
            raise OSError("Airflow's API is down")

        monkeypatch.setattr(FakeTaskStates, "set", down)
        with pytest.raises(OSError, match="API is down"):
            ledger().write(SENT)

    def test_id_of_an_earlier_intent_does_not_count(self, ledger):
        ledger().write(INTENT)
        ledger().write(SENT)
        later = replace(INTENT, created_at=5)
        ledger().write(later)
        assert ledger().read() == later

    def test_request_that_is_over_does_not_come_back_from_the_store(self, ledger):
        ledger().write(replace(SENT, run=identity_of({"ti": identity(), "dag_run": started(1)}).run))
        ledger().delete()
        assert ledger().read() is None

    @pytest.mark.parametrize("record", [[], "x", {"fingerprint": "f"}, asdict(SENT) | {"fingerprint": 1}])
    def test_damaged_task_state_is_a_typed_error(self, ledger, states, record):
        states["baseten_async_request"] = record
        with pytest.raises(BasetenResultStoreError, match="is damaged"):
            ledger().read()


def test_a_record_of_a_newer_version_is_read(tmp_path):
    store = ResultStore(f"file://{tmp_path}")
    ledger = open_ledger({"ti": identity()}, store)
    ledger.write(SENT)
    (file,) = (tmp_path / "ledger").iterdir()
    record = json.loads(file.read_text())
    assert record["version"] == 1
    file.write_text(json.dumps({**record, "version": 7, "field": "new"}))
    assert ledger.read() == replace(SENT, version=7)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        "\xff",
        "[" * 100_000,
        '{"fingerprint": "f"}',
        json.dumps(asdict(SENT) | {"max_tries": True}),
        json.dumps(asdict(SENT) | {"request_id": 7}),
        json.dumps(asdict(SENT) | {"kind": "training_job"}),
        json.dumps(asdict(SENT) | {"kind": 1}),
    ],
)
def test_damaged_record_is_an_error_and_not_an_absence(tmp_path, content):
    store = ResultStore(f"file://{tmp_path}")
    ledger = open_ledger({"ti": identity()}, store)
    ledger.write(SENT)
    (file,) = (tmp_path / "ledger").iterdir()
    file.write_text(content)
    with pytest.raises(BasetenResultStoreError, match="is damaged"):
        ledger.read()


def test_an_id_whose_write_fails_is_written_again_and_the_reason_is_logged_once(monkeypatch, caplog):
    monkeypatch.setattr(write_retries, "FIRST_PAUSE_SECONDS", 0.01)
    failures = [ConnectionError("https://user:password@airflow"), BasetenResultStoreError("The store is away.")]
    written = []

    def write(entry):
        if failures:
            raise failures.pop()
        written.append(entry)

    write_persistently(SimpleNamespace(write=write), SENT)
    assert written == [SENT]
    assert caplog.messages == ["A write failed and is retried for 60 s: The store is away."]
    failures.append(ConnectionError("https://user:password@airflow"))
    write_persistently(SimpleNamespace(write=write), SENT)
    assert caplog.messages[1:] == ["A write failed and is retried for 60 s: ConnectionError"]
