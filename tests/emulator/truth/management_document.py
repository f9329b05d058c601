"""An OpenAPI document of Baseten's management API, made of the client and the models in Baseten's SDK.

The SDK reads every enum as any string and every tagged union as any object, so that a newer server can't break it. The
document is closed: an answer with another value is wrong. What the SDK does not say is what the emulator answers to a
wrong request, so these statuses are added.
"""

import inspect
import json
import re
from typing import Any, get_type_hints

from baseten.client.managementapi import _client, _models
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/"
ERRORS = ("400", "401", "403", "404", "405", "429")
_ANY_STRING, _ANY_OBJECT = {"type": "string"}, {"type": "object", "additionalProperties": True}


class _Recorder(_client.ApiClient):
    """A client that sends nothing, and keeps what it would send."""

    def __init__(self) -> None:
        self.sent: tuple[Any, str | None] | None = None

    def _do_json(self, response_type: Any, request: Any) -> Any:
        self.sent = request, response_type.__name__

    def _do_no_response(self, request: Any) -> Any:
        self.sent = request, None


def make_document() -> dict[str, Any]:
    schemas = _schemas()
    paths: dict[str, Any] = {}
    for name, method in inspect.getmembers(_client.ApiClient, inspect.isfunction):
        if not name.startswith("_"):
            path, verb, operation = _operation(name, method, schemas)
            paths.setdefault(path, {})[verb] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Management API, as the SDK knows it", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"BearerAuth": []}],
    }


def _operation(name: str, method: Any, schemas: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    arguments = [one for one in inspect.signature(method).parameters if one != "self"]
    own = [one for one in arguments if one not in {"request", "params"}]
    placeholders = {one: f"{{{one}}}" for one in own}
    recorder = _Recorder()
    method(recorder, **dict.fromkeys(set(arguments) - set(own)), **placeholders)
    assert recorder.sent
    sent, response = recorder.sent
    hints = get_type_hints(method, vars(_client))
    parameters: list[Any] = [
        {"name": one, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for one in own
    ]
    if "params" in hints:
        query = schemas[_model(hints["params"])]
        parameters += [
            {"name": field, "in": "query", "required": field in query.get("required", ()), "schema": _not_null(schema)}
            for field, schema in query["properties"].items()
        ]
    operation: dict[str, Any] = {"operationId": name, "parameters": parameters}
    if "request" in hints:
        operation["requestBody"] = {"required": True, "content": _content(_model(hints["request"]))}
    answer = {"description": "", **({"content": _content(response)} if response else {})}
    error = {"description": "", "content": {"application/json": {"schema": {"$ref": f"{REF}EmulatorError"}}}}
    operation["responses"] = {str(code): answer for code in sent.success_codes} | dict.fromkeys(ERRORS, error)
    return sent.path_fmt.format(*sent.path_args), sent.method.lower(), operation


def _model(hint: Any) -> str:
    return next(one for one in (*getattr(hint, "__args__", ()), hint) if inspect.isclass(one)).__name__


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF + model}}}


def _schemas() -> dict[str, Any]:
    classes = [one for _, one in inspect.getmembers(_models, inspect.isclass) if issubclass(one, BaseModel)]
    own = [(one, "validation") for one in classes if one.__module__ == _models.__name__]
    defined = models_json_schema(own, ref_template=REF + "{model}")[1]["$defs"]
    # Models around one plain value, for example an enum, are written out where they are used.
    wrappers = {f'"$ref": "{REF}{name}"': schema for name, schema in defined.items() if schema.get("type") != "object"}
    text = json.dumps(defined)
    for _ in range(3):
        for reference, schema in wrappers.items():
            text = text.replace(f"{{{reference}}}", json.dumps(schema))
            text = text.replace(reference, json.dumps(schema)[1:-1])
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return _closed(json.loads(text)) | {"EmulatorError": error}


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _closed(value) for key, value in schema.items() if key not in {"description", "title", "examples"}}
    if isinstance(schema.get("properties"), dict):
        kept["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
    if isinstance(kept.get("anyOf"), list):
        nested = [inner for one in kept["anyOf"] for inner in one.get("anyOf", [_without_default(one)])]
        choices = [one for number, one in enumerate(nested) if one not in nested[:number]]
        if any("enum" in one or "const" in one for one in choices):
            choices = [one for one in choices if one != _ANY_STRING]
        if any("discriminator" in one for one in choices):
            choices = [one for one in choices if one != _ANY_OBJECT]
        kept["anyOf"] = choices
    return _unwrapped(kept)


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}


def _unwrapped(schema: dict[str, Any]) -> dict[str, Any]:
    if len(choices := schema.get("anyOf", ())) != 1:
        return schema
    return choices[0] | {key: value for key, value in schema.items() if key != "anyOf"}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The SDK sends no null in a query."""
    kept = {key: value for key, value in schema.items() if key != "default"}
    if "anyOf" in kept:
        kept["anyOf"] = [one for one in kept["anyOf"] if one != {"type": "null"}]
    return _unwrapped(kept)


def sample_path(path: str) -> str:
    """A path of the document with a value for each placeholder, as the emulator's routes get it."""
    return re.sub(r"\{\w+\}", "x", path).removeprefix("/v1/")
