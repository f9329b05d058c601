import pytest

from airflow_provider_baseten.emulator.addressing import Address, parse_address
from airflow_provider_baseten.emulator.errors import GatewayError

HERE = "127.0.0.1:8700"
MODEL = "model-abc.api.baseten.co"


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        (MODEL, "/production/predict", Address("model", "abc", "predict", "production")),
        (MODEL, "/development/predict", Address("model", "abc", "predict", "development")),
        (MODEL, "/environments/staging/predict", Address("model", "abc", "predict", "staging")),
        (MODEL, "/deployment/d1/predict", Address("model", "abc", "predict", deployment_id="d1")),
        (MODEL + ":443", "/production/wake", Address("model", "abc", "wake", "production")),
        ("MODEL-ABC.API.BASETEN.CO", "/production/wake", Address("model", "abc", "wake", "production")),
        (HERE, "/model-abc/production/predict", Address("model", "abc", "predict", "production")),
        (HERE, "/model-aBc/production/predict", Address("model", "aBc", "predict", "production")),
        (HERE, "/chain-x1/deployment/d1/run_remote", Address("chain", "x1", "run_remote", deployment_id="d1")),
        ("chain-x1.api.baseten.co", "/production/run_remote", Address("chain", "x1", "run_remote", "production")),
        (
            "model-abc-prod-us.api.baseten.co",
            "/predict",
            Address("model", "abc", "predict", "prod-us", regional=True),
        ),
        (HERE, "/chain-abc-eu/run_remote", Address("chain", "abc", "run_remote", "eu", regional=True)),
        (MODEL, "/async_request/r1", Address("model", "abc", "async_request", route="/r1")),
        (
            MODEL,
            "/environments/production/sync/v1/models/a%2Fb",
            Address("model", "abc", "sync", "production", route="/v1/models/a%2Fb"),
        ),
        (
            "model-abc-eu.api.baseten.co",
            "/sync/rerank",
            Address("model", "abc", "sync", "eu", regional=True, route="/rerank"),
        ),
        (MODEL, "/production/sync", Address("model", "abc", "sync", "production")),
        (MODEL, "/environments/a%20b/predict", Address("model", "abc", "predict", "a b")),
        ("api.baseten.co", "/v1/models", Address("management", "", "models")),
        (HERE, "/v1/users/me", Address("management", "", "users/me")),
    ],
)
def test_what_is_addressed(host: str, path: str, expected: Address) -> None:
    assert parse_address(host, path) == expected


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (HERE, "/"),
        (HERE, "/production/predict"),
        (HERE, "/model-/production/predict"),
        (HERE, "/model-abc"),
        (HERE, "/model-abc/predict"),
        (HERE, "/model-abc/production"),
        (HERE, "/model-abc/production/predict/more"),
        (HERE, "/model-abc/deployments/d1/predict"),
        (HERE, "/model-abc/environments//predict"),
        (MODEL, "/v1/models"),
        ("api.baseten.co", "/model-abc/production/predict"),
        ("model-abc-prod-us.api.baseten.co", "/production/predict"),
        ("model-abc-prod-us.api.baseten.co", "/environments/prod-us/predict"),
        ("model-abc-prod-us.api.baseten.co", "/deployment/d1/predict"),
        (HERE, "/model-abc-prod-us/development/predict"),
    ],
)
def test_paths_that_name_nothing(host: str, path: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_address(host, path)
    assert caught.value.status == 404
