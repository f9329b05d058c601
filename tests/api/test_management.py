"""Reading models and deployments, waking one: against the emulator, with the keys that may do it."""

import asyncio

import pytest

from airflow_provider_baseten.api import deployments
from airflow_provider_baseten.api.deployments import Deployments, build_wake
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator import Emulator, Fault, Model, Scaling
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenResponseError,
)
from airflow_provider_baseten.hooks.baseten import BasetenHook

MANAGE, INVOKE = "manage.key", "invoke.key"
URL = "https://api.baseten.co"


def echo(model_input):
    return model_input


class TestRequests:
    @pytest.mark.parametrize(
        ("request_", "path"),
        [
            (deployments.list_models(URL), "/v1/models"),
            (deployments.list_models(URL, "my model&x=1"), "/v1/models?name=my+model%26x%3D1"),
            (deployments.get_model(URL, "abc"), "/v1/models/abc"),
            (Deployments("abc").list(URL), "/v1/models/abc/deployments"),
            (Deployments("abc").get(URL, "production"), "/v1/models/abc/deployments/production"),
            (Deployments(chain_id="xyz").get(URL, "d1"), "/v1/chains/xyz/deployments/d1"),
        ],
    )
    def test_paths(self, request_, path):
        assert (request_.method, request_.url, request_.idempotent) == ("GET", f"{URL}{path}", True)

    def test_wake_goes_to_the_models_own_host(self):
        request = build_wake(Target(model_id="abc", environment="staging"))
        assert (request.method, request.body) == ("POST", None)
        assert request.url == "https://model-abc.api.baseten.co/environments/staging/wake"

    @pytest.mark.parametrize("id_", ["", "../users/me", "a/b", "a?b", None, 7])
    def test_what_can_not_be_an_id_is_not_sent(self, id_):
        for build in (lambda: deployments.get_model(URL, id_), lambda: Deployments("abc").get(URL, id_)):
            with pytest.raises(BasetenInputError, match="is not valid"):
                build()

    @pytest.mark.parametrize("given", [{}, {"model_id": "a", "chain_id": "b"}])
    def test_a_model_or_a_chain(self, given):
        with pytest.raises(BasetenInputError, match="exactly one of model_id and chain_id"):
            Deployments(**given)


@pytest.fixture
def baseten():
    models = {
        "abc": Model(echo, name="one", environments=("production", "staging"), deployment_id="d1"),
        "cold": Model(echo, name="two", scaling=Scaling(min_replica=0, max_replica=3, cold_start=60)),
    }
    with Emulator(
        models=models, chains={"xyz": echo}, api_keys={MANAGE: "WORKSPACE_MANAGE_ALL", INVOKE: "WORKSPACE_INVOKE"}
    ) as emulator:
        yield emulator


@pytest.fixture
def hook(baseten, connect):
    connect(host=baseten.url, password=INVOKE, extra={"management_api_key": MANAGE})
    return BasetenHook()


def both(hook, name, *arguments, **options):
    """What a call and its async twin return, which is the same."""

    async def twin():
        try:
            return await getattr(hook, f"a{name}")(*arguments, **options)
        finally:
            await hook.aclose()

    value = getattr(hook, name)(*arguments, **options)
    assert asyncio.run(twin()) == value
    return value


class TestHook:
    def test_models(self, hook):
        assert [model["name"] for model in both(hook, "list_models")] == ["one", "two"]
        assert [model["id"] for model in both(hook, "list_models", "two")] == ["cold"]
        assert both(hook, "list_models", "no such name") == []
        model = both(hook, "get_model", "abc")
        assert (model["production_deployment_id"], model["development_deployment_id"]) == ("d1", None)

    def test_deployments(self, hook):
        deployment, staging = both(hook, "list_deployments", "abc")
        assert (deployment["id"], deployment["environment"], deployment["status"]) == ("d1", "production", "ACTIVE")
        assert (staging["id"], staging["environment"], staging["is_production"]) == ("abcd2", "staging", False)
        assert both(hook, "get_deployment", "d1", "abc") == deployment
        assert both(hook, "get_deployment", "production", "abc") == deployment
        (deployment,) = both(hook, "list_deployments", chain_id="xyz")
        assert (deployment["chain_id"], len(deployment["chainlets"])) == ("xyz", 1)
        assert both(hook, "get_deployment", deployment["id"], chain_id="xyz") == deployment

    def test_waking(self, hook, baseten):
        def status():
            return hook.get_deployment("production", "cold")["status"]

        assert status() == "SCALED_TO_ZERO"
        assert both(hook, "wake", Target(model_id="cold")) is None
        assert status() == "WAKING_UP"
        assert [r.status for r in baseten.requests if r.action == "wake"] == [202, 202]
        baseten.deactivate("cold")
        assert status() == "INACTIVE"
        with pytest.raises(BasetenInputError, match="deactivated"):
            hook.wake(Target(model_id="cold"))

    @pytest.mark.parametrize("call", [("get_model", "no"), ("list_deployments", "no"), ("get_deployment", "no", "abc")])
    def test_what_is_not_there(self, hook, call):
        with pytest.raises(BasetenNotFoundError):
            getattr(hook, call[0])(*call[1:])

    def test_a_key_that_may_only_call_models(self, baseten, connect):
        connect(host=baseten.url, password=INVOKE)
        hook = BasetenHook()
        with pytest.raises(BasetenAuthError) as caught:
            hook.list_models()
        assert caught.value.status == 403
        assert hook.predict(Target(model_id="abc"), 1) == 1

    def test_a_busy_management_api_is_asked_again_when_it_says(self, hook, baseten):
        busy = {"error": "Rate limit exceeded. Please try again later.", "retry_after": 0.2}
        baseten.inject(Fault(action="models", status=429, body=busy))
        assert len(hook.list_models()) == 2
        first, second = baseten.requests
        assert 0.2 <= second.at - first.at < 10

    @pytest.mark.parametrize("body", [[], {"models": "none"}, {"models": [1]}, {}])
    def test_something_else_than_the_management_api(self, hook, baseten, body):
        baseten.inject(Fault(action="models", status=200, body=body))
        with pytest.raises(BasetenResponseError, match="management_url"):
            hook.list_models()
