"""What the emulator's management API answers, against Baseten's own description of it."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from truth_support import AUTHORIZED, DEPLOYMENT, ROOT

from airflow_provider_baseten.emulator import Emulator

CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance]
MODEL = {"model_id": "abc", "deployment_id": DEPLOYMENT}
CHAIN = {"chain_id": "xyz", "chain_deployment_id": DEPLOYMENT}
COVERED = {
    "/v1/users/me": {},
    "/v1/models": {},
    "/v1/models/{model_id}": MODEL,
    "/v1/models/{model_id}/deployments": MODEL,
    "/v1/models/{model_id}/deployments/production": MODEL,
    "/v1/models/{model_id}/deployments/development": MODEL,
    "/v1/models/{model_id}/deployments/{deployment_id}": MODEL,
    "/v1/chains": {},
    "/v1/chains/{chain_id}": CHAIN,
    "/v1/chains/{chain_id}/deployments": CHAIN,
    "/v1/chains/{chain_id}/deployments/{chain_deployment_id}": CHAIN,
}


@pytest.fixture(scope="module")
def schema() -> Any:
    default = ROOT.parent / "shared/specs/baseten-management-openapi.json"
    path = Path(os.environ.get("BASETEN_MANAGEMENT_OPENAPI", default))
    if not path.is_file():
        pytest.skip(f"Baseten's management OpenAPI document is not at {path}; BASETEN_MANAGEMENT_OPENAPI names another")
    return schemathesis.openapi.from_path(path)


@pytest.mark.parametrize("path", COVERED)
def test_the_answer_has_the_documented_shape(schema: Any, emulator: Emulator, path: str) -> None:
    operation = schema[path]["GET"]
    names = {parameter.name for parameter in operation.path_parameters}
    given = {name: value for name, value in COVERED[path].items() if name in names}
    case = operation.Case(path_parameters=given)
    response = case.call(emulator.url, headers=AUTHORIZED)
    assert response.status_code == 200
    case.validate_response(response, CONFORMANCE)
    # Whoever can't read the answer can't act on it either: an unknown id is no empty answer.
    for name in given:
        missing = operation.Case(path_parameters={**given, name: "unknown"}).call(emulator.url, headers=AUTHORIZED)
        assert missing.status_code == 404
        assert "error" in missing.json()


def test_a_method_that_a_path_does_not_have(emulator: Emulator) -> None:
    response = httpx.put(f"{emulator.url}/v1/models/abc", headers=AUTHORIZED)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, PATCH, DELETE")
