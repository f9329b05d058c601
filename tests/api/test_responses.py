"""Answers become outputs or typed errors."""

import json
import pickle
from email.utils import formatdate

import pytest

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.api import http, truss_msgpack
from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response, decode_model_output
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenRateLimitError,
    BasetenResponseError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from tests.fuzz.msgpack_bodies import array_form

PREDICT = build_predict(Target(model_id="abc"), {"text": "hi"})
IN_MSGPACK = build_predict(Target(model_id="abc"), {}, content_type=http.MSGPACK)
FROM_MODEL = {"x-baseten-error-source": "04", "x-baseten-error-code": "600"}
FROM_SERVER = {"x-baseten-error-source": "04", "x-baseten-error-code": "700"}


def answer(status=200, body=b"", content_type="application/json", headers=None, request=PREDICT):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        request=request,
        status=status,
        headers={"content-type": content_type, "x-baseten-request-id": "req1"} | (headers or {}),
        body=body,
    )


class TestOutput:
    @pytest.mark.parametrize("value", [None, 0, "", "ü", [1, [None]], {"a": 1}, 1.5, False])
    def test_json(self, value):
        assert answer(body=value).output() == value

    def test_vendor_json(self):
        assert answer(body=b'{"a": 1}', content_type="application/problem+json; charset=utf-8").output() == {"a": 1}

    @pytest.mark.parametrize("content_type", ["application/octet-stream", "text/event-stream", "text/plain", ""])
    def test_streamed_text(self, content_type):
        assert answer(body="zwölf".encode(), content_type=content_type).output() == "zwölf"

    @pytest.mark.parametrize("content_type", ["application/octet-stream", "image/png", "audio/wav"])
    def test_bytes_stay_bytes(self, content_type):
        assert answer(body=b"\x89PNG\xff", content_type=content_type).output() == b"\x89PNG\xff"

    def test_no_body(self):
        assert answer(status=204, content_type="").output() is None

    @pytest.mark.parametrize("body", [b"\x89PNG\r\n\x1a\n", b"\x93NUMPY\x01", b"\x91" * 5000, b"hello", b"\xc1"])
    def test_bytes_of_a_model_that_was_asked_in_msgpack(self, body):
        assert answer(body=body, content_type=http.MSGPACK, request=IN_MSGPACK).output() == body

    @pytest.mark.parametrize("form", [{"type": "|O", "data": b"A" * 8}, {"shape": [2]}])
    def test_msgpack_that_is_refused_is_no_output(self, form):
        body = array_form(**form)
        with pytest.raises(
            BasetenResponseError, match=r"msgpack that is not accepted .* \(request id req1\)"
        ) as raised:
            answer(body=body, content_type=http.MSGPACK, request=IN_MSGPACK).output()
        assert raised.value.may_have_run

    def test_msgpack_only_where_msgpack_was_asked_for(self):
        body = truss_msgpack.pack({"a": 1})
        asked = build_predict(Target(model_id="abc"), 1, content_type="application/octet-stream")
        assert answer(body=body, content_type="application/octet-stream", request=asked).output() == {"a": 1}
        assert answer(body=body, content_type="application/octet-stream").output() == body

    def test_bytes_that_a_model_returned_to_a_msgpack_request(self):
        asked = build_predict(Target(model_id="abc"), 1, content_type="application/octet-stream")
        assert answer(body=b"\xc1raw", content_type="application/octet-stream", request=asked).output() == b"\xc1raw"

    @pytest.mark.parametrize("body", [b"{", b"not json", b"\xff\xfe\xff", b'{"a":' * 100_000])
    def test_broken_json(self, body):
        with pytest.raises(BasetenResponseError, match=r"returned 200 .*request id req1") as caught:
            answer(body=body).output()
        assert caught.value.may_have_run

    def test_a_page_of_html_is_not_a_model_output(self):
        page = answer(body=b"<html>Please log in</html>", content_type="text/html; charset=utf-8")
        with pytest.raises(BasetenResponseError, match="HTML page"):
            decode_model_output(page)
        assert page.output() == "<html>Please log in</html>"


# status, headers, error type, retryable, may have run
CLASSES = [
    (301, {}, BasetenResponseError, False, False),
    (400, {}, BasetenInputError, False, False),
    (400, FROM_SERVER, BasetenInputError, False, False),
    (401, {}, BasetenAuthError, False, False),
    (401, FROM_MODEL, BasetenModelError, False, True),
    (402, {}, BasetenAuthError, False, False),
    (403, {}, BasetenAuthError, False, False),
    (404, {}, BasetenNotFoundError, False, False),
    (404, FROM_SERVER, BasetenNotFoundError, False, False),
    (404, FROM_MODEL, BasetenModelError, False, True),
    (405, {}, BasetenInputError, False, False),
    (408, {}, BasetenTimeoutError, True, False),
    (413, {}, BasetenPayloadTooLargeError, False, False),
    (418, FROM_MODEL, BasetenModelError, False, True),
    (422, FROM_MODEL, BasetenInputError, False, False),
    (429, {}, BasetenRateLimitError, True, False),
    (429, FROM_MODEL, BasetenRateLimitError, True, False),
    (500, {}, BasetenUnavailableError, True, True),
    (500, FROM_MODEL, BasetenModelError, True, True),
    (500, {"x-baseten-error-source": "04", "x-baseten-error-code": "500"}, BasetenModelError, True, True),
    (501, FROM_MODEL, BasetenModelError, True, True),
    (502, {}, BasetenUnavailableError, True, False),
    (503, {}, BasetenUnavailableError, True, False),
    (503, FROM_MODEL, BasetenUnavailableError, True, False),
    (504, {}, BasetenTimeoutError, True, True),
    (529, {}, BasetenRateLimitError, True, False),
    (599, {}, BasetenUnavailableError, True, True),
]


class TestErrors:
    @pytest.mark.parametrize(("status", "headers", "kind", "retryable", "may_have_run"), CLASSES)
    def test_class(self, status, headers, kind, retryable, may_have_run):
        error = error_for(answer(status, {"error": "no", "error_code": "some_code"}, headers=headers))
        assert type(error) is kind
        assert (error.status, error.error_code, error.request_id) == (status, "some_code", "req1")
        assert (error.retryable, error.may_have_run) == (retryable, may_have_run)
        assert str(error).startswith(f"predict of model abc (environment production) returned {status}: no. ")
        assert str(error).endswith("(request id req1).")

    @pytest.mark.parametrize("status", [200, 201, 204])
    def test_success_is_no_error(self, status):
        assert error_for(answer(status)) is None

    def test_allowed_status_is_no_error(self):
        request = build_sync_route(Target(model_id="abc"), "r", allowed_statuses=[404])
        assert error_for(answer(404, request=request)) is None
        assert error_for(answer(410, request=request)) is not None

    @pytest.mark.parametrize(
        ("body", "content_type", "text"),
        [
            (
                {"error": "Input Parsing Error:\n  `x`: Field required."},
                "application/json",
                "Input Parsing Error: `x`: Field",
            ),
            ({"error": {"code": 7}}, "application/json", '{"code": 7}'),
            ({"error": {"exception_cls_name": "E", "exception_message": "boom"}}, "application/json", "E: boom"),
            ({"error": None, "detail": "Not Found"}, "application/json", "Not Found"),
            ({"detail": [{"loc": ["x"]}]}, "application/json", '[{"loc": ["x"]}]'),
            ({"message": "from management"}, "application/json", "from management"),
            ({}, "application/json", "returned 400. "),
            ([], "application/json", "returned 400: []"),
            (b"plain words", "text/plain", "plain words"),
            (b"", "", "returned 400. "),
            (b"\xff\x00\x1b[31mred", "text/plain", "[31mred"),
            (b"<html>big page</html>", "text/html", "(an HTML page)"),
        ],
    )
    def test_words_of_the_server(self, body, content_type, text):
        message = str(error_for(answer(400, body, content_type)))
        assert text in message
        assert message.isprintable()

    def test_excerpt_is_bounded(self):
        message = str(error_for(answer(400, {"error": "x" * 10_000})))
        assert len(message) < 800

    @pytest.mark.parametrize(
        ("header", "body", "seconds"),
        [
            ("7", {}, 7),
            ("1.5", {}, 1.5),
            ("-3", {}, 0),
            ("nan", {}, None),
            ("soon", {}, None),
            (None, {"retry_after": 9}, 9),
            (None, {"retry_after": "9"}, 9),
            (None, {"retry_after": None}, None),
            ("2", {"retry_after": 9}, 2),
            (None, [], None),
        ],
    )
    def test_retry_after(self, header, body, seconds):
        headers = {"retry-after": header} if header else {}
        assert error_for(answer(429, body, headers=headers)).retry_after == seconds

    def test_retry_after_as_a_date(self):
        import time

        headers = {"retry-after": formatdate(time.time() + 100, usegmt=True)}
        assert error_for(answer(503, {}, headers=headers)).retry_after == pytest.approx(100, abs=5)

    def test_errors_survive_a_pickle(self):
        error = error_for(answer(429, {"error": "busy", "error_code": "rate_limited"}, headers={"retry-after": "7"}))
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))

    def test_every_error_is_a_baseten_error(self):
        kinds = [
            kind for name, kind in vars(exceptions).items() if name.endswith("Error") and name.startswith("Baseten")
        ]
        assert len(kinds) > 5
        assert all(issubclass(kind, exceptions.BasetenError) for kind in kinds)


class TestAwkwardErrors:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (5, 5.0),
            ("5", 5.0),
            (0.5, 0.5),
            (-3, 0.0),
            (-(10**400), 0.0),
            (10**400, 86_400.0),
            ("1" * 400, None),
            (1e300, 86_400.0),
            (True, None),
            (None, None),
            ("soon", None),
            ("", None),
            ([5], None),
            ({"seconds": 5}, None),
            ("nan", None),
            ("inf", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
            ("Fri, 31 Dec 99999 23:59:59 GMT", None),
            ("Fri, 31 Dec 9999 23:59:59 -9999", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ],
    )
    def test_wait_that_is_asked_for(self, value, seconds):
        body = json.dumps({"error": "busy", "retry_after": value}).encode()
        assert error_for(answer(429, body)).retry_after == seconds
        if isinstance(value, str):
            assert error_for(answer(429, b"", headers={"retry-after": value})).retry_after == seconds

    def test_header_that_says_nothing_leaves_it_to_the_body(self):
        asked = answer(429, {"retry_after": 7}, headers={"retry-after": "soon"})
        assert error_for(asked).retry_after == 7

    @pytest.mark.parametrize(
        "body",
        [
            b"\xff\xfe\x00",
            b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"a":' * 100_000,
            b'{"error": "\\ud83d", "error_code": "\\ud83d"}',
            b'{"error": {"exception_message": ' + b"[" * 900 + b"]" * 900 + b"}}",
            b'{"error": {"exception_message": 5, "exception_cls_name": [1]}}',
            b'{"error": 1e999}',
            b'{"detail": [{"loc": ["body"], "msg": "no"}]}',
            b'{"error": ' + b"9" * 10_000 + b"}",
            b"[]",
            b"null",
            b"x" * 1_000_000,
        ],
    )
    def test_body(self, body):
        error = error_for(answer(422, body))
        assert isinstance(error, BasetenInputError)
        assert len(str(error).encode()) < 3000
