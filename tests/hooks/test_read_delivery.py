"""Results that were delivered, read with the hook."""

import json

import pytest

from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenInputError,
    BasetenResultLostError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.hooks.baseten import BasetenHook


@pytest.fixture
def deliver(tmp_path):
    def write(request_id, **fields):
        (tmp_path / f"{request_id}.json").write_text(json.dumps({"request_id": request_id, "errors": []} | fields))

    return write


@pytest.fixture
def hook(connect, tmp_path):
    connect(password="key", extra={"result_store": f"file://{tmp_path}"})
    return BasetenHook()


def test_the_output_is_returned_as_often_as_wanted(hook, deliver):
    deliver("r1", data={"label": "spam"})
    assert [hook.read_delivery("r1") for _ in range(2)] == [{"label": "spam"}] * 2


@pytest.mark.parametrize(("quotes", "is_quoted"), [(True, True), (False, False)])
def test_a_failed_request_is_its_error(connect, tmp_path, deliver, quotes, is_quoted):
    connect(password="key", extra={"result_store": f"file://{tmp_path}", "log_error_details": quotes})
    deliver("r1", data=None, errors=[{"code": "MODEL_PREDICT_ERROR", "message": "words of the model"}])
    with pytest.raises(BasetenAsyncRequestError, match="r1 ended as FAILED") as failed:
        BasetenHook().read_delivery("r1")
    assert ("words of the model" in str(failed.value)) is is_quoted


def test_a_result_that_is_not_there_and_a_damaged_one(hook, tmp_path):
    with pytest.raises(BasetenResultLostError, match=r"r1 is not in the result store .*has not been delivered"):
        hook.read_delivery("r1")
    (tmp_path / "r2.json").write_text("{")
    with pytest.raises(BasetenResultStoreError, match="damaged"):
        hook.read_delivery("r2")


def test_an_id_that_is_a_path_is_refused(hook):
    with pytest.raises(BasetenInputError, match="request_id"):
        hook.read_delivery("../keys/x")
