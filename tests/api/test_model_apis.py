import pytest

from airflow_provider_baseten.api.async_predict import build_async_predict, build_status
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import ModelApis, require_model_apis_only
from airflow_provider_baseten.api.wake import build_wake
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenInputError


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "https://inference.baseten.co/v1/models"),
        ("http://127.0.0.1:8700/", "http://127.0.0.1:8700/inference/v1/models"),
    ],
)
def test_urls(base_url, url):
    request = build_sync_route(ModelApis(), "/v1/models")
    assert Credentials(api_key="k", base_url=base_url).url(request) == url
    assert request.subject == "GET sync/v1/models of Model APIs"


@pytest.mark.parametrize(
    "build",
    [
        lambda target: build_predict(target, {}),
        lambda target: build_async_predict(target, {}),
        lambda target: build_status(target, "r1"),
        build_wake,
    ],
)
def test_there_is_nothing_but_the_routes(build):
    with pytest.raises(BasetenInputError, match="Model APIs only have"):
        build(ModelApis())


@pytest.mark.parametrize(
    "arguments",
    [{"model_id": "a"}, {"chain_id": "a"}, {"environment": "e"}, {"deployment_id": "d"}, {"regional": True}],
)
def test_nothing_else_is_named(arguments):
    with pytest.raises(BasetenInputError, match="named by its slug"):
        require_model_apis_only(**arguments)
