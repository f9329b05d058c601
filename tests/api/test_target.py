"""URLs of models and chains, and what must never get into one."""

import pytest

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import Target, check_base_url
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenInputError


@pytest.mark.parametrize(
    ("arguments", "action", "url"),
    [
        ({"model_id": "abc"}, "predict", "https://model-abc.api.baseten.co/environments/production/predict"),
        (
            {"model_id": "abc", "environment": "staging"},
            "predict",
            "https://model-abc.api.baseten.co/environments/staging/predict",
        ),
        (
            {"model_id": "abc", "environment": "development"},
            "wake",
            "https://model-abc.api.baseten.co/development/wake",
        ),
        (
            {"model_id": "abc", "deployment_id": "d1"},
            "predict",
            "https://model-abc.api.baseten.co/deployment/d1/predict",
        ),
        (
            {"model_id": "abc", "environment": "prod-us", "regional": True},
            "predict",
            "https://model-abc-prod-us.api.baseten.co/predict",
        ),
        ({"chain_id": "x1"}, "predict", "https://chain-x1.api.baseten.co/environments/production/run_remote"),
        (
            {"chain_id": "x1"},
            "async_predict",
            "https://chain-x1.api.baseten.co/environments/production/async_run_remote",
        ),
        (
            {"chain_id": "x1", "environment": "prod-us", "regional": True},
            "async_queue_status",
            "https://chain-x1-prod-us.api.baseten.co/async_queue_status",
        ),
    ],
)
def test_url(arguments, action, url):
    target = Target(**arguments)
    assert f"https://{target.host}.api.baseten.co{target.path(action)}" == url


@pytest.mark.parametrize(
    ("base_url", "arguments", "url"),
    [
        (None, {}, "https://model-abc.api.baseten.co/environments/production/predict"),
        ("http://h:1", {}, "http://h:1/model-abc/environments/production/predict"),
        ("http://h:1/prefix/", {"environment": "eu", "regional": True}, "http://h:1/prefix/model-abc-eu/predict"),
    ],
)
def test_where_baseten_is_comes_from_the_credentials(base_url, arguments, url):
    request = build_predict(Target(model_id="abc", **arguments), 1)
    assert Credentials(api_key="k", base_url=base_url).url(request) == url


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("v1/embeddings", "/environments/production/sync/v1/embeddings"),
        ("/health", "/environments/production/sync/health"),
        ("items/", "/environments/production/sync/items/"),
        (
            "v1/models/model:predict",
            "/environments/production/sync/v1/models/model:predict",
        ),
        ("straße", "/environments/production/sync/stra%C3%9Fe"),
        ("a%2Fb", "/environments/production/sync/a%2Fb"),
    ],
)
def test_sync_path(route, path):
    assert Target(model_id="abc").sync_path(route) == path


@pytest.mark.parametrize(
    "route",
    [
        "",
        "/",
        "..",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "%2e%2e/predict",
        "a/%2E%2e",
        "a%2f..%2fb",
        "..\\a",
        "a%5C..%5Cb",
        "a?x=1",
        "a#b",
        "a b",
        "a\nb",
        "a\x00",
        "//evil.example",
        None,
        7,
    ],
)
def test_route_that_leaves_the_server_is_refused(route):
    with pytest.raises(BasetenInputError, match="route"):
        Target(model_id="abc").sync_path(route)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "model_id and chain_id; neither"),
        ({"model_id": "a", "chain_id": "b"}, "model_id and chain_id; both are given."),
        ({"model_id": "model-abcd1234"}, "'model-abcd1234' is not valid: give the id alone, model_id='abcd1234'."),
        ({"model_id": "https://model-abcd1234.api.baseten.co/environments/production/predict"}, "model_id='abcd1234'"),
        ({"model_id": "model-abcd1234-staging.api.baseten.co"}, "give the id alone, model_id='abcd1234'."),
        ({"model_id": "https://app.baseten.co/models/abcd1234/overview"}, "give the id alone, model_id='abcd1234'."),
        ({"model_id": "models/abcd1234"}, "give the id alone, model_id='abcd1234'."),
        ({"model_id": "chain-efgh5678"}, "model_id='chain-efgh5678' .* chain_id='efgh5678'."),
        ({"chain_id": "https://app.baseten.co/chains/efgh5678"}, "give the id alone, chain_id='efgh5678'."),
        ({"model_id": "my model"}, "is not valid: it takes letters and digits."),
        ({"model_id": "a", "environment": "e", "deployment_id": "d"}, "environment and deployment_id"),
        ({"model_id": "a", "deployment_id": "d", "regional": True}, "regional"),
        ({"model_id": "a", "environment": "development", "regional": True}, "development"),
    ],
)
def test_contradicting_arguments_are_refused(arguments, name):
    with pytest.raises(BasetenInputError, match=name):
        Target(**arguments)


@pytest.mark.parametrize(
    "value", ["", "a/b", "a\nb", "a.evil.example", "a-b", "a_b", "a b", "ä", "a" * 64, "../a", "a#", 5]
)
@pytest.mark.parametrize("name", ["model_id", "chain_id"])
def test_id_that_is_no_host_label_is_refused(name, value):
    with pytest.raises(BasetenInputError, match=name):
        Target(**{name: value})


@pytest.mark.parametrize("value", ["a/b", "a\nb", "..", "a b", "-a", "ä", "a" * 65, "a%2Fb", "a?b"])
@pytest.mark.parametrize("name", ["environment", "deployment_id"])
def test_name_that_is_no_path_part_is_refused(name, value):
    with pytest.raises(BasetenInputError, match=name):
        Target(model_id="abc", **{name: value})


@pytest.mark.parametrize("value", ["Prod", "prod_us", "prod-", "p" * 41])
def test_regional_environment_must_be_a_host_label(value):
    with pytest.raises(BasetenInputError, match="environment"):
        Target(model_id="abc", environment=value, regional=True)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8700",
        "baseten.example.com",
        "localhost",
        "//h",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999",
        "http://h/\n",
        "http://h /",
        "http://h?x=1",
        "http://h#x",
        "http://user:secret@h",
        "user:secret@h",
        "http://..:80",
        "http://a..example",
        f"http://{'a' * 64}.example",
        f"http://{'a.' * 127}a",
        "http://h;a",
        "http://%6cocalhost",
        "http://127.0.0.1%2f",
        "http://bücher.example",
        "http://\uff4cocalhost",
        "http://a\u3002example",
        "http://[v1.a]",
        "http://[fe80::1%25eth0]",
        "",
    ],
)
def test_base_url_must_be_plain_and_absolute(url):
    with pytest.raises(BasetenInputError, match="Host of connection 'c'") as caught:
        check_base_url("Host of connection 'c'", url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://h.", "http://a_b-c.example:1/x", "http://[::1]:1", "http://xn--bcher-kva.example", "http://127.1"],
)
def test_base_url_with_a_plain_host(url):
    assert check_base_url("Host", url) == url


def test_target_names_itself():
    assert str(Target(model_id="abc")) == "model abc (environment production)"
    assert str(Target(chain_id="x", deployment_id="d1")) == "chain x (deployment d1)"
