"""BasetenAsyncRequestSensor: ids that can't be one, doubts that outlive a process, and what a poke costs."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, XComArg, task

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.compat import AirflowFailException
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenAuthError,
    BasetenInputError,
    BasetenResultLostError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting import blocking_poller, state

KEY = "abcd1234.s3cr3t"
MODES = pytest.mark.parametrize("mode", ["poke", "reschedule"])


@pytest.fixture
def store(tmp_path):
    return ResultStore(f"file://{tmp_path}/store")


@pytest.fixture
def baseten(connect, store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__STATUS_CALLS_PER_SECOND", "1000")
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": store.uri})
        yield emulator


def sensor(request_ids="r1", **options):
    return BasetenAsyncRequestSensor(task_id="s", model_id="echo", request_ids=request_ids, **options)


def asked(baseten):
    return [request for request in baseten.requests if request.action == "async_request"]


class States(dict):
    def set(self, key, value):
        self[key] = value


def context(try_number=1, **more):
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="s", map_index=-1, max_tries=2, try_number=try_number)
    return {"ti": ti, **more}


class TestIds:
    IMPOSSIBLE = pytest.mark.parametrize(
        "request_ids",
        [
            None,
            [],
            (),
            "",
            [""],
            "a b",
            ["r1", None],
            ["r1", 7],
            7,
            {"r1": 1},
            b"r1",
            "../r1",
            "r1/x",
            ["r1", "r" * 129],
        ],
        ids=repr,
    )

    @IMPOSSIBLE
    def test_that_can_not_be_one_is_an_error_of_the_dag(self, request_ids):
        with pytest.raises(BasetenInputError, match=r"request_ids?="):
            sensor(request_ids)

    @IMPOSSIBLE
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_that_turns_out_to_be_none_is_an_error_at_once(self, baseten, request_ids, deferrable):
        waiting = sensor("{{ later }}", deferrable=deferrable, timeout=600, poke_interval=60)
        waiting.request_ids = request_ids
        began = time.monotonic()
        # Below Airflow 3.3 a failure that no retry can help reaches Airflow as its own exception.
        with pytest.raises((BasetenInputError, AirflowFailException), match=r"request_ids?="):
            waiting.execute(context())
        assert time.monotonic() - began < 5
        assert asked(baseten) == []

    def test_that_come_later_are_no_error_of_the_dag(self):
        with DAG("later"):
            sent = BasetenAsyncPredictOperator(task_id="t", model_id="echo", model_input=1)
            later = ("{{ ti.xcom_pull('t') }}", ["r1", "{% raw %}x{% endraw %}"], sent.output, [sent.output, "r1"])
            for number, ids in enumerate(later):
                BasetenAsyncRequestSensor(task_id=f"s{number}", model_id="echo", request_ids=ids)

    def test_upstream_that_returned_nothing_fails_the_task(self, baseten, run_dag):
        with DAG("returned_nothing") as dag:

            @task
            def send():
                return None

            BasetenAsyncRequestSensor(task_id="s", model_id="echo", request_ids=send(), timeout=600, poke_interval=60)
        began = time.monotonic()
        assert run_dag(dag).states["s"] == "failed"
        assert time.monotonic() - began < 30


class TestDoubt:
    """A request that Baseten no longer knows, or whose result is late."""

    def poke(self, mode, made, **more):
        """Poke as Airflow does: in the same process, or in a new one each time."""
        made = made if mode == "poke" else sensor(mode="reschedule")
        return made.poke(context(**more))

    @MODES
    @pytest.mark.parametrize("has_states", [False, True])
    def test_is_a_time_and_no_sleep(self, baseten, monkeypatch, mode, has_states):
        more = {"task_state_store": States()} if has_states else {}
        made, now = sensor(mode=mode), time.time()
        began = time.monotonic()
        for seconds in (0, 30, state.GRACE - 1):
            monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
            assert not self.poke(mode, made, **more).is_done
        monkeypatch.setattr(time, "time", lambda: now + state.GRACE)
        with pytest.raises(BasetenResultLostError, match="does not know it, or no longer"):
            self.poke(mode, made, **more)
        assert time.monotonic() - began < 10

    @MODES
    def test_ends_when_the_result_comes(self, baseten, store, monkeypatch, mode):
        made, now = sensor(mode=mode), time.time()
        assert not self.poke(mode, made).is_done
        store.write("r1.json", b'{"request_id": "r1", "data": 5, "errors": []}')
        monkeypatch.setattr(time, "time", lambda: now + 500)
        assert self.poke(mode, made).xcom_value == {"r1": 5}

    @MODES
    def test_begins_anew_while_the_store_is_away(self, baseten, store, monkeypatch, mode):
        def away(self, request_ids):
            raise BasetenResultStoreError("The store is away.")

        made, clock, states = sensor(mode=mode), [time.time()], {"task_state_store": States()}
        monkeypatch.setattr(time, "time", lambda: clock[0])
        assert not self.poke(mode, made, **states).is_done
        with monkeypatch.context() as patch:
            patch.setattr(Deliveries, "delivered", away)
            clock[0] += state.GRACE + 1
            assert not self.poke(mode, made, **states).is_done
        clock[0] += state.GRACE - 1
        assert not self.poke(mode, made, **states).is_done
        store.write("r1.json", b'{"request_id": "r1", "data": 5, "errors": []}')
        assert self.poke(mode, made, **states).xcom_value == {"r1": 5}

    def test_of_an_earlier_attempt_does_not_count(self, baseten, monkeypatch):
        now = time.time()
        assert not self.poke("reschedule", None).is_done
        monkeypatch.setattr(time, "time", lambda: now + 500)
        assert not self.poke("reschedule", None, try_number=2).is_done

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attempt": 1}', b'{"attempt": 1, "doubtful_since": 7}'])
    def test_record_that_is_damaged_begins_anew(self, baseten, store, monkeypatch, content):
        now = time.time()
        self.poke("reschedule", None)
        (file,) = Path(store.uri.removeprefix("file://"), "sensors").iterdir()
        file.write_bytes(content)
        monkeypatch.setattr(time, "time", lambda: now + 500)
        assert not self.poke("reschedule", None).is_done

    def test_store_and_airflow_that_are_away_end_nothing(self, baseten, tmp_path):
        class Away:
            def get(self, key):
                raise OSError("away")

            def set(self, key, value):
                raise OSError("away")

        assert not self.poke("reschedule", None, task_state_store=Away()).is_done
        (tmp_path / "store").write_text("no folder")
        assert not self.poke("reschedule", None).is_done


class TestCost:
    def test_many_lost_requests_hold_no_worker(self, baseten):
        began = time.monotonic()
        made = sensor([f"r{number}" for number in range(100)])
        assert not made.poke(context()).is_done
        assert time.monotonic() - began < 8
        assert len(asked(baseten)) == 100

    def test_pace_is_kept_and_bounds_the_calls(self, baseten, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__STATUS_CALLS_PER_SECOND", "10")
        monkeypatch.setattr(blocking_poller, "_MAX_ROUND_SECONDS", 1.0)
        made = sensor([f"r{number}" for number in range(100)])
        began = time.monotonic()
        made.poke(context())
        assert time.monotonic() - began < 5
        assert len(asked(baseten)) <= 11

    @pytest.fixture
    def ids(self, store):
        """Ids of 50 requests whose results are in the store."""
        ids = [f"r{number}" for number in range(50)]
        for name in ids:
            store.write(f"{name}.json", b'{"request_id": "x", "data": 5, "errors": []}')
        return ids

    @pytest.fixture
    def reads(self, monkeypatch):
        """Number of ids in each read of the store."""
        reads, delivered = [], Deliveries.delivered
        monkeypatch.setattr(Deliveries, "delivered", lambda self, ids: reads.append(len(ids)) or delivered(self, ids))
        return reads

    def test_all_share_one_read_of_the_store(self, baseten, ids, reads):
        assert sensor(ids).poke(context()).xcom_value == dict.fromkeys(ids, 5)
        assert reads == [50]
        assert asked(baseten) == []

    def test_late_results_of_many_requests_share_one_read_of_the_store(self, baseten, ids, reads):
        event = {"outcomes": dict.fromkeys(ids, "timeout"), "seconds": 1.0}
        assert sensor(ids, expects_delivery=True).execute_complete(context(), event) == dict.fromkeys(ids, 5)
        assert reads == [50]

    @MODES
    def test_what_has_succeeded_is_not_asked_again(self, baseten, mode, monkeypatch):
        """More requests than one poke may ask about are all seen in the end."""
        monkeypatch.setattr(blocking_poller, "_MAX_ROUND_SECONDS", 0.1)
        monkeypatch.setenv("AIRFLOW__BASETEN__STATUS_CALLS_PER_SECOND", "50")
        baseten.inject(Fault(action="async_request", status=200, body={"status": "SUCCEEDED"}, times=1000))
        ids = [f"r{number}" for number in range(20)]
        made, pokes = sensor(ids, mode=mode, expects_delivery=False), 0
        while not (found := made.poke(context())).is_done:
            made, pokes = made if mode == "poke" else sensor(ids, mode=mode, expects_delivery=False), pokes + 1
            assert pokes < 100
        assert found.xcom_value == {name: {"request_id": name, "status": "SUCCEEDED"} for name in ids}
        assert len(asked(baseten)) == 20
        assert pokes > 1

    def test_trouble_with_the_connection_ends_the_calls_of_a_poke(self, connect, baseten):
        connect(host="http://127.0.0.1:1", password=KEY)
        began = time.monotonic()
        assert not sensor([f"r{number}" for number in range(100)]).poke(context()).is_done
        assert time.monotonic() - began < 10

    def test_failure_among_many_fails_the_sensor(self, baseten, store):
        baseten.inject(Fault(action="async_request", status=200, body={"status": "EXPIRED", "errors": 7}, times=2))
        with pytest.raises(BasetenAsyncRequestError, match="EXPIRED"):
            sensor(["r1"]).poke(context())


class TestConnectionThatIsAway:
    @pytest.fixture
    def take_away(self, monkeypatch):
        monkeypatch.delenv("BASETEN_API_KEY", raising=False)
        return lambda: monkeypatch.delenv("AIRFLOW_CONN_BASETEN_DEFAULT")

    def test_at_the_first_poke_it_is_an_error(self, baseten, take_away):
        take_away()
        with pytest.raises(BasetenAuthError, match="does not exist"):
            sensor().poke(context())

    def test_later_the_sensor_waits_for_it_too(self, baseten, take_away, capfd):
        baseten.hold()
        request_id = BasetenHook().async_predict(Target(model_id="echo"), 1)
        waiting = sensor(request_id)
        waiting.poke(context())
        take_away()
        assert not waiting.poke(context()).is_done
        assert "can't be read now" in "".join(capfd.readouterr())

    def test_in_another_process_too(self, baseten, take_away, capfd):
        take_away()
        assert not sensor(mode="reschedule").poke(context(task_reschedule_count=1)).is_done
        assert "can't be read now" in "".join(capfd.readouterr())


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_timeout_holds_while_a_request_is_doubtful(baseten, run_dag, mode):
    with DAG(f"doubtful_{mode}") as dag:
        sensor(mode=mode, timeout=2, poke_interval=0.5)
    began = time.monotonic()
    assert run_dag(dag).states["s"] == "failed"
    assert time.monotonic() - began < 40


def test_xcom_arg_is_taken_as_it_is():
    with DAG("arg"):
        sent = BasetenAsyncPredictOperator(task_id="t", model_id="echo", model_input=1)
        assert isinstance(sensor(sent.output).request_ids, XComArg)
