"""A function URL of AWS Lambda on this machine: an HTTP server that turns requests into events for the function."""

import base64
import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from airflow_provider_baseten.webhook import relay_handler

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def load_function(folder: Path) -> Any:
    """Load a copy of the file, as the platform does."""
    copy = folder / "relay_handler.py"
    copy.write_bytes(Path(relay_handler.__file__).read_bytes())
    spec = importlib.util.spec_from_file_location("relay_handler", copy)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event(path: str, body: bytes, headers: dict[str, str], *, method: str = "POST", is_base64: bool = False) -> Any:
    """The event of a request, in the payload format 2.0, as it comes out of JSON."""
    given = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.lower(): text for name, text in headers.items()},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefgh",
            "domainName": "abcdefgh.lambda-url.eu-central-1.on.aws",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": "baseten",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "28/Nov/2026:12:00:00 +0000",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": is_base64,
    }
    if body:
        given["body"] = base64.b64encode(body).decode() if is_base64 else body.decode()
    return json.loads(json.dumps(given))


@contextmanager
def function_url(handle: Handler) -> Iterator[str]:
    """Serve a function; the value is its URL."""

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                response = handle(event(self.path, body, dict(self.headers), method=self.command), None)
            except Exception:  # As Lambda does.
                response = {"statusCode": 502, "body": "Internal Server Error"}
            content = response["body"].encode()
            self.send_response(response["statusCode"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
