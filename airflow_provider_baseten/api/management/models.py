"""Models of a workspace."""

from airflow_provider_baseten.api.management.call import Call, change, get, reads
from airflow_provider_baseten.api.management.path import model_path
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.arguments import check_texts


class Model(Resource):
    """Model, with the ids of its production and development deployment."""

    id: str
    name: str
    created_at: Time | None = None
    deployments_count: int | None = None
    production_deployment_id: str | None = None
    development_deployment_id: str | None = None
    instance_type_name: str | None = None
    team_name: str | None = None


class Deleted(Resource):
    """Confirmation that a resource was deleted."""

    id: str
    deleted: bool = True


def list_models(name: str | None = None) -> Call[list[Model]]:
    """Return all models that the key may see.

    :param name: restricts the list to models with exactly this name; several teams may use the same name.
    :raises BasetenAuthError: the key may not use the management API.
    """
    check_texts(name=name)
    return get("/v1/models", "listing the models", reads(list[Model], "models"), name=name)


def get_model(model_id: str) -> Call[Model]:
    """Return a model.

    :raises BasetenNotFoundError: no model has this id.
    """
    return get(model_path(model_id), f"reading model {model_id}", reads(Model))


def delete_model(model_id: str) -> Call[Deleted]:
    """Delete a model with all its deployments.

    :raises BasetenNotFoundError: no model has this id.
    """
    return change("DELETE", model_path(model_id), f"deleting model {model_id}", reads(Deleted))
