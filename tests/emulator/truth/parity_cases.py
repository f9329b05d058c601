"""Requests to a model's container, and the status that Truss is known to answer each of them with."""

import json
from dataclasses import dataclass, field
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np

BINARY = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}
WANTS_JSON = {**JSON, "accept": "application/json"}
PREDICT = "v1/models/model:predict"


@dataclass(frozen=True)
class Case:
    """One request to a model's container, and the status that Truss is known to answer it with."""

    truss: str
    content: bytes = b""
    status: int = 200
    route: str = PREDICT
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: JSON)


def call(truss: str, model_input: Any, status: int = 200, route: str = PREDICT, **options: Any) -> Case:
    return Case(truss, json.dumps(model_input).encode(), status, route, **options)


def binary(truss: str, model_input: Any, status: int = 200, **headers: str) -> Case:
    packed = msgpack.packb(model_input, default=msgpack_numpy.encode)
    return Case(truss, packed, status, headers={**BINARY, **headers})


CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}

CASES = {
    # JSON in, JSON out.
    "object": call("echo", {"text": "é", "nested": {"list": [1, 2.5, True, None]}}),
    "list": call("echo", [1, [2]]),
    "string": call("echo", "é\ud83d\ude00"),
    "number": call("echo", 1e300),
    "big integer": call("echo", 2**70),
    "false": call("echo", False),
    "null": call("echo", None),
    "spaces and key order": Case("echo", b' {"b" :1,\n"a": 1.0 , "a" : "last"} '),
    "lone surrogate": Case("echo", b'"\\ud800"'),
    "utf-16": Case("echo", json.dumps({"text": "é"}).encode("utf-16")),
    "NaN in": Case("echo", b'{"score": NaN, "low": -Infinity}'),
    "no content type": Case("echo", b"[1]", headers={}),
    "text/plain": Case("echo", b"[1]", headers={"content-type": "text/plain"}),
    "form type": Case("echo", b"[1]", headers={"content-type": "application/x-www-form-urlencoded"}),
    "other model name": call("echo", [1], route="v1/models/anything:predict"),
    "one megabyte": call("echo", "x" * 1_000_000),
    # Bodies that do not parse.
    "malformed": Case("echo", b'{"a": ', 400),
    "empty": Case("echo", b"", 400),
    "two documents": Case("echo", b"{} {}", 400),
    "byte order mark": Case("echo", b"\xef\xbb\xbf{}"),
    "not unicode": Case("echo", b'"\xff\xfe\xfd"', 500),
    "not msgpack": Case("echo", b"\xc1", 400, headers=BINARY),
    "msgpack cut short": Case("echo", b"\x93\x01", 400, headers=BINARY),
    "msgpack with rest": Case("echo", b"\x01\x02", 400, headers=BINARY),
    "msgpack empty": Case("echo", b"", 400, headers=BINARY),
    # msgpack in and out.
    "binary object": binary("echo", {"text": "é", "list": [1, 2.5, None], "raw": b"\x00\xff"}),
    "binary arrays": binary("echo", {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.int64(3)}),
    "binary dates": Case("arrays", msgpack.packb({"output": "dates"}), headers=BINARY),
    "binary date input": Case(
        "echo", msgpack.packb([{b"__dt_datetime_iso__": True, b"data": "2026-01-02T03:04:05Z"}]), headers=BINARY
    ),
    "binary decimal": Case("arrays", msgpack.packb({"output": "decimal"}), headers=BINARY),
    "binary bytes": Case("arrays", msgpack.packb({"output": "bytes"}), headers=BINARY),
    "binary nested bytes": Case("arrays", msgpack.packb({"output": "nested_bytes"}), headers=BINARY),
    "binary none": Case("arrays", msgpack.packb({"output": "none"}), headers=BINARY),
    "binary unserialisable": Case("arrays", msgpack.packb({"output": "object"}), 500, headers=BINARY),
    "binary object array": Case("echo", msgpack.packb({b"nd": True, b"kind": b"O"}), 400, headers=BINARY),
    "binary with a parameter": binary("echo", [1], **{"content-type": "Application/Octet-Stream; x=1"}),
    "binary route, JSON body": call("echo", [1], route="v1/models/model:predict_binary"),
    "binary error": Case("raises", msgpack.packb({"raise": "value"}), 500, headers=BINARY),
    # Outputs.
    "arrays as lists": call("arrays", {"output": "array"}),
    "NaN out": call("arrays", {"output": "nan"}),
    "tuple out": call("arrays", {"output": "tuple"}),
    "text out": call("arrays", {"output": "text"}),
    "integer keys out": call("arrays", {"output": "integer_keys"}),
    "bytes to JSON": call("arrays", {"output": "bytes"}, 500),
    "dates to JSON": call("arrays", {"output": "dates"}, 500),
    "object to JSON": call("arrays", {"output": "object"}, 500),
    "set to JSON": call("arrays", {"output": "set"}, 500),
    "numpy bool to JSON": call("arrays", {"output": "numpy_bool"}, 500),
    # Model code.
    "pre, predict, post": call("pipeline", {"text": "é"}),
    "model of the same module names": call("namesake", "x"),
    "settings": call("settings", {"secret": "token"}),
    "unknown secret": call("settings", {"secret": "other"}, 500),
    "typed": call("typed", {"item": {"name": "a", "amounts": [1, "2"]}}),
    "typed, nothing given": call("typed", {}, 400),
    "typed, several errors": call("typed", {"item": {"amounts": [1, "x"]}, "discount": 2}, 400),
    "typed, not an object": call("typed", [1], 400),
    "typed, malformed": Case("typed", b"{", 400),
    "typed, binary": binary("typed", {"item": {"name": "a", "amounts": [1]}}),
    "typed, binary error": binary("typed", {"item": {"name": "a"}}, 400),
    "typed, schema": Case("typed", route="v1/models/model/schema", method="GET"),
    "typed stream": call("typed_stream", {"count": 2}),
    "typed stream, schema": Case("typed_stream", route="v1/models/model/schema", method="GET"),
    "typed preprocess": call("typed_preprocess", {"text": "four"}, headers={**JSON, "x-suffix": "teen"}),
    "typed preprocess, default": call("typed_preprocess", {}),
    "typed preprocess, error": call("typed_preprocess", {"text": 4}, 400),
    "typed preprocess, schema": Case("typed_preprocess", route="v1/models/model/schema", method="GET"),
    "untyped, schema": Case("echo", route="v1/models/model/schema", method="GET", status=404),
    "request beside input": Case("request_beside_input", b"[1]", headers={**JSON, "x-caller": "me"}),
    "request with a query": call("request_beside_input", 1, route=f"{PREDICT}?a=1&a=2&b=%20%2F"),
    "request only, any body": Case("request_only", b"\xffnot json", headers={"content-type": "image/png"}),
    "request only, binary": Case("request_only", b"\xc1", headers=BINARY),
    # Errors of the model.
    "ValueError": call("raises", {"raise": "value"}, 500),
    "own exception of a bundled package": call("raises", {"raise": "fault"}, 500),
    "KeyError in preprocess": call("raises", {"raise": "preprocess"}, 500),
    "input the model cannot take": call("raises", [1], 500),
    "HTTPException, text": call("raises", {"raise": "http", "status": 418, "detail": "tea é"}, 418),
    "HTTPException, object": call("raises", {"raise": "http", "status": 422, "detail": {"field": ["x"]}}, 422),
    "HTTPException, list": call("raises", {"raise": "http", "status": 400, "detail": [1, None]}, 400),
    "HTTPException, default text": call("raises", {"raise": "http", "status": 429, "detail": ""}, 429),
    "HTTPException, 503": call("raises", {"raise": "http", "status": 503, "detail": "busy"}, 503),
    "HTTPException, accepted": call("raises", {"raise": "http", "status": 202, "detail": "later"}, 202),
    "HTTPException of starlette": call("postprocessed_stream", "http", 500),
    "stream with postprocess": call("postprocessed_stream", "stream", 500),
    "response with postprocess": call("postprocessed_stream", "response", 500),
    # Responses of the model.
    "response 200": call("responses", {"kind": "json", "status": 200}),
    "response 202": call("responses", {"kind": "json", "status": 202}, 202),
    "response 204": call("responses", {"kind": "empty", "status": 204}, 204),
    "response 302": call("responses", {"kind": "redirect", "status": 302}, 302),
    "response 404": call("responses", {"kind": "text", "status": 404}, 404),
    "response 529": call("responses", {"kind": "json", "status": 529}, 529),
    "response stream": call("responses", {"kind": "stream", "status": 200}),
    "response stream, failed": call("responses", {"kind": "stream", "status": 500}, 500),
    "response cookies": call("responses", {"kind": "cookies", "status": 200}),
    "response to binary": binary("responses", {"kind": "json", "status": 201}, 201),
    # Streams.
    "stream": call("stream", {"count": 3}),
    "stream of nothing": call("stream_async", {"count": 0}),
    "stream async": call("stream_async", {"count": 3}),
    "stream returned": call("stream_returned", {"count": 3}),
    "stream to binary": binary("stream", {"count": 2}),
    "stream gathered": call("stream", {"count": 3}, headers=WANTS_JSON),
    "stream async gathered": call("stream_async", {"count": 3}, headers=WANTS_JSON),
    "stream, several types accepted": call(
        "stream", {"count": 3}, headers={**JSON, "accept": "application/json, text/plain"}
    ),
    "stream to the OpenAI client": call(
        "stream", {"count": 3}, headers={**WANTS_JSON, "user-agent": "OpenAI/Python 2.0.0"}
    ),
    "stream broken": call("stream_broken", {"count": 2}),
    "stream broken at once": call("stream_broken", {"count": 0}),
    "stream broken, gathered": call("stream_broken", {"count": 2}, 500, headers=WANTS_JSON),
    "stream of wrong input": call("stream", {}),
    # What few models answer.
    **{
        name: call("odd", name, status)
        for name, status in {
            "surrogate": 200,
            "surrogate text": 500,
            "surrogate error": 500,
            "latin-1": 200,
            "latin-1 header": 200,
            "header beyond": 500,
            "not modified": 304,
            "no content with a body": 204,
            "status 299": 299,
            "typed NaN": 200,
            "deep": 500,
            "detail number": 500,
            "detail NaN": 500,
            "detail set": 500,
            "detail with headers": 418,
            "array with NaN": 200,
            "complex array": 500,
            "array of records": 200,
            "bytes in text": 200,
            "stream of empty texts": 200,
            "stream of cut characters": 200,
        }.items()
    },
    **{
        f"{name}, gathered": call("odd", name, status, headers=WANTS_JSON)
        for name, status in {
            "stream of numbers": 200,
            "stream of nothing": 200,
            "stream of lists": 200,
            "stream of surrogates": 500,
        }.items()
    },
    **{
        f"binary {name}": binary("odd", name, status)
        for name, status in {
            "surrogate": 500,
            "typed NaN": 200,
            "deep": 500,
            "big integer": 500,
            "array with NaN": 200,
            "complex array": 200,
            "array of times": 500,
            "array of records": 200,
            "extension": 200,
            "timestamp": 200,
        }.items()
    },
    # OpenAI routes.
    "chat": call("openai", CHAT, route="v1/chat/completions"),
    "chat streamed": call("openai", {**CHAT, "stream": True}, route="v1/chat/completions"),
    "chat refused": call("openai", {"model": "m", "messages": [{"content": ""}]}, 422, route="v1/chat/completions"),
    "chat fails": call("openai", {}, 500, route="v1/chat/completions"),
    "chat malformed": Case("openai", b"{", 400, route="v1/chat/completions"),
    "completions": call("openai", {"prompt": "one two"}, route="v1/completions"),
    "completions gathered": call("openai", {"prompt": "one two"}, route="v1/completions", headers=WANTS_JSON),
    "embeddings": call("openai", {"model": "m", "input": ["a", "bcd"]}, route="v1/embeddings"),
    "predict beside chat": call("openai", 1),
    "messages missing": call("openai", {}, 404, route="v1/messages"),
    "responses missing": call("openai", {}, 404, route="v1/responses"),
    "chat missing": call("echo", CHAT, 404, route="v1/chat/completions"),
    "chat missing, malformed": Case("echo", b"{", 400, route="v1/chat/completions"),
    # Routes.
    "root": Case("echo", route="", method="GET"),
    "ready": Case("echo", route="v1/models/model", method="GET"),
    "loaded": Case("echo", route="v1/models/model/loaded", method="GET"),
    "HEAD of root": Case("echo", method="HEAD", route="", status=405),
    "unhealthy": Case("unhealthy", route="v1/models/model", method="GET", status=503),
    "unhealthy, still unhealthy": Case("unhealthy", route="v1/models/model", method="GET", status=503),
    "unhealthy, but loaded": Case("unhealthy", route="v1/models/model/loaded", method="GET"),
    "unhealthy, but predicts": call("unhealthy", 1),
    "GET of predict": Case("echo", route=PREDICT, method="GET"),
    "PUT of predict": Case("echo", b"1", 405, method="PUT"),
    "GET of chat": Case("openai", route="v1/chat/completions", method="GET", status=405),
    "OPTIONS": Case("echo", route="v1/chat/completions", method="OPTIONS", status=405),
    "HEAD of nothing": Case("echo", route="nothing", method="HEAD", status=404),
    "unknown route": Case("echo", b"{}", 404, route="predict"),
    "unknown nested route": Case("echo", route="a/b%2Fc/d", method="DELETE", status=404),
}
