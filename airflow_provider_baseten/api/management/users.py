"""User and organization of an API key."""

from airflow_provider_baseten.api.management.call import Call, get, reads
from airflow_provider_baseten.api.management.resource import Resource, Time


class User(Resource):
    """User of the API key."""

    user_id: str
    email: str | None = None
    name: str | None = None
    workspace_name: str | None = None


class Organization(Resource):
    """Organization of the API key."""

    org_id: str
    name: str | None = None
    created_at: Time | None = None


def get_user() -> Call[User]:
    """Return the user of the API key.

    :raises BasetenNotFoundError: the key belongs to a team, which is no user.
    """
    return get("/v1/users/me", "reading the user of the API key", reads(User))


def get_organization() -> Call[Organization]:
    """Return the organization of the API key."""
    return get("/v1/organizations/me", "reading the organization of the API key", reads(Organization))
