"""Deployments of models."""

from airflow_provider_baseten.api.management.autoscaling import AutoscalingSettings, BackpressureSettings
from airflow_provider_baseten.api.management.call import Call, accepts, change, get, reads
from airflow_provider_baseten.api.management.models import Deleted
from airflow_provider_baseten.api.management.path import model_path, model_target, path_of, segment
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_texts


class Region(Resource):
    """Region of a deployment."""

    slug: str
    display_name: str = ""


class Deployment(Resource):
    """Deployment of a model. ``autoscaling_settings`` is ``None`` until it is deployed."""

    id: str
    status: str
    model_id: str | None = None
    name: str = ""
    created_at: Time | None = None
    is_production: bool = False
    is_development: bool = False
    active_replica_count: int = 0
    autoscaling_settings: AutoscalingSettings | None = None
    instance_type_name: str | None = None
    environment: str | None = None
    labels: dict[str, object] | None = None
    region: Region | None = None
    request_backpressure_settings: BackpressureSettings | None = None


class Activation(Resource):
    """Result of an activation. ``no_op`` is true if the deployment was active already, or on its way."""

    success: bool = True
    no_op: bool = False


class Deactivation(Resource):
    """Result of a deactivation. ``no_op`` is true if the deployment was inactive already, or on its way."""

    success: bool = True
    no_op: bool = False


class Retry(Resource):
    """Result of a retry of a failed deployment; ``reason`` says why it was not retried."""

    retried: bool
    reason: str | None = None
    deployment: Deployment


class Termination(Resource):
    """Result of the termination of a replica."""

    success: bool = True


def list_deployments(model_id: str, name: str | None = None) -> Call[list[Deployment]]:
    """Return the deployments of a model.

    :param name: restricts the list to deployments with exactly this name.
    :raises BasetenNotFoundError: no model has this id.
    """
    check_texts(name=name)
    path = f"{model_path(model_id)}/deployments"
    return get(path, f"listing the deployments of model {model_id}", reads(list[Deployment], "deployments"), name=name)


def get_deployment(model_id: str, deployment_id: str) -> Call[Deployment]:
    """Return a deployment of a model.

    :param deployment_id: id of the deployment; also ``production`` or ``development``.
    :raises BasetenNotFoundError: the model does not exist, or has no such deployment.
    """
    path = f"{model_path(model_id)}/deployments/{segment('deployment_id', deployment_id)}"
    return get(path, f"reading deployment {deployment_id} of model {model_id}", reads(Deployment))


def activate(target: Target) -> Call[Activation]:
    """Activate a deployment of a model. It takes some time until the deployment is ``ACTIVE``.

    Baseten allows 20 activations a minute.

    :param target: environment or deployment of a model.
    :raises BasetenInputError: the target is a chain, which can't be activated.
    """
    model_target(target, "activation")
    return change("POST", f"{path_of(target)}/activate", f"activating {target}", accepts(Activation))


def deactivate(target: Target) -> Call[Deactivation]:
    """Deactivate a deployment: its replicas stop, and requests to it get an error until it is activated again.

    Baseten allows 20 deactivations a minute.

    :param target: environment or deployment of a model, or a deployment of a chain.
    :raises BasetenInputError: the target is an environment of a chain.
    """
    if target.chain_id is not None and target.deployment_id is None:
        model_target(target, "deactivation of environments")
    return change("POST", f"{path_of(target)}/deactivate", f"deactivating {target}", accepts(Deactivation))


def retry_deployment(target: Target) -> Call[Retry]:
    """Deploy a failed deployment of a model again. Baseten allows 10 retries a minute.

    :param target: a deployment of a model, or its environment ``production`` or ``development``.
    """
    model_target(target, "retry of deployments")
    place = segment("environment", target.deployment_id or target.environment)
    path = f"{model_path(str(target.model_id))}/deployments/{place}/retry"
    return change("POST", path, f"retrying {target}", reads(Retry), idempotent=False)


def delete_deployment(model_id: str, deployment_id: str) -> Call[Deleted]:
    """Delete a deployment of a model. Baseten refuses if an environment uses it, or if it is the only one.

    :raises BasetenNotFoundError: the model does not exist, or has no such deployment.
    """
    path = f"{model_path(model_id)}/deployments/{segment('deployment_id', deployment_id)}"
    return change("DELETE", path, f"deleting deployment {deployment_id} of model {model_id}", reads(Deleted))


def terminate_replica(model_id: str, deployment_id: str, replica_id: str) -> Call[Termination]:
    """Terminate one replica of a deployment; Baseten starts another one if the autoscaling settings ask for it."""
    deployment = f"{model_path(model_id)}/deployments/{segment('deployment_id', deployment_id)}"
    path = f"{deployment}/replicas/{segment('replica_id', replica_id)}"
    subject = f"terminating replica {replica_id} of deployment {deployment_id} of model {model_id}"
    return change("DELETE", path, subject, accepts(Termination))
