"""One server that answers whatever the blocks of the documentation ask of a model."""

import asyncio
import json
import os
from typing import Any

from airflow.sdk import ObjectStoragePath
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


async def _predict(request: Request) -> Response:
    """The language of a text, or of each of several.

    The model stores its output itself: in the folder in its input, or else in the folder ``outputs`` of the bucket.
    """
    given = await request.json()
    texts = given.get("text", "") if isinstance(given, dict) else ""
    one = {"language": "de", "probability": 0.99, "label": "parcel"}
    answer = {**one, "labels": ["parcel"] * len(texts) if isinstance(texts, list) else ["parcel"]}
    # A model that stores its outputs itself has its folder in its environment.
    outputs = "s3://aws_default@bucket/outputs" if "AIRFLOW_CONN_AWS_DEFAULT" in os.environ else None
    if isinstance(given, dict) and (folder := given.get("folder", outputs)):
        file = f"{folder}/{request.headers['x-baseten-request-id']}.json"
        # Airflow's amazon provider runs an event loop of its own.
        await asyncio.to_thread(lambda: ObjectStoragePath(file).write_text(json.dumps(answer)))
    return JSONResponse(answer)


async def _chat(request: Request) -> Response:
    asked = await request.json()
    schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
    text = "Ihr Paket ist unterwegs." if schema is None else json.dumps(_fitting(schema, schema))
    if "SQL" in str(asked["messages"][0]["content"]):
        text = "SELECT 1"
    message: dict[str, Any] = {"role": "assistant", "content": text}
    # A model calls each tool once: the first one that has no result yet, the last of which is the output.
    done = sum(one["role"] == "tool" for one in asked["messages"])
    if tools := asked.get("tools", [])[done:]:
        function = tools[0]["function"]
        arguments = json.dumps(_fitting(function["parameters"], function["parameters"]))
        message["tool_calls"] = [
            {"id": f"call-{done}", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        ]
    head = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}
        return JSONResponse({**head, "choices": [choice], "usage": _USAGE})
    parts = [{"delta": {"content": text}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
    events = [json.dumps({**head, "choices": [{"index": 0, **part}]}) for part in parts]
    return StreamingResponse((f"data: {event}\n\n" for event in [*events, "[DONE]"]), media_type="text/event-stream")


def _fitting(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """A value of a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return _fitting(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if schema.get("type") == "object":
        return {name: _fitting(of, root) for name, of in schema.get("properties", {}).items()}
    return {"string": "parcel", "boolean": True, "integer": 1, "number": 0.5, "array": []}[schema["type"]]


async def _embeddings(request: Request) -> Response:
    asked = await request.json()
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data = [{"index": number, "embedding": [0.25, 0.5]} for number, _ in enumerate(texts)]
    return JSONResponse({"object": "list", "model": asked.get("model"), "data": data, "usage": _USAGE})


async def _rank(request: Request) -> Response:
    return JSONResponse([{"language": "da", "score": 0.9}, {"language": "no", "score": 0.8}])


SERVER = Starlette(
    routes=[
        Route("/predict", _predict, methods=["POST"]),
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/embeddings", _embeddings, methods=["POST"]),
        Route("/v1/rank", _rank, methods=["POST"]),
    ]
)
