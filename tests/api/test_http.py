"""Requests are complete and checked before anything is sent."""

import json

import pytest

from airflow_provider_baseten.api import http
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenPayloadTooLargeError

MODEL = Target(model_id="abc")
CHAIN = Target(chain_id="x1")


class TestPredict:
    @pytest.mark.parametrize("value", [None, True, 7, 1.5, "ü\u2028", [1, [2]], {"a": {"b": None}}, {}, [], ""])
    def test_any_json_value(self, value):
        assert json.loads(build_predict(MODEL, value).body) == value

    def test_repr_shows_neither_input_nor_headers(self):
        request = build_predict(MODEL, {"text": "private"}, headers={"X-Token": "private"})
        assert "private" not in repr(request)

    def test_accept_is_left_to_the_client_so_that_streams_stay_streams(self):
        assert "accept" not in {name.lower() for name in build_predict(MODEL, 1).headers}

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            (float("nan"), r"model_input is nan"),
            ({"rows": [1.0, {"x": float("inf")}]}, r"model_input\['rows'\]\[1\]\['x'\] is inf"),
            ([{1, 2}], r"model_input\[0\] is of type set"),
            ({"a": b"x"}, r"model_input\['a'\] is of type bytes"),
            ({(1, 2): 3}, r"model_input has a key of type tuple"),
            (["\ud800"], r"model_input\[0\] is text with a lone surrogate"),
        ],
    )
    def test_what_json_cannot_carry_is_named_with_its_place(self, value, place):
        with pytest.raises(BasetenInputError, match=place):
            build_predict(MODEL, value)

    def test_input_that_holds_itself(self):
        loop = []
        loop.append(loop)
        with pytest.raises(BasetenInputError, match="model_input"):
            build_predict(MODEL, loop)

    def test_input_that_is_nested_too_deeply(self):
        deep = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(BasetenInputError, match="nested too deeply"):
            build_predict(MODEL, deep)

    @pytest.mark.parametrize("value", [[1], "text", 1, None])
    def test_chain_takes_the_arguments_of_run_remote(self, value):
        with pytest.raises(BasetenInputError, match="run_remote"):
            build_predict(CHAIN, value)
        assert build_predict(CHAIN, {"n": 1}).path.endswith("/run_remote")

    def test_body_over_100_mb_is_refused(self):
        with pytest.raises(BasetenPayloadTooLargeError, match=r"104,857,6\d\d bytes.*100 MB"):
            build_predict(MODEL, "x" * http.MAX_BODY_BYTES)

    @pytest.mark.parametrize(
        "headers",
        [
            {"X A": "1"},
            {"": "1"},
            {"X-A\n": "1"},
            {"X-A": "1\r\nX-B: 2"},
            {"X-A": 1},
            {"X-A": "€"},
            {"Authorization": "Bearer k"},
            {"HOST": "evil.example"},
            {"Content-Length": "1"},
            {"content-type": "text/plain"},
        ],
    )
    def test_headers_that_would_break_or_bend_the_request(self, headers):
        with pytest.raises(BasetenInputError, match="header"):
            build_predict(MODEL, 1, headers=headers)

    def test_unknown_content_type(self):
        with pytest.raises(BasetenInputError, match="content_type='text/csv'"):
            build_predict(MODEL, 1, content_type="text/csv")


class TestSyncRoute:
    def test_query_is_encoded(self):
        request = build_sync_route(MODEL, "find", params={"q": "a b&c", "tag": ["x", "y"], "none": None, "n": 3})
        assert request.path.endswith("/sync/find?q=a+b%26c&tag=x&tag=y&n=3")

    @pytest.mark.parametrize(
        ("arguments", "body", "content_type"),
        [
            ({}, None, None),
            ({"json": {"a": 1}}, b'{"a":1}', "application/json"),
            ({"json": []}, b"[]", "application/json"),
            ({"data": b"\x00"}, b"\x00", "application/octet-stream"),
            ({"data": "ü"}, "ü".encode(), "text/plain; charset=utf-8"),
            ({"data": "a,b", "headers": {"content-type": "text/csv"}}, b"a,b", None),
        ],
    )
    def test_bodies(self, arguments, body, content_type):
        request = build_sync_route(MODEL, "r", method="post", **arguments)
        assert (request.method, request.body, request.headers.get("Content-Type")) == ("POST", body, content_type)

    @pytest.mark.parametrize(
        ("method", "idempotent"), [("GET", True), ("head", True), ("POST", False), ("DELETE", False)]
    )
    def test_only_safe_methods_may_repeat_by_themselves(self, method, idempotent):
        assert build_sync_route(MODEL, "r", method=method).idempotent is idempotent
        assert build_sync_route(MODEL, "r", method=method, idempotent=True).idempotent

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ({"method": "FETCH"}, "method='FETCH'"),
            ({"method": "GET /x HTTP/1.1\r\n"}, "method"),
            ({"method": None}, "method"),
            ({"json": 1, "data": b"1"}, "json and data"),
            ({"data": {"a": 1}}, "data takes bytes or text"),
            ({"json": float("nan")}, "json is nan"),
            ({"allowed_statuses": [1000]}, "allowed_statuses"),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, name):
        with pytest.raises(BasetenInputError, match=name):
            build_sync_route(MODEL, "r", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"params": 5},
        {"params": ["a"]},
        {"params": {"a": "\ud800"}},
        {"allowed_statuses": 404},
        {"allowed_statuses": None},
        {"data": "\ud800", "method": "POST"},
    ],
)
def test_odd_arguments_of_a_route_are_typed_errors(arguments):
    with pytest.raises(BasetenInputError):
        build_sync_route(MODEL, "r", **arguments)
