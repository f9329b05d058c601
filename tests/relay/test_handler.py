"""The function on AWS Lambda: what it stores, and what it refuses."""

import ast
import base64
import json
import sys
from pathlib import Path

import pytest

from airflow_provider_baseten.webhook import relay_handler
from tests.relay.function_url import event
from tests.webhook.deliveries import SECRET_OUTPUT, body, signature

PATH = "/baseten/webhooks/prod"


def headers(content: bytes) -> dict[str, str]:
    return {"X-BASETEN-SIGNATURE": signature(content), "X-BASETEN-REQUEST-ID": "r1"}


def test_the_file_stands_alone():
    tree = ast.parse(Path(relay_handler.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert others == {"boto3", "botocore"}


@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize("path", [PATH, f"/stage{PATH}"])
def test_a_delivery_is_stored_byte_for_byte(bucket, function, is_base64, path):
    content = body("r1", data={"text": "Grüße \u2028 🚀", "number": 1}) + b"  \r\n"
    response = function.handle(event(path, content, headers(content), is_base64=is_base64), None)
    assert response["statusCode"] == 200
    (key,) = bucket.keys()
    entry = json.loads(bucket.read(key))
    assert base64.b64decode(entry["body"]) == content
    assert (entry["conn_id"], entry["request_id"]) == ("prod", "r1")
    assert entry["signature"] == signature(content)


def test_a_copy_changes_nothing(bucket, send):
    content = body("r1")
    assert send(content) == 200
    (key,) = bucket.keys()
    first = bucket.read(key)
    assert send(content) == 200
    assert (bucket.keys(), bucket.read(key)) == ([key], first)
    assert send(content, conn_id="other") == 200
    assert send(body("r2")) == 200
    assert len(bucket.keys()) == 3


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"rawPath": "/"}, 404),
        ({"rawPath": "/baseten/webhooks/"}, 404),
        ({"rawPath": "/baseten/webhooks/../x"}, 404),
        ({"rawPath": f"{PATH}/x"}, 404),
        ({"rawPath": f"{PATH}\n"}, 404),
        ({"requestContext": {"http": {"method": "GET"}}}, 405),
        ({"headers": {}}, 401),
        ({"headers": {"x-baseten-signature": ""}}, 401),
        ({"headers": {"x-baseten-signature": "v1=" * 10_000}}, 401),
        ({"body": "x" * (relay_handler.MAX_DELIVERY_BYTES + 1)}, 413),
    ],
)
def test_what_can_be_no_delivery_is_refused(bucket, function, change, status):
    content = body("r1")
    response = function.handle(event(PATH, content, headers(content)) | change, None)
    assert response["statusCode"] == status
    assert bucket.keys() == []


@pytest.mark.parametrize("text", ["\ud800", "\xff", "v1=\u2028"])
def test_headers_that_are_no_ascii_text_are_stored(bucket, function, text):
    given = {"X-BASETEN-SIGNATURE": text, "X-BASETEN-REQUEST-ID": text}
    assert function.handle(event(PATH, body("r1"), given), None)["statusCode"] == 200
    (key,) = bucket.keys()
    entry = json.loads(bucket.read(key))
    assert (entry["signature"], entry["request_id"]) == (text, text)


def test_the_largest_body_is_stored(bucket, send):
    content = b" " * relay_handler.MAX_DELIVERY_BYTES
    assert send(content) == 200
    assert len(bucket.keys()) == 1


@pytest.mark.parametrize("prefix", ["", "a/b/", "/a"])
def test_prefix(bucket, send, monkeypatch, prefix):
    monkeypatch.setenv("PREFIX", prefix)
    assert send(body()) == 200
    (key,) = bucket.keys("")
    assert key.rpartition("/")[0] == prefix.strip("/")


def test_a_bucket_that_fails_is_tried_again_by_baseten(bucket, send, monkeypatch, caplog):
    monkeypatch.setenv("BUCKET", "there-is-no-such-bucket")
    assert send(body()) == 503
    monkeypatch.setenv("BUCKET", bucket.name)
    assert send(body()) == 200
    assert "NoSuchBucket" in caplog.text
    for secret in (SECRET_OUTPUT, "there-is-no-such-bucket"):
        assert secret not in caplog.text
