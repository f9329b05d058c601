"""Function for AWS Lambda that stores webhook deliveries of Baseten as objects in an S3 bucket.

The file stands alone: the platform has all that it imports. Deploy it behind a function URL or an HTTP API of API
Gateway (payload format 2.0), with the handler ``relay_handler.handle``. ``airflow baseten relay`` collects the objects,
and verifies their signatures. The function has no secret and verifies nothing.

Environment variables: ``BUCKET``, and ``PREFIX``, the folder in the bucket, by default ``queue``.
"""

import base64
import hashlib
import json
import logging
import os
import re
import time
from functools import cache
from typing import Any

# Lambda accepts requests of up to 6 MB. The limit here is for API Gateway, which passes on larger ones.
MAX_DELIVERY_BYTES = 6 * 1024 * 1024
_MAX_HEADER = 2000

_log = logging.getLogger(__name__)

_PATH = re.compile(r".*/baseten/webhooks/([A-Za-z0-9_.-]{1,200})(/events)?")


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Store a delivery. Respond with 200 once it is stored, with 503 if Baseten should send it again.

    Copies of a delivery are stored under the same name, so a second one changes nothing.

    :param event: HTTP request in the payload format 2.0.
    :param context: context of the call; not used.
    """
    matched = _PATH.fullmatch(event["rawPath"])
    if not matched:
        return _refuse(404, "There is nothing at this path.")
    if event["requestContext"]["http"]["method"] != "POST":
        return _refuse(405, "A delivery is a POST.")
    headers = {name.lower(): text for name, text in event.get("headers", {}).items()}
    signature = headers.get("x-baseten-signature", "")
    if not 0 < len(signature) <= _MAX_HEADER:
        return _refuse(401, "A delivery has a signature.")
    body = _body_of(event)
    if len(body) > MAX_DELIVERY_BYTES:
        return _refuse(413, f"The body has more than {MAX_DELIVERY_BYTES:,} bytes.")
    request_id = headers.get("x-baseten-request-id")
    entry = {
        "conn_id": matched[1],
        "signature": signature,
        "request_id": request_id[:_MAX_HEADER] if request_id else None,
        "arrived": time.time(),
        "is_event": bool(matched[2]),
        "body": base64.b64encode(body).decode(),
    }
    source = "\n".join((matched[1], signature, hashlib.sha256(body).hexdigest(), *filter(None, matched.groups()[1:])))
    name = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
    try:
        _put(f"{name}.json", json.dumps(entry).encode())
    except Exception as error:
        # The message of the error is not logged: it may hold the names of the bucket and of the account.
        _log.error("A delivery for connection %s was not stored: %s", matched[1], type(error).__name__)
        return _refuse(503, "The delivery could not be stored.")
    return _respond(200, {"request_id": entry["request_id"]})


def _body_of(event: dict[str, Any]) -> bytes:
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(errors="surrogatepass")


def _put(name: str, content: bytes) -> None:
    """Write an object, unless there is one of that name."""
    from botocore.exceptions import ClientError

    folder = os.environ.get("PREFIX", "queue").strip("/")
    key = f"{folder}/{name}" if folder else name
    try:
        # An existing object is not overwritten, because the time of its arrival would be lost.
        _s3().put_object(Bucket=os.environ["BUCKET"], Key=key, Body=content, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise


@cache
def _s3() -> Any:
    import boto3
    from botocore.config import Config

    # Baseten waits ten seconds for the response.
    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2}))


def _refuse(status: int, sentence: str) -> dict[str, Any]:
    return _respond(status, {"error": sentence})


def _respond(status: int, content: dict[str, Any]) -> dict[str, Any]:
    """Return a response in the form of those of the webhook receiver."""
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(content)}
