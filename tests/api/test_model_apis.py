from dataclasses import replace

import pytest

from airflow_provider_baseten.api.model_apis import ModelApis
from airflow_provider_baseten.exceptions import BasetenInputError


def test_urls():
    assert ModelApis().sync_url("v1/chat/completions") == "https://inference.baseten.co/v1/chat/completions"
    elsewhere = replace(ModelApis(), base_url="http://127.0.0.1:8700/")
    assert elsewhere.sync_url("/v1/models") == "http://127.0.0.1:8700/inference/v1/models"
    assert str(elsewhere) == "Model APIs"


@pytest.mark.parametrize("action", ["predict", "async_predict", "wake"])
def test_there_is_nothing_but_the_routes(action):
    with pytest.raises(BasetenInputError, match=f"no {action}"):
        ModelApis().url(action)
    with pytest.raises(BasetenInputError, match="no async"):
        ModelApis().async_request_url("r1")


@pytest.mark.parametrize(
    "arguments",
    [{"model_id": "a"}, {"chain_id": "a"}, {"environment": "e"}, {"deployment_id": "d"}, {"regional": True}],
)
def test_nothing_else_is_named(arguments):
    with pytest.raises(BasetenInputError, match="named by its slug"):
        ModelApis(**arguments)


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "http://u:p@host"])
def test_base_url_is_checked(url):
    with pytest.raises(BasetenInputError):
        ModelApis(base_url=url)
