"""The emulator's answers against Baseten's own description of its inference API."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from truth_support import API_KEY, DEPLOYMENT, ROOT

from airflow_provider_baseten.emulator import Emulator, Fault

SEED = 20261124
EXAMPLES = 12
TARGETS = ("Production", "Development", "", "Deployment", "Regional")
COVERED = [action + target for action in ("predict", "runRemote", "wake") for target in TARGETS]
NOT_YET = [
    *(action + target for action in ("asyncPredict", "asyncRunRemote", "getAsyncQueueStatus") for target in TARGETS),
    "getAsyncRequestStatus",
    "cancelAsyncRequest",
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    positive_data_acceptance,
    ignored_auth,
]


@pytest.fixture(scope="module")
def document() -> Path:
    path = Path(os.environ.get("BASETEN_OPENAPI", ROOT.parent / "shared/specs/baseten-inference-openapi.json"))
    if not path.is_file():
        pytest.skip(f"Baseten's inference OpenAPI document is not at {path}; BASETEN_OPENAPI names another place")
    return path


@pytest.fixture(scope="module")
def schema(document: Path) -> Any:
    return schemathesis.openapi.from_path(document)


def test_every_operation_is_listed(schema: Any) -> None:
    documented = {operation.ok().definition.raw["operationId"] for operation in schema.get_all_operations()}
    assert documented == {*COVERED, *NOT_YET}


@pytest.fixture(scope="module", params=["path", "host"])
def addressing(request: pytest.FixtureRequest) -> str:
    return request.param


def server(emulator: Emulator, operation_id: str, addressing: str) -> tuple[str, dict[str, str]]:
    """The base URL and the headers that reach the right one of the document's templated servers."""
    name = "chain-xyz" if operation_id.startswith("runRemote") else "model-any"
    if operation_id.endswith("Regional"):
        name += "-prod-us"
    if addressing == "path":
        return f"{emulator.url}/{name}", {}
    return emulator.url, {"Host": f"{name}.api.baseten.co"}


@pytest.mark.parametrize("operation_id", COVERED)
def test_documented_answers(schema: Any, emulator: Emulator, operation_id: str, addressing: str) -> None:
    """Whatever the document allows in, only what the document allows comes out; a missing or wrong key is refused."""
    base_url, headers = server(emulator, operation_id, addressing)
    operation = schema.find_operation_by_id(operation_id)
    known = {"env_name": "production", "deployment_id": DEPLOYMENT}
    names = {parameter.name for parameter in operation.path_parameters}
    strategy = operation.as_strategy(path_parameters={name: known[name] for name in names} or None)

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=base_url, headers={**headers, "Authorization": f"Bearer {API_KEY}"}, checks=CHECKS
        )

    print(f"seed {SEED}")  # noqa: T201
    check()
    success = 202 if operation_id.startswith("wake") else 200
    assert {request.status for request in emulator.requests.all()} == {success, 401}


@pytest.mark.parametrize("operation_id", [name for name in COVERED if not name.startswith("wake")])
def test_documented_errors(schema: Any, emulator: Emulator, operation_id: str) -> None:
    """A refusal by the gateway and an injected fault look as the document says."""
    base_url, _ = server(emulator, operation_id, "path")
    operation = schema.find_operation_by_id(operation_id)
    known = {"env_name": "production", "deployment_id": DEPLOYMENT}
    case = operation.Case(path_parameters=known, body={}, media_type="application/json")
    url = base_url + case.formatted_path

    def ask(**options: Any) -> int:
        headers = {
            "authorization": f"Bearer {API_KEY}",
            "content-type": "application/json",
            **options.pop("headers", {}),
        }
        response = httpx.post(url, headers=headers, **{"json": {}, **options})
        case.validate_response(
            response,
            checks=[
                status_code_conformance,
                content_type_conformance,
                response_headers_conformance,
                response_schema_conformance,
            ],
        )
        return response.status_code

    assert ask(headers={"authorization": ""}) == 401
    assert ask(headers={"authorization": "Basic abc"}) == 401
    assert ask(headers={"authorization": f"Bearer {API_KEY}x"}) == 401
    for status in (400, 401, 429, 502, 503, 504):
        emulator.faults.add(Fault(status=status))
        assert ask() == status


def test_malformed_input(schema: Any, emulator: Emulator) -> None:
    operation = schema.find_operation_by_id("predictProduction")
    response = httpx.post(
        f"{emulator.url}/model-abc/production/predict",
        content=b'{"a": ',
        headers={"authorization": f"Bearer {API_KEY}", "content-type": "application/json"},
    )
    assert response.status_code == 400
    operation.Case(body={}, media_type="application/json").validate_response(
        response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )
