"""The emulator's answers against Baseten's own description of its inference API."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from truth_support import AUTHORIZED, DEPLOYMENT, ROOT, Asked

from airflow_provider_baseten.emulator import Emulator, Fault

SEED = 20261124
EXAMPLES = 12
TARGETS = ("Production", "Development", "", "Deployment", "Regional")
ACTIONS = ("predict", "runRemote", "wake", "asyncPredict", "asyncRunRemote", "getAsyncQueueStatus")
COVERED = [
    *(action + target for action in ACTIONS for target in TARGETS),
    "getAsyncRequestStatus",
    "cancelAsyncRequest",
]
SUCCESS = {"wake": 202, "asyncPredict": 201, "asyncRunRemote": 201}
WITHOUT_BODY = ("wake", "get", "cancel")
CONFORMANCE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
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
    assert documented == set(COVERED)


@pytest.fixture(scope="module", params=["path", "host"])
def addressing(request: pytest.FixtureRequest) -> str:
    return request.param


@dataclass(frozen=True)
class Operation:
    """An operation of the document, and where the emulator serves it."""

    id: str
    definition: Any
    base_url: str
    headers: dict[str, str]
    request_id: str

    @property
    def success(self) -> int:
        return next((status for name, status in SUCCESS.items() if self.id.startswith(name)), 200)

    @property
    def path_parameters(self) -> dict[str, str]:
        known = {"env_name": "production", "deployment_id": DEPLOYMENT, "request_id": self.request_id}
        return {parameter.name: known[parameter.name] for parameter in self.definition.path_parameters}

    def examples(self, mode: GenerationMode, check: Callable[[schemathesis.Case], None]) -> None:
        """Runs a check on generated requests, the same ones every time."""
        print(f"{self.id}: {EXAMPLES} examples from seed {SEED}")  # noqa: T201
        strategy = self.definition.as_strategy(mode, path_parameters=self.path_parameters or None)
        options = settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        seed(SEED)(options(given(case=strategy)(check)))()

    def case(self) -> schemathesis.Case:
        content = {"model_input": {}} if self.id.startswith("asyncPredict") else {}
        body = {} if self.id.startswith(WITHOUT_BODY) else {"body": content, "media_type": "application/json"}
        return self.definition.Case(path_parameters=self.path_parameters, **body)


@pytest.fixture(params=COVERED)
def operation(schema: Any, emulator: Emulator, addressing: str, request: pytest.FixtureRequest) -> Operation:
    """Each operation on the one of the document's templated servers that is meant for it."""
    name = "chain-any" if "unRemote" in request.param else "model-any"
    queued = httpx.post(
        f"{emulator.url}/model-any/production/async_predict", json={"model_input": {}}, headers=AUTHORIZED
    ).json()["request_id"]
    if request.param.endswith("Regional"):
        name += "-prod-us"
    definition = schema.find_operation_by_id(request.param)
    if addressing == "path":
        return Operation(request.param, definition, f"{emulator.url}/{name}", {}, queued)
    return Operation(request.param, definition, emulator.url, {"host": f"{name}.api.baseten.co"}, queued)


def test_what_the_document_allows(operation: Operation, asked: Asked) -> None:
    """Every documented request succeeds with a documented answer, and is refused without the key."""
    headers = {**operation.headers, **AUTHORIZED}

    def check(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and "webhook_endpoint" in case.body:
            case.body["webhook_endpoint"] = "https://127.0.0.1:1/"  # Nothing leaves this machine.
        response = case.call(operation.base_url, headers=headers)
        case.validate_response(response, [*CONFORMANCE, positive_data_acceptance, ignored_auth], headers=headers)
        assert response.headers["x-baseten-request-id"]

    operation.examples(GenerationMode.POSITIVE, check)
    assert {request.status for request in asked()} == {operation.success, 401}


def test_what_the_document_forbids(operation: Operation) -> None:
    """Input of another shape, or odd headers: whatever the model makes of it, the answer is a documented one."""
    headers = {**operation.headers, **AUTHORIZED}

    def check(case: schemathesis.Case) -> None:
        case.validate_response(case.call(operation.base_url, headers=headers), CONFORMANCE)

    operation.examples(GenerationMode.NEGATIVE, check)


def test_generated_credentials_are_refused(operation: Operation, asked: Asked) -> None:
    def check(case: schemathesis.Case) -> None:
        case.validate_response(case.call(operation.base_url, headers=operation.headers), CONFORMANCE)

    operation.examples(GenerationMode.NEGATIVE, check)
    operation.examples(GenerationMode.POSITIVE, check)
    assert {request.status for request in asked()} == {401}


def test_injected_faults_are_documented_errors(operation: Operation, emulator: Emulator) -> None:
    case = operation.case()
    headers = {**operation.headers, **AUTHORIZED}
    for status in sorted(int(status) for status in operation.definition.definition.raw["responses"] if status >= "4"):
        emulator.faults.add(Fault(status=status))
        response = case.call(operation.base_url, headers=headers)
        assert response.status_code == status
        case.validate_response(response, CONFORMANCE[1:])


@pytest.mark.parametrize("operation_id", ["predictProduction", "runRemoteProduction"])
def test_malformed_json(schema: Any, emulator: Emulator, operation_id: str) -> None:
    operation = schema.find_operation_by_id(operation_id)
    target = "model-abc" if operation_id.startswith("predict") else "chain-xyz"
    url = f"{emulator.url}/{target}{operation.path}"
    response = httpx.post(url, content=b'{"a": ', headers={**AUTHORIZED, "content-type": "application/json"})
    assert response.status_code == 400
    operation.Case(body={}, media_type="application/json").validate_response(response, CONFORMANCE)
