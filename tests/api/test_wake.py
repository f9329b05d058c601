"""Request that wakes a deployment."""

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.api.wake import build_wake


def test_wake_goes_to_the_models_own_host():
    request = build_wake(Target(model_id="abc", environment="staging"))
    assert (request.method, request.body) == ("POST", None)
    assert (request.host, request.path) == ("model-abc", "/environments/staging/wake")
