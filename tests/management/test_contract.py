"""Requests and responses of the management API, against what Baseten's own SDK sends and reads."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pendulum
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.management.call import Call, PagedCall
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client.management import AsyncManagement, Management
from airflow_provider_baseten.exceptions import BasetenResponseError
from tests.management.documented import Generator, find, schema_of
from tests.management.examples import EXAMPLES

SEEDS = range(20)
# Calls whose response Baseten documents without a required field.
WITHOUT_REQUIRED_FIELDS = {
    "activate",
    "deactivate",
    "get_usage_summary",
    "list_tool_calls",
    "terminate_replica",
    "update_autoscaling",
    "update_backpressure",
    "update_chainlet_autoscaling",
}
# A 2xx without a body is an answer to them.
WITHOUT_BODY = {
    "activate",
    "deactivate",
    "terminate_replica",
    "update_autoscaling",
}


def methods(kind: type) -> dict[str, Any]:
    return {name: found for name, found in vars(kind).items() if hasattr(found, "_build")}


CASES = [
    pytest.param(name, *arguments, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number, arguments in enumerate(examples)
]


def call_of(name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Call[Any]:
    made = methods(Management)[name]._build(*positional, **named)
    return made.page("next page") if isinstance(made, PagedCall) else made


def response_to(request: Request, body: Any) -> Response:
    headers = {"content-type": "application/json"}
    return Response(request=request, status=200, headers=headers, body=json.dumps(body).encode())


def test_every_call_has_an_example_and_both_clients_have_every_call():
    assert methods(Management).keys() == methods(AsyncManagement).keys() == EXAMPLES.keys()
    for name, method in methods(Management).items():
        assert method._build is methods(AsyncManagement)[name]._build


@pytest.mark.parametrize(("name", "positional", "named"), CASES)
def test_a_request_is_as_documented(name, positional, named):
    request = call_of(name, positional, named).request
    parts = urlsplit(request.path)
    operation = find(request.method, parts.path)
    if request.body is None:
        assert operation.body is None or name == "recreate_training_job"
    else:
        Draft202012Validator(schema_of(operation.body)).validate(json.loads(request.body))
        unknown = json.loads(request.body).keys() - schema_of(operation.body).get("properties", {}).keys()
        assert not unknown
    query = parse_qs(parts.query, keep_blank_values=True)
    if query:
        schema = schema_of(operation.query)
        assert query.keys() <= schema["properties"].keys()
        sent = {key: typed(values, schema["properties"][key], schema) for key, values in query.items()}
        Draft202012Validator(schema).validate(sent)


def typed(values: list[str], schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Values of a query as the types that the schema names."""
    kinds = kinds_of(schema, root)
    if "array" in kinds:
        return values
    [value] = values
    if kinds & {"integer", "number"}:
        return int(value)
    return value == "true" if "boolean" in kinds else value


def kinds_of(schema: dict[str, Any], root: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return kinds_of(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    return {schema.get("type", "")}.union(*(kinds_of(choice, root) for choice in schema.get("anyOf", [])))


@pytest.mark.parametrize("unknown", [None, "NOT_KNOWN_YET"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_documented_response_is_read(name, unknown):
    call = call_of(name, *EXAMPLES[name][0])
    operation = find(call.request.method, urlsplit(call.request.path).path)
    for seed in SEEDS:
        content = Generator(seed, unknown).value(schema_of(operation.response))
        try:
            result = call.read(response_to(call.request, content))
        except BasetenResponseError as error:
            error.add_note(f"seed {seed}")
            raise
        for resource in resources(result):
            if unknown:
                assert resource.not_known_yet == {"to": [unknown]}
            for field, value in resource:
                if field.endswith(("_at", "_epoch_millis")) or field in {"created", "timestamp"}:
                    assert value is None or isinstance(value, pendulum.DateTime), field
            json.dumps(resource.model_dump(mode="json"))


def resources(value: Any) -> Iterator[BaseModel]:
    """Every resource in a result."""
    if isinstance(value, BaseModel):
        yield value
        for _, inner in value:
            yield from resources(inner)
    elif isinstance(value, list):
        for item in value:
            yield from resources(item)
    elif hasattr(value, "items") and isinstance(value.items, list):
        yield from resources(value.items)


@pytest.mark.parametrize("content", [[], "page", None, {}, {"error": "no"}, {"models": [1]}])
@pytest.mark.parametrize("name", EXAMPLES)
def test_something_else_than_the_management_api_is_an_error(name, content):
    call = call_of(name, *EXAMPLES[name][0])
    if (name in WITHOUT_REQUIRED_FIELDS and isinstance(content, dict)) or (name in WITHOUT_BODY and content is None):
        call.read(response_to(call.request, content))
        return
    with pytest.raises(BasetenResponseError, match="management_url"):
        call.read(response_to(call.request, content))
