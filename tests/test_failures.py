"""How an error is logged: nothing of it is beyond the edge of Airflow's log view."""

import pickle
import traceback
from types import SimpleNamespace

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_baseten import BasetenAsyncRequestSensor, BasetenPredictOperator
from airflow_provider_baseten.compat import AirflowFailException
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError, BasetenUnavailableError
from airflow_provider_baseten.operators import failures
from airflow_provider_baseten.operators.failures import log_message

MODEL_ERROR = BasetenModelError(
    "predict of model abcd1234 (environment production) returned 500: Internal Server Error (in model/chainlet). The "
    "model's own code raised this: read its logs (request id 0123456789abcdef0123456789abcdef).",
    status=500,
    request_id="0123456789abcdef0123456789abcdef",
    may_have_run=True,
)


def test_the_most_useful_words_come_first():
    assert log_message(MODEL_ERROR).splitlines() == [
        "BasetenModelError, status 500, request id 0123456789abcdef0123456789abcdef",
        "predict of model abcd1234 (environment production) returned 500: Internal Server Error (in",
        "model/chainlet).",
        "The model's own code raised this: read its logs (request id 0123456789abcdef0123456789abcdef).",
    ]


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (BasetenInputError("model_id is missing."), ["BasetenInputError", "model_id is missing."]),
        (BasetenInputError(""), ["BasetenInputError"]),
        (
            BasetenUnavailableError("It was lost. Try e.g. later, at 1.5 s. The end"),
            ["BasetenUnavailableError", "It was lost.", "Try e.g. later, at 1.5 s.", "The end"],
        ),
    ],
)
def test_each_sentence_begins_a_line(error, lines):
    assert log_message(error).splitlines() == lines


def test_what_can_not_be_broken_is_kept():
    url = f"https://baseten.example.com/{'x' * 200}"
    assert url in log_message(BasetenInputError(f"The address {url} is not valid."))


def test_no_line_is_long_and_no_word_is_lost():
    error = BasetenModelError("words of a server " * 60, request_id="r" * 100)
    assert max(map(len, log_message(error).splitlines()[1:])) <= 100
    assert log_message(error).split()[-3:] == ["of", "a", "server"]


def test_an_airflow_without_retry_policies_says_why_there_is_no_retry(monkeypatch, connect, capfd):
    monkeypatch.setattr(failures, "KNOWS_RETRY_POLICY", False)
    connect(conn_type="http", password="abcd1234.s3cr3t")
    task = BasetenPredictOperator(task_id="ask", model_id="abc", model_input=1)
    with pytest.raises(AirflowFailException, match="has to be of type baseten"):
        task.execute({})
    assert "There is no retry. BasetenInputError: a retry would fail in the same way." in capfd.readouterr().out


def test_the_error_that_is_not_retried_can_be_pickled_for_a_callback(monkeypatch, connect):
    monkeypatch.setattr(failures, "KNOWS_RETRY_POLICY", False)
    connect(conn_type="http", password="abcd1234.s3cr3t")
    with pytest.raises(BasetenInputError) as caught:
        BasetenPredictOperator(task_id="ask", model_id="abc", model_input=1).execute({})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (BasetenInputError, str(caught.value))


def test_at_debug_level_the_whole_traceback_is_logged(connect, monkeypatch):
    connect(conn_type="http", password="abcd1234.s3cr3t")
    logged = []
    log = SimpleNamespace(
        error=lambda *_: None,
        info=lambda *_: None,
        warning=lambda *_: None,
        debug=lambda text, exc_info: logged.append((text, "".join(traceback.format_exception(exc_info)))),
    )
    monkeypatch.setattr(BasetenPredictOperator, "log", log, raising=False)
    with pytest.raises(BasetenInputError):
        BasetenPredictOperator(task_id="ask", model_id="abc", model_input=1).execute({})
    ((text, lines),) = logged
    assert text == "The full traceback:"
    assert "in find_connection" in lines


class Caught(BasetenPredictOperator):
    """An operator of a user: it overrides ``execute`` and catches the error of the model."""

    def execute(self, context):
        try:
            return super().execute(context)
        except BasetenInputError as error:
            return str(error)


class Extended(BasetenPredictOperator):
    def execute(self, context):
        return super().execute(context)


class ExtendedAgain(Extended):
    def execute(self, context):
        return super().execute(context)


@pytest.mark.parametrize("knows_policies", [True, False])
class TestSubclassOfAUser:
    @pytest.fixture(autouse=True)
    def wrong_connection(self, knows_policies, monkeypatch, connect):
        monkeypatch.setattr(failures, "KNOWS_RETRY_POLICY", knows_policies)
        connect(conn_type="http", password="abcd1234.s3cr3t")

    def test_may_catch_the_error_by_its_type(self, knows_policies):
        task = Caught(task_id="ask", model_id="abc", model_input=1)
        assert "has to be of type baseten" in task.execute({})

    @pytest.mark.parametrize("operator", [BasetenPredictOperator, Extended, ExtendedAgain])
    def test_the_failure_is_logged_once(self, knows_policies, operator, capfd):
        with pytest.raises(BasetenInputError, match="has to be of type baseten") as caught:
            operator(task_id="ask", model_id="abc", model_input=1).execute({})
        assert capfd.readouterr().out.count("BasetenInputError\n") == 1
        assert isinstance(caught.value, AirflowFailException) is not knows_policies
        assert type(caught.value).__name__ == "BasetenInputError"

    def test_after_a_deferral_too(self, knows_policies, capfd):
        with pytest.raises(BasetenInputError):
            Extended(task_id="ask", model_id="abc", model_input=1).resume_execution(
                "execute_complete", {"event": {"name": "n"}}, {}
            )
        assert capfd.readouterr().out.count("BasetenInputError\n") == 1


def test_no_operator_replaces_the_methods_that_report_failures():
    operators = {cls for cls in subclasses(BaseOperator) if cls.__module__.startswith("airflow_provider_baseten.")}
    assert BasetenAsyncRequestSensor in operators
    reporting = {"execute", "resume", "resume_execution"}
    assert {cls.__name__ for cls in operators if reporting & vars(cls).keys()} == {"ReportingOperator"}


def subclasses(cls):
    found = set(cls.__subclasses__())
    return found.union(*(subclasses(sub) for sub in found))
