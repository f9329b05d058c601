"""Assets of models: one URI for each, Airflow's four uses of the scheme, and DAGs that they connect."""

from importlib.util import find_spec

import pytest
from airflow.sdk import DAG, Asset

import airflow_provider_baseten
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.lineage.assets import asset_uri, baseten_asset, parse_asset_uri
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

TARGETS = {
    "baseten://model/abc": (Target(model_id="abc"), None),
    "baseten://chain/abc": (Target(chain_id="abc", environment="production"), None),
    "baseten://model/abc/environment/staging": (Target(model_id="abc", environment="staging"), None),
    "baseten://model/abc/environment/development": (Target(model_id="abc", environment="development"), None),
    "baseten://chain/abc/deployment/d1": (Target(chain_id="abc", deployment_id="d1"), None),
    "baseten://model-apis/deepseek-ai/DeepSeek-V3.1": (ModelApis(), "deepseek-ai/DeepSeek-V3.1"),
}


@pytest.mark.parametrize(("uri", "named"), TARGETS.items())
def test_a_uri_and_its_target_stand_for_each_other(uri, named):
    assert asset_uri(*named) == uri
    assert parse_asset_uri(uri) == named
    assert Asset(uri=uri).uri == uri


def test_what_has_no_uri():
    assert asset_uri(ModelApis()) is None
    assert asset_uri(ModelApis(), "a slug?") is None


@pytest.mark.parametrize("same", ["/environment/production", "/"])
def test_other_forms_of_a_uri_become_the_one_form(same):
    assert Asset(uri=f"BASETEN://model/abc{same}").uri == "baseten://model/abc"


@pytest.mark.parametrize(
    "uri",
    [
        "baseten://abc",
        "baseten://models/abc",
        "baseten://model",
        "baseten://model/abc/staging",
        "baseten://model/abc/environment",
        "baseten://model/abc/deployment/d1/x",
        "baseten://model/a-b",
        "baseten://user@model/abc",
        "baseten://model/abc?x=1",
        "baseten://model-apis",
    ],
)
def test_a_malformed_uri_is_refused_with_a_sentence(uri):
    with pytest.raises(BasetenInputError, match=r"not the URI of a model: .*baseten://model/ID|is not valid"):
        Asset(uri=uri)


def test_the_helper_takes_the_arguments_of_operators():
    asset = baseten_asset(model_id="abc", environment="staging", name="classifier", extra={"team": "a"})
    assert (asset.name, asset.uri, asset.extra) == (
        "classifier",
        "baseten://model/abc/environment/staging",
        {"team": "a"},
    )
    assert airflow_provider_baseten.baseten_asset(model="openai/gpt-oss-120b").uri == (
        "baseten://model-apis/openai/gpt-oss-120b"
    )
    for arguments in ({}, {"model_id": "a", "chain_id": "b"}, {"model": "m", "model_id": "a"}, {"model": "not a slug"}):
        with pytest.raises(BasetenInputError):
            baseten_asset(**arguments)


@pytest.fixture
def manager():
    from airflow.providers_manager import ProvidersManager

    return ProvidersManager()


def test_airflow_finds_the_functions_of_the_scheme(airflow_db, manager):
    assert manager.asset_uri_handlers["baseten"].__name__ == "sanitize_uri"
    asset = manager.asset_factories["baseten"](model_id="abc", extra={"a": 1})
    assert (asset.uri, asset.extra) == ("baseten://model/abc", {"a": 1})
    converter = manager.asset_to_openlineage_converters["baseten"]
    if find_spec("openlineage"):
        found = converter(baseten_asset(chain_id="c", deployment_id="d"), None)
        assert (found.namespace, found.name) == ("baseten://chain", "c/deployment/d")


def test_the_event_of_a_model_has_counts(connect, run_dag):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    asset = baseten_asset(model_id="echo")
    with Emulator(models={"echo": lambda x: x}, api_key="secret") as emulator:
        connect(host=emulator.url, password="secret")
        with DAG("producer_of_model") as dag:
            BasetenPredictOperator(task_id="predict", model_id="echo", model_input=1, outlets=[asset])
        run = run_dag(dag)
    assert run.states == {"predict": "success"}
    with create_session() as session:
        (event,) = session.query(AssetEvent).filter_by(source_dag_id="producer_of_model")
        assert event.asset.uri == asset.uri
        assert event.extra == {"model": asset.uri, "requests": 1, "request_id": run.xcom("predict", "request_id")}
