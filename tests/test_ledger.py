"""The ledger decides whether an attempt sends, and keeps what it decided from."""

from types import SimpleNamespace

import pytest

from airflow_provider_baseten.exceptions import BasetenOrphanedRequestError, BasetenResultStoreError
from airflow_provider_baseten.ledger import Entry, Plan, open_ledger, plan
from airflow_provider_baseten.results import ResultStore

SENT = Entry(fingerprint="f", max_tries=2, at=0, request_id="r1")
INTENT = Entry(fingerprint="f", max_tries=2, at=0)


@pytest.mark.parametrize(
    ("entry", "fingerprint", "max_tries", "expected"),
    [
        (None, "f", 2, Plan("send")),
        (SENT, "f", 2, Plan("attach", "r1")),
        (SENT, "other", 2, Plan("replace", "r1")),
        (SENT, "f", 3, Plan("replace", "r1")),
        (INTENT, "f", 2, Plan("send")),
        (INTENT, "other", 2, Plan("send")),
        (INTENT, "f", 3, Plan("send")),
    ],
)
def test_plan(entry, fingerprint, max_tries, expected):
    assert plan(entry, fingerprint, max_tries, "resubmit") == expected


def test_orphan_fails_only_where_nobody_asked_to_send_again():
    with pytest.raises(BasetenOrphanedRequestError, match="died while it sent"):
        plan(INTENT, "f", 2, "fail")
    assert plan(INTENT, "f", 3, "fail") == Plan("send")
    assert plan(INTENT, "other", 2, "fail") == Plan("send")


class FakeTaskStates(dict):
    def set(self, key, value, *, retention):
        from airflow.sdk import NEVER_EXPIRE

        assert retention is NEVER_EXPIRE
        self[key] = value

    def delete(self, key):
        self.pop(key, None)


def identity(**changes):
    return SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1} | changes)


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
    book = open_ledger(*contexts(try_number=1), durable=True)
    assert book.read() is None
    book.write(INTENT)
    book.write(SENT)
    again = open_ledger(*contexts(try_number=2), durable=True)
    assert again.read() == SENT
    again.delete()
    assert open_ledger(*contexts(try_number=3), durable=True).read() is None


def test_not_durable_remembers_nothing(contexts):
    open_ledger(*contexts(), durable=False).write(SENT)
    assert open_ledger(*contexts(), durable=False).read() is None
    assert open_ledger(*contexts(), durable=True).read() is None


@pytest.mark.parametrize("change", [{"dag_id": "x"}, {"run_id": "../r"}, {"task_id": "t/u"}, {"map_index": 0}])
def test_task_instances_do_not_share(tmp_path, change):
    store = ResultStore(f"file://{tmp_path}")
    open_ledger({"ti": identity()}, store, durable=True).write(SENT)
    other = open_ledger({"ti": identity(**change)}, store, durable=True)
    assert other.read() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "f"}'])
def test_damaged_record_is_an_error_and_not_an_absence(tmp_path, content):
    store = ResultStore(f"file://{tmp_path}")
    book = open_ledger({"ti": identity()}, store, durable=True)
    book.write(SENT)
    (file,) = (tmp_path / "ledger").iterdir()
    file.write_text(content)
    with pytest.raises(BasetenResultStoreError, match="is damaged"):
        book.read()
