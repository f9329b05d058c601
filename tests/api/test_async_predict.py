"""What async requests are made of, and how the wait for one ends."""

import json
import math
import random
from decimal import Decimal

import pytest

from airflow_provider_baseten.api import async_predict
from airflow_provider_baseten.api.async_predict import AsyncStatus, build_async_predict, build_status
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.api.webhook import Delivery
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenInputError,
    BasetenPayloadTooLargeError,
    BasetenResponseError,
    BasetenResultLostError,
    BasetenTimeoutError,
)
from airflow_provider_baseten.waiting.errors import error_of
from airflow_provider_baseten.waiting.state import GRACE, Observation, Outcome, Wait, poll_delay

MODEL = Target(model_id="abc")
HOOK = "https://airflow.example.com/baseten/webhooks/baseten_default"


class TestSubmission:
    def test_only_what_is_given_is_sent(self):
        request = build_async_predict(MODEL, {"a": 1})
        assert (request.host, request.path) == ("model-abc", "/environments/production/async_predict")
        assert json.loads(request.body) == {"model_input": {"a": 1}}
        assert not request.idempotent

    def test_all_options(self):
        config = {"max_attempts": 1, "initial_delay_ms": 0, "max_delay_ms": 60_000}
        options = {"webhook_endpoint": HOOK, "priority": 2, "max_time_in_queue_seconds": 10}
        request = build_async_predict(MODEL, [1], inference_retry_config=config, **options)
        assert json.loads(request.body) == {"model_input": [1], "inference_retry_config": config} | options

    def test_chain_is_wrapped_too(self):
        request = build_async_predict(Target(chain_id="x"), {"n": 1}, webhook_endpoint=HOOK)
        assert request.path.endswith("/async_run_remote")
        assert json.loads(request.body)["model_input"] == {"n": 1}
        with pytest.raises(BasetenInputError, match="run_remote"):
            build_async_predict(Target(chain_id="x"), [1])

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"priority": 3}, "priority=3"),
            ({"priority": -1}, "priority=-1"),
            ({"priority": True}, "priority=True"),
            ({"priority": 1.0}, "priority=1.0"),
            ({"max_time_in_queue_seconds": 9}, "max_time_in_queue_seconds=9"),
            ({"max_time_in_queue_seconds": 259_201}, "max_time_in_queue_seconds"),
            ({"inference_retry_config": {"max_attempts": 0}}, r"inference_retry_config\.max_attempts=0"),
            ({"inference_retry_config": {"max_attempts": 11}}, "max_attempts"),
            ({"inference_retry_config": {"initial_delay_ms": 10_001}}, "initial_delay_ms"),
            ({"inference_retry_config": {"max_delay_ms": 60_001}}, "max_delay_ms"),
            ({"inference_retry_config": {"tries": 1}}, r"inference_retry_config\.tries is unknown"),
            ({"webhook_endpoint": "http://airflow.example.com/"}, "must be https"),
            ({"webhook_endpoint": "airflow.example.com/"}, "webhook_endpoint"),
            ({"webhook_endpoint": "https://h/\n"}, "webhook_endpoint"),
        ],
    )
    def test_bounds(self, options, name):
        with pytest.raises(BasetenInputError, match=name):
            build_async_predict(MODEL, 1, **options)

    @pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9"])
    def test_webhook_on_this_machine_may_be_plain(self, host):
        assert build_async_predict(MODEL, 1, webhook_endpoint=f"http://{host}/x?token=1")

    def test_limit_counts_the_whole_body(self):
        frame = len(build_async_predict(MODEL, "").body)
        assert build_async_predict(MODEL, "x" * (262_144 - frame))
        with pytest.raises(BasetenPayloadTooLargeError, match="262,145 bytes"):
            build_async_predict(MODEL, "x" * (262_145 - frame))

    @pytest.mark.parametrize("request_id", ["", "a/b", "../x", "a b", "a\n", "x" * 129])
    def test_request_id_that_is_none(self, request_id):
        with pytest.raises(BasetenInputError, match="request_id"):
            build_status(MODEL, request_id)

    @pytest.mark.parametrize(
        "output",
        [None, {}, {"request_id": 7}, {"request_id": ""}, [], {"request_id": "../x"}, {"request_id": "\ud83d"}],
    )
    def test_answer_without_an_id_may_have_been_accepted(self, output):
        with pytest.raises(BasetenResponseError, match=r"no valid request_id.* check the queue") as caught:
            async_predict.request_id_of(output, "async predict")
        assert caught.value.may_have_run


def seen(status=None, webhook_status=None, **others):
    return Observation(status=status, webhook_status=webhook_status, **others)


# What one observation means, where a delivery is expected and where it is not. "doubt" ends as LOST if it lasts.
VERDICTS = [
    (seen(delivered=True), Outcome.ENDED, Outcome.ENDED),
    (seen(), None, None),
    (seen("QUEUED", "PENDING"), None, None),
    (seen("IN_PROGRESS", "PENDING"), None, None),
    (seen("SOME_NEW_STATUS"), None, None),
    (seen("FAILED", "SUCCEEDED"), Outcome.FAILED, Outcome.FAILED),
    (seen("EXPIRED"), Outcome.FAILED, Outcome.FAILED),
    (seen("CANCELED", "CANCELED"), Outcome.FAILED, Outcome.FAILED),
    (seen("SUCCEEDED", "PENDING"), None, Outcome.ENDED),
    (seen("SUCCEEDED", "SUCCEEDED"), "doubt", Outcome.ENDED),
    (seen("SUCCEEDED", "FAILED"), "doubt", Outcome.ENDED),
    (seen("SUCCEEDED", "NO_WEBHOOK_PROVIDED"), "doubt", Outcome.ENDED),
    (seen("WEBHOOK_FAILED", "FAILED"), "doubt", Outcome.ENDED),
    (seen(gone=True), "doubt", "doubt"),
]


class TestObservation:
    @pytest.mark.parametrize(
        "status", [None, 7, 1e999, True, ["FAILED"], {"FAILED": 1}, "", "FAILED" * 100, "FAI\nLED", "\ud800"]
    )
    def test_what_is_no_status_says_nothing(self, status):
        assert Observation.of_status({"status": status, "webhook_status": status}) == Observation()

    @pytest.mark.parametrize("answer", [None, [], "FAILED", 7, {}])
    def test_what_is_no_object_says_nothing(self, answer):
        assert Observation.of_status(answer) == Observation()


class TestWait:
    @pytest.mark.parametrize(("observation", "with_delivery", "without"), VERDICTS)
    def test_table(self, observation, with_delivery, without):
        for expects_delivery, verdict in ((True, with_delivery), (False, without)):
            wait = Wait(expects_delivery=expects_delivery, deadline=math.inf).after(observation, now=1000)
            if verdict != "doubt":
                assert (wait.outcome, wait.doubtful_since) == (verdict, None)
                continue
            assert (wait.outcome, wait.doubtful_since) == (None, 1000)
            assert wait.after(observation, now=1000 + GRACE - 1).outcome is None
            assert wait.after(observation, now=1000 + GRACE).outcome is Outcome.LOST

    def test_every_status_is_in_the_table(self):
        assert {observation.status for observation, *_ in VERDICTS} >= set(AsyncStatus)

    def test_late_delivery_ends_the_doubt(self):
        wait = Wait(expects_delivery=True, deadline=math.inf).after(seen("WEBHOOK_FAILED"), now=0)
        assert wait.after(seen(delivered=True), now=GRACE * 2).outcome is Outcome.ENDED

    def test_doubt_that_was_an_error_is_forgotten(self):
        wait = Wait(expects_delivery=True, deadline=math.inf).after(seen(gone=True), now=0)
        wait = wait.after(seen("QUEUED"), now=GRACE - 1)
        assert wait.after(seen(gone=True), now=GRACE + 1).outcome is None

    def test_not_seeing_anything_does_not_end_a_doubt(self):
        wait = Wait(expects_delivery=True, deadline=math.inf).after(seen(gone=True), now=0)
        wait = wait.after(seen(), now=GRACE / 2)
        assert wait.after(seen(gone=True), now=GRACE).outcome is Outcome.LOST

    def test_a_store_that_is_away_begins_a_doubt_anew(self):
        late, away = seen("WEBHOOK_FAILED"), seen("WEBHOOK_FAILED", store_read=False)
        wait = Wait(expects_delivery=True, deadline=10 * GRACE).after(late, now=0)
        wait = wait.after(away, now=2 * GRACE)
        assert wait.outcome is None
        wait = wait.after(late, now=3 * GRACE - 1)
        assert wait.outcome is None
        assert wait.after(late, now=3 * GRACE).outcome is Outcome.LOST
        assert wait.after(away, now=10 * GRACE).outcome is Outcome.TIMEOUT

    @pytest.mark.parametrize("observation", [seen("QUEUED"), seen("IN_PROGRESS"), seen(), seen("SUCCEEDED", "PENDING")])
    def test_deadline(self, observation):
        wait = Wait(expects_delivery=True, deadline=100)
        assert wait.after(observation, now=99.9).outcome is None
        assert wait.after(observation, now=100).outcome is Outcome.TIMEOUT

    def test_what_is_known_at_the_deadline_counts_more_than_the_deadline(self):
        wait = Wait(expects_delivery=True, deadline=100)
        assert wait.after(seen(delivered=True), now=200).outcome is Outcome.ENDED
        assert wait.after(seen("EXPIRED"), now=200).outcome is Outcome.FAILED
        assert wait.after(seen(gone=True), now=200).outcome is Outcome.LOST

    def test_polls_are_soon_at_first_and_then_seldom_and_never_in_step(self):
        assert poll_delay(0, 30, 0.5) < 2
        assert 22.5 <= poll_delay(1000, 30, 0.0) < poll_delay(1000, 30, 1.0) <= 37.5
        waits = [poll_delay(polls, 30, 0.5) for polls in range(20)]
        assert waits == sorted(waits)


class TestErrors:
    def error(self, outcome, **status):
        return error_of(outcome, "r1", status=status or None, timeout=60, result_store="s3://bucket")

    def test_failed(self):
        errors = [{"code": "MODEL_PREDICT_ERROR", "message": "boom\nin line 3"}]
        error = self.error(Outcome.FAILED, status="FAILED", errors=errors)
        assert isinstance(error, BasetenAsyncRequestError)
        assert "r1 ended as FAILED (MODEL_PREDICT_ERROR: boom in line 3)" in str(error)
        assert (error.error_code, error.retryable, error.request_id) == ("MODEL_PREDICT_ERROR", True, "r1")

    def test_expired_and_cancelled_say_what_to_do(self):
        assert "max_time_in_queue_seconds" in str(self.error(Outcome.FAILED, status="EXPIRED"))
        cancelled = self.error(Outcome.FAILED, status="CANCELED")
        assert (cancelled.retryable, cancelled.may_have_run) == (False, False)

    def test_timeout(self):
        error = self.error(Outcome.TIMEOUT, status="QUEUED")
        assert isinstance(error, BasetenTimeoutError)
        assert "60 s; its last known status is QUEUED" in str(error)
        assert "or raise the timeout of the task" in str(error)

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ({}, "does not know it, or no longer"),
            ({"status": "SUCCEEDED", "webhook_status": "SUCCEEDED"}, "do not share a result store"),
            ({"status": "SUCCEEDED", "webhook_status": "NO_WEBHOOK_PROVIDED"}, "a webhook_endpoint"),
            ({"status": "WEBHOOK_FAILED", "webhook_status": "FAILED"}, "in the log of the webhook receiver"),
        ],
    )
    def test_lost_says_why_and_is_not_a_failure(self, status, words):
        error = self.error(Outcome.LOST, **status)
        assert isinstance(error, BasetenResultLostError)
        assert words in str(error)
        assert not error.retryable

    def test_words_of_the_server_are_bounded(self):
        error = self.error(Outcome.FAILED, status="FAILED", errors=[{"code": "E", "message": "x" * 10_000}])
        assert len(str(error)) < 800

    @pytest.mark.parametrize(
        "status", [[], "text", 7, {"status": ["FAILED"]}, {"status": {"a": 1}, "errors": 7}, {"status": "x" * 10_000}]
    )
    @pytest.mark.parametrize("outcome", list(Outcome)[1:])
    def test_odd_status_answers(self, outcome, status):
        error = error_of(outcome, "r1", status=status, timeout=5, result_store="s")
        assert "r1" in str(error)
        assert len(str(error)) < 800

    @pytest.mark.parametrize("errors", [None, "text", [7], [{}], {}])
    def test_odd_errors(self, errors):
        assert "ended as FAILED" in str(self.error(Outcome.FAILED, status="FAILED", errors=errors))


class TestDelivery:
    def test_output(self):
        delivery = Delivery.parse(b'{"request_id": "r1", "data": [1], "errors": [], "time": "2024-04-30T01:01:08Z"}')
        assert (delivery.request_id, delivery.output(), delivery.time) == ("r1", [1], "2024-04-30T01:01:08Z")

    def test_null_is_an_output(self):
        assert Delivery.parse(b'{"request_id": "r1", "data": null, "errors": []}').output() is None

    def test_failure(self):
        delivery = Delivery.parse(b'{"request_id": "r1", "data": null, "errors": [{"code": "E", "message": "m"}]}')
        with pytest.raises(BasetenAsyncRequestError, match=r"r1 ended as FAILED \(E: m\)"):
            delivery.output()

    @pytest.mark.parametrize("errors", ["null", "{}", '""', "0", "false", "0.0"])
    def test_output_with_errors_that_are_none_is_an_output(self, errors):
        assert Delivery.parse(b'{"request_id": "r1", "data": 0, "errors": %s}' % errors.encode()).output() == 0
        assert Delivery.parse(b'{"request_id": "r1", "data": 0}').output() == 0

    @pytest.mark.parametrize("errors", ["null", "{}", '""', "0", "false", "0.0", "0e5"])
    def test_neither_output_nor_error_is_no_success(self, errors):
        bodies = [b'{"request_id": "r1", "data": null, "errors": %s}' % errors.encode()]
        bodies += [
            b'{"request_id": "r1", "data": null}',
            b'{"request_id": "r1", "errors": []}',
            b'{"request_id": "r1"}',
        ]
        for body in bodies:
            with pytest.raises(BasetenResultLostError, match="neither an output nor an error"):
                Delivery.parse(body).output()

    @pytest.mark.parametrize("data", ["null", "7", '{"a": 1}'])
    @pytest.mark.parametrize(
        ("errors", "words", "code"),
        [
            ('{"code": "E", "message": "boom"}', "E: boom", "E"),
            ('[{"code": "E", "message": "boom"}]', "E: boom", "E"),
            ('[{"message": "boom"}]', "boom", None),
            ('"boom"', "boom", None),
            ('["boom", "bang"]', "boom; bang", None),
            ('{"error": {"message": "boom"}}', "boom", None),
            ('{"errors": [{"code": 5, "message": {"text": "boom"}}]}', "5: boom", None),
            ("7", "7", None),
            ("true", "True", None),
            ("1e999", "a value of type Decimal", None),
            ("[null]", "", None),
            ("[[[[[[[1]]]]]]]", "a value of type list", None),
            ("1" + "0" * 5000, "a value of type", None),
            ('[{"code": {"a": 1}, "message": null}]', "1", None),
        ],
    )
    def test_errors_in_any_form_are_a_failure(self, data, errors, words, code):
        body = f'{{"request_id": "r1", "data": {data}, "errors": {errors}}}'
        with pytest.raises(BasetenAsyncRequestError, match="r1 ended as FAILED") as raised:
            Delivery.parse(body.encode()).output()
        assert words in str(raised.value)
        assert raised.value.error_code == code

    @pytest.mark.parametrize(
        "body",
        [
            '{"request_id": "r1", "errors": [{"code": "E"}], "data": null, "errors": []}',
            '{"request_id": "r1", "errors": [], "data": 1, "errors": "boom"}',
            '{"request_id": "r1", "errors": "boom", "data": {"errors": []}, "errors": null}',
        ],
    )
    def test_errors_are_not_hidden_by_a_second_key(self, body):
        with pytest.raises(BasetenAsyncRequestError):
            Delivery.parse(body.encode()).output()

    @pytest.mark.parametrize(
        "rest", ["", ', "errors": []', ', "errors": null', ', "errors": [], "data": null', ', "data": 1']
    )
    @pytest.mark.parametrize("error", ['"boom"', '{"code": "E", "message": "boom"}', '["boom"]'])
    def test_one_error_is_a_failure_too(self, rest, error):
        with pytest.raises(BasetenAsyncRequestError, match="boom"):
            Delivery.parse(f'{{"request_id": "r1", "error": {error}{rest}}}'.encode()).output()

    @pytest.mark.parametrize("error", ["null", '""', "{}", "[]", "false"])
    def test_no_error_is_none(self, error):
        body = f'{{"request_id": "r1", "error": {error}, "data": null, "errors": []}}'
        assert Delivery.parse(body.encode()).output() is None

    def test_errors_inside_of_the_output_are_the_model_s(self):
        body = b'{"request_id": "r1", "data": {"errors": ["x"], "b": {"errors": 1}}, "errors": []}'
        assert Delivery.parse(body).output() == {"errors": ["x"], "b": {"errors": 1}}

    def test_numbers_keep_every_digit(self):
        body = b'\xef\xbb\xbf{"request_id": "r1", "data": [18446744073709551617, 0.1234567890123456789], "errors": []}'
        assert Delivery.parse(body).output() == [18446744073709551617, Decimal("0.1234567890123456789")]

    @pytest.mark.parametrize("seed", range(20))
    def test_bytes_that_were_changed_are_read_or_refused(self, seed):
        draw = random.Random(seed)
        whole = b'{"request_id": "r1", "data": {"a": [1, "x"]}, "errors": [{"code": "E", "message": "m"}], "time": "t"}'
        pieces = [
            b"null",
            b"[]",
            b"{}",
            b'"',
            b",",
            b":",
            b"1e999",
            b"NaN",
            b"\xff",
            b'"errors"',
            b"9" * 30,
            b"]",
            b"}",
        ]
        for _ in range(300):
            body = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(body))
                body[at : at + draw.randint(0, 12)] = draw.choice(pieces)
            try:
                delivery = Delivery.parse(bytes(body))
            except ValueError:
                continue
            try:
                output = delivery.output()
            except (BasetenAsyncRequestError, BasetenResultLostError):
                continue
            assert not delivery.errors, (seed, bytes(body))
            assert output is not None or json.loads(body)["errors"] == [], (seed, bytes(body))

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"request_id": 7}', b"\xff", b"[" * 100_000])
    def test_what_baseten_does_not_send(self, body):
        with pytest.raises(ValueError, match=r"\w"):
            Delivery.parse(body)
