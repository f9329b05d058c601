"""Operations of the management API as Baseten's own SDK knows them, and random responses that fit them."""

import ast
import inspect
import random
import re
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from baseten.client.managementapi import _client, _models
from pydantic import TypeAdapter

Schema = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One operation: names of types are those of the SDK."""

    name: str
    method: str
    path: re.Pattern[str]
    variables: int
    query: str | None
    body: str | None
    response: str | None


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation, read from the source of the SDK's client; those with fewer variables in their path first."""
    methods = [
        node for node in _class(_client.ApiClient).body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
    ]
    return tuple(sorted(map(_operation, methods), key=lambda operation: operation.variables))


def find(method: str, path: str) -> Operation:
    """The operation that a request belongs to."""
    found = (o for o in operations() if o.method == method and o.path.fullmatch(path))
    operation = next(found, None)
    assert operation is not None, f"Baseten documents no {method} {path}"
    return operation


def _class(type_: type) -> ast.ClassDef:
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(type_))).body
    assert isinstance(tree, ast.ClassDef)
    return tree


def _operation(method: ast.FunctionDef) -> Operation:
    calls = [node for node in ast.walk(method) if isinstance(node, ast.Call)]
    [request] = [call for call in calls if ast.unparse(call.func) == "_ApiRequest"]
    [send] = [call for call in calls if ast.unparse(call.func).startswith("self._do")]
    sent = {keyword.arg: keyword.value for keyword in request.keywords}
    types = {arg.arg: ast.unparse(arg.annotation).removesuffix(" | None") for arg in method.args.kwonlyargs}
    path = ast.literal_eval(sent["path_fmt"])
    return Operation(
        name=method.name,
        method=ast.literal_eval(sent["method"]),
        path=re.compile(re.escape(path).replace(r"\{\}", "[^/]+")),
        variables=path.count("{}"),
        query=types.get(ast.unparse(sent["query"])),
        body=types.get(ast.unparse(sent["body"])),
        response=ast.unparse(send.args[0]) if ast.unparse(send.func) == "self._do_json" else None,
    )


@cache
def schema_of(name: str) -> Schema:
    """JSON schema of a type of the SDK. It is closed: the SDK itself reads unknown enum values and tagged objects."""
    return _closed(TypeAdapter(getattr(_models, name)).json_schema())


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    closed = {key: _closed(item) for key, item in value.items()}
    choices = closed.get("anyOf", [])
    if any("enum" in choice or "const" in choice or "oneOf" in choice for choice in choices):
        is_open = ({"type": "string"}, {"additionalProperties": True, "type": "object"})
        kept = [choice for choice in choices if choice not in is_open]
        return {**closed, "anyOf": kept}
    return closed


class Generator:
    """Random JSON values that fit a schema.

    :param seed: seed of the random numbers.
    :param unknown: text in place of each enum value, and an additional field in each object; by default neither.
    """

    def __init__(self, seed: int, unknown: str | None = None) -> None:
        self._random = random.Random(seed)
        self._unknown = unknown

    def value(self, schema: Schema, root: Schema | None = None) -> Any:
        root = root or schema
        if "$ref" in schema:
            return self.value(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
        for choices in ("anyOf", "oneOf"):
            if choices in schema:
                return self.value(self._random.choice(schema[choices]), root)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._unknown or self._random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, root)
            case "array":
                return [self.value(schema["items"], root) for _ in range(self._random.randint(0, 2))]
            case "integer":
                return self._random.randint(schema.get("minimum", 0), schema.get("maximum", 1_900_000_000_000))
            case "number":
                return self._random.choice([0, 0.25, 17, 3.5e-7])
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
        return self._text(schema)

    def _object(self, schema: Schema, root: Schema) -> dict[str, Any]:
        required = schema.get("required", [])
        made = {
            name: self._member(name, part, root)
            for name, part in schema.get("properties", {}).items()
            if name in required or self._random.random() < 0.7
        }
        if isinstance(more := schema.get("additionalProperties"), dict):
            made |= {name: self.value(more, root) for name in ("a", "b")[: self._random.randint(0, 2)]}
        elif self._unknown:
            made["not_known_yet"] = {"to": [self._unknown]}
        return made

    def _member(self, name: str, schema: Schema, root: Schema) -> Any:
        # What the schema calls a text, and only Baseten's description calls a number.
        if schema.get("type") == "string" and "format" not in schema and name in {"timestamp", "subtotal"}:
            return {"timestamp": "1764460800123456789", "subtotal": "12.340"}[name]
        return self.value(schema, root)

    def _text(self, schema: Schema) -> str:
        if schema.get("format") == "date-time":
            seconds = self._random.randint(1_600_000_000, 1_900_000_000)
            return (
                datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", self._random.choice(["Z", "+02:00"]))
            )
        if schema.get("format") == "date":
            return "2026-11-30"
        if "pattern" in schema:
            return "12.340"
        return self._random.choice(["x1", "Größe", ""]) if schema.get("minLength") != 1 else "x"
