"""The emulator's management API against Baseten's own description of it.

Each operation that the emulator serves gets generated requests, with an emulator of its own. No training job runs: its
commands are generated too.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from management_document import make_document, sample_path
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from truth_support import API_KEY, AUTHORIZED, ROOT

from airflow_provider_baseten.emulator import Emulator, Limits, Model
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.management.api import ROUTES
from airflow_provider_baseten.emulator.management.routes import find_route

SEED = 20261129
EXAMPLES = 15
CONFORMANCE = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOCUMENT = make_document()


def is_served(method: str, path: str) -> bool:
    try:
        find_route(ROUTES, method.upper(), sample_path(path))
    except GatewayError:
        return False
    return True


SERVED = sorted(
    (operation["operationId"], method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if is_served(method, path)
)


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture
def known() -> Iterator[tuple[Emulator, dict[str, str]]]:
    """An emulator, and values of path parameters that exist there."""

    def echo(model_input: Any) -> Any:
        return model_input

    model = Model(echo, environments=("production", "development", "staging"), candidates={"abcd9": None})
    with Emulator(
        {"abc": model},
        {"xyz": Model(echo, candidates={"xyzd9": None})},
        model_apis={"org": echo},
        api_key=API_KEY,
        limits=Limits(management_rates=False),
    ) as emulator:
        emulator.hold_training()
        with httpx.Client(base_url=f"{emulator.url}/v1/", headers=AUTHORIZED) as client:
            project = client.post("training_projects", json={"training_project": {"name": "p"}}).json()
            project_id = project["training_project"]["id"]
            body = {"training_job": {"image": {"base_image": "x"}}}
            job = client.post(f"training_projects/{project_id}/jobs", json=body).json()["training_job"]
        yield (
            emulator,
            {
                "model_id": "abc",
                "deployment_id": "abcd1",
                "env_name": "staging",
                "chain_id": "xyz",
                "chain_deployment_id": "xyzd1",
                "chainlet_id": "xyzd1c1",
                "replica_id": "abcd1-r1",
                "model_api_name": "org",
                "training_project_id": project_id,
                "training_job_id": job["id"],
                "team_id": "default",
            },
        )
        assert all(job.is_pending or job.has_ended for job in emulator.training_jobs.values())


def run_examples(
    schema: Any, operation_id: str, known: dict[str, str], mode: GenerationMode, check: Callable[[Any], None]
) -> None:
    """Runs a check on generated requests, the same ones every time."""
    print(f"{operation_id}: {EXAMPLES} examples from seed {SEED}")  # noqa: T201
    operation = schema.find_operation_by_id(operation_id)
    parameters = {
        parameter.name: _value(operation_id, parameter.name, known) for parameter in operation.path_parameters
    }
    options = settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    strategy = operation.as_strategy(mode, path_parameters=parameters or None)
    seed(SEED)(options(given(case=strategy)(check)))()


def _value(operation_id: str, name: str, known: dict[str, str]) -> str:
    if "chains" in operation_id and name == "env_name":
        return "production"
    return known[name]


@pytest.mark.parametrize(("operation_id", "method", "path"), SERVED)
def test_what_the_document_allows(
    schema: Any, known: tuple[Emulator, dict[str, str]], operation_id: str, method: str, path: str
) -> None:
    """Every documented request gets a documented answer, and one without the key is refused."""
    emulator, parameters = known
    statuses = set()

    def check(case: Any) -> None:
        response = case.call(emulator.url, headers=AUTHORIZED)
        statuses.add(response.status_code)
        case.validate_response(response, CONFORMANCE, headers=AUTHORIZED)

    run_examples(schema, operation_id, parameters, GenerationMode.POSITIVE, check)
    assert statuses <= {200, 400, 404}
    sent = path.format(**{name: _value(operation_id, name, parameters) for name in parameters})
    assert httpx.request(method, f"{emulator.url}{sent}").status_code == 401


@pytest.mark.parametrize(("operation_id", "method", "path"), SERVED)
def test_what_the_document_forbids(
    schema: Any, known: tuple[Emulator, dict[str, str]], operation_id: str, method: str, path: str
) -> None:
    """A request of another shape gets a documented answer too."""
    emulator, parameters = known

    def check(case: Any) -> None:
        case.validate_response(case.call(emulator.url, headers=AUTHORIZED), CONFORMANCE, headers=AUTHORIZED)

    run_examples(schema, operation_id, parameters, GenerationMode.NEGATIVE, check)


def test_every_route_is_documented() -> None:
    """No route is made up: each one is an operation of the SDK."""
    documented = [find_route(ROUTES, method, sample_path(path))[0] for _, method, path in SERVED]
    assert [f"{route.method} {route.path}" for route in ROUTES if route not in documented] == []


@pytest.mark.parametrize("name", ["model_id", "deployment_id", "env_name", "chain_id", "training_job_id"])
def test_an_unknown_id_is_not_found(known: tuple[Emulator, dict[str, str]], name: str) -> None:
    emulator, parameters = known
    for operation_id, method, path in SERVED:
        if method == "GET" and f"{{{name}}}" in path:
            values = {one: _value(operation_id, one, parameters) for one in parameters} | {name: "unknown"}
            query = "?start_epoch_millis=1&end_epoch_millis=2" if "startups" in path else ""
            response = httpx.get(f"{emulator.url}{path.format(**values)}{query}", headers=AUTHORIZED)
            assert (response.status_code, "error" in response.json()) == (404, True), path


def test_a_method_that_a_path_does_not_have(known: tuple[Emulator, dict[str, str]]) -> None:
    response = httpx.put(f"{known[0].url}/v1/models/abc", headers=AUTHORIZED)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, PATCH, DELETE")


def test_the_document_is_the_one_that_was_derived_before() -> None:
    """The document that is made here says the same as the one that a longer script has made."""
    default = ROOT.parent / "shared/specs/baseten-management-openapi-sdk-0.13.1.json"
    path = Path(os.environ.get("BASETEN_MANAGEMENT_OPENAPI", default))
    if not path.is_file():
        pytest.skip(f"There is no document at {path}; BASETEN_MANAGEMENT_OPENAPI names another place")
    before = json.loads(path.read_text())
    assert set(before["paths"]) == set(DOCUMENT["paths"])
    own = DOCUMENT["components"]["schemas"]
    assert {name: own[name] for name in before["components"]["schemas"]} == before["components"]["schemas"]
