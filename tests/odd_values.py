"""Values that people pass by mistake, and a server on this machine that answers whatever a task sends."""

import json
import math
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np


class Frame:
    """Like a pandas ``DataFrame``: it has no truth value, compares element by element and iterates over its columns."""

    def __bool__(self) -> bool:
        raise ValueError("The truth value of a DataFrame is ambiguous.")

    def __eq__(self, other: object) -> Any:
        return np.array([[True, False]])

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Any:
        return iter(["a", "b"])

    def __len__(self) -> int:
        return 1

    def __contains__(self, item: object) -> bool:
        return item == "a"


class Unspeakable:
    """It can't even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth value")


NO_TEXTS = {
    "array": np.array(["a", "b"]),
    "array of one": np.array([1]),
    "empty array": np.array([]),
    "frame": Frame(),
    "unspeakable": Unspeakable(),
    "object": object(),
    "set": {"a"},
    "empty set": set(),
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "list": ["a"],
    "empty list": [],
    "tuple": ("a",),
    "dict": {"a": 1},
    "empty dict": {},
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "float": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "1e300": 1e300,
    "10**30": 10**30,
    "10**5000": 10**5000,
    "False": False,
    "True": True,
    "numpy bool": np.True_,
    "longest timedelta": timedelta.max,
}
ODD = {
    **NO_TEXTS,
    "None": None,
    "empty text": "",
    "blank": " ",
    "text": "false",
    "half a character": "\ud800",
    "zero byte": "a\0b",
}


def _answer(path: str, body: Any) -> Any:
    if path.endswith("async_predict"):
        return {"request_id": "r1"}
    if "/async_request/" in path:
        return {"request_id": "r1", "status": "SUCCEEDED", "canceled": False}
    if path.endswith("/embeddings"):
        return {"data": [{"index": index, "embedding": [1.0]} for index in range(len(body["input"]))]}
    if path.endswith("/chat/completions"):
        return {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    return {"a": 1}


class ObligingServer:
    """Answers every request with success; ``sent`` counts those that cost."""

    def __init__(self) -> None:
        owner = self
        self.sent = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                owner.sent += self.command == "POST"
                path = self.path.partition("?")[0]
                answer = json.dumps(_answer(path, json.loads(body) if path.endswith("/embeddings") else None)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._serve
                raise AttributeError(name)

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
