"""Calls of the management API against the emulator, with the keys that may do them."""

import asyncio
from operator import attrgetter

import pytest

from airflow_provider_baseten.api.management import deployments, models
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


def echo(model_input):
    return model_input


@pytest.mark.parametrize("id_", ["", "../users/me", "a/b", "a?b", 7])
def test_what_can_not_be_an_id_is_not_sent(id_):
    for build in (lambda: models.get_model(id_), lambda: deployments.get_deployment("abc", id_)):
        with pytest.raises(BasetenInputError, match="is not valid"):
            build()


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
    """What a call of the client and of the async client return, which is the same."""

    async def call():
        async with await hook.async_client() as client:
            return await attrgetter(name)(client)(*arguments, **options)

    with hook.client() as client:
        value = attrgetter(name)(client)(*arguments, **options)
    assert asyncio.run(call()) == value
    return value


class TestClients:
    def test_models(self, hook):
        assert [model.name for model in both(hook, "management.list_models")] == ["one", "two"]
        assert [model.id for model in both(hook, "management.list_models", "two")] == ["cold"]
        assert both(hook, "management.list_models", "no such name") == []
        model = both(hook, "management.get_model", "abc")
        assert (model.production_deployment_id, model.development_deployment_id) == ("d1", None)

    def test_deployments(self, hook):
        deployment, staging = both(hook, "management.list_deployments", "abc")
        assert (deployment.id, deployment.environment, deployment.status) == ("d1", "production", "ACTIVE")
        assert (staging.id, staging.environment, staging.is_production) == ("abcd2", "staging", False)
        assert both(hook, "management.get_deployment", "abc", "d1") == deployment
        assert both(hook, "management.get_deployment", "abc", "production") == deployment
        (deployment,) = both(hook, "management.list_chain_deployments", "xyz")
        assert (deployment.chain_id, len(deployment.chainlets)) == ("xyz", 1)
        assert both(hook, "management.get_chain_deployment", "xyz", deployment.id) == deployment

    def test_waking(self, hook, baseten):
        def status():
            return hook.client().management.get_deployment("cold", "production").status

        assert status() == "SCALED_TO_ZERO"
        assert both(hook, "wake", Target(model_id="cold")) is None
        assert status() == "WAKING_UP"
        assert [r.status for r in baseten.requests if r.action == "wake"] == [202, 202]
        baseten.deactivate("cold")
        assert status() == "INACTIVE"
        with pytest.raises(BasetenInputError, match="deactivated"):
            hook.wake(Target(model_id="cold"))

    @pytest.mark.parametrize("call", [("get_model", "no"), ("list_deployments", "no"), ("get_deployment", "abc", "no")])
    def test_what_is_not_there(self, hook, call):
        with pytest.raises(BasetenNotFoundError):
            getattr(hook.client().management, call[0])(*call[1:])

    def test_a_key_that_may_only_call_models(self, baseten, connect):
        connect(host=baseten.url, password=INVOKE)
        hook = BasetenHook()
        with pytest.raises(BasetenAuthError) as caught:
            hook.client().management.list_models()
        assert caught.value.status == 403
        assert hook.predict(Target(model_id="abc"), 1) == 1

    def test_a_busy_management_api_is_asked_again_when_it_says(self, hook, baseten):
        busy = {"error": "Rate limit exceeded. Please try again later.", "retry_after": 0.2}
        baseten.inject(Fault(action="models", status=429, body=busy))
        assert len(hook.client().management.list_models()) == 2
        first, second = baseten.requests
        assert 0.2 <= second.received_at - first.received_at < 10

    @pytest.mark.parametrize("body", [b"", {}, {"success": None, "no_op": None}])
    def test_an_activation_whose_response_says_nothing(self, hook, baseten, body):
        baseten.inject(Fault(method="POST", status=200, body=body))
        activation = hook.client().management.activate(Target(model_id="abc"))
        assert (activation.success, activation.no_op) == (True, False)

    @pytest.mark.parametrize("body", [b"", {}, {"deployment": {}}])
    def test_a_promotion_whose_response_is_odd_may_have_begun(self, hook, baseten, body):
        baseten.inject(Fault(method="POST", status=200, body=body))
        with pytest.raises(BasetenResponseError) as caught:
            hook.client().management.promote("abc", "d1", "staging")
        assert caught.value.may_have_run
        assert len(baseten.requests) == 1

    def test_an_error_names_what_is_wrong_but_no_value_of_an_environment_variable(self, hook, baseten):
        variables = {"TOKEN": "s3cr3t-value", "HF_TOKEN": {"name": "hf_access_token"}}
        spec = {
            "image": {"base_image": "python:3.11"},
            "runtime": {"start_commands": ["true"], "environment_variables": variables},
        }
        error = "There is no secret hf_access_token; TOKEN is s3cr3t-value."
        baseten.inject(Fault(action="training_projects/*", method="POST", status=400, body={"error": error}))
        with pytest.raises(BasetenInputError) as caught:
            hook.client().management.create_training_job("p", spec)
        assert "There is no secret hf_access_token; TOKEN is [input]" in str(caught.value)

    @pytest.mark.parametrize("body", [[], {"models": "none"}, {"models": [1]}, {}])
    def test_something_else_than_the_management_api(self, hook, baseten, body):
        baseten.inject(Fault(action="models", status=200, body=body))
        with pytest.raises(BasetenResponseError, match="management_url"):
            hook.client().management.list_models()
