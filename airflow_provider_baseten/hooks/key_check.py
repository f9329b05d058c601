"""Test of a connection: whether the management API accepts its keys. Nothing is changed and nothing is paid."""

from airflow_provider_baseten.api.deployments import build_management_get
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenError, BasetenNotFoundError

# What Airflow shows in the place of a password, and tests with if it takes the form for another connection.
_AIRFLOW_MASK = "***"

_KEY_NOT_PASSED = (
    "Airflow did not pass the saved API key on, so that it was not tested. If the connection has no port, edit it, "
    "enter 0 as Port, and test it again. Up to Airflow 3.1.6 the button never passes a key on: run 'airflow "
    "connections test' with the id of the connection."
)


def check_keys(credentials: Credentials) -> tuple[bool, str]:
    """Ask the management API about each key of a connection.

    :returns: whether the connection works, and a sentence that says so or names the wrong part.
    """
    if credentials.api_key == _AIRFLOW_MASK:
        return False, _KEY_NOT_PASSED
    keys = {credentials.management_api_key or credentials.api_key: "management_api_key"}
    keys[credentials.api_key] = "API key"  # The same key twice is one key to test.
    try:
        return True, " ".join(_test_key(credentials, name, key) for key, name in keys.items())
    except BasetenError as error:
        return False, str(error)


def _test_key(credentials: Credentials, name: str, api_key: str) -> str:
    tested = Credentials(
        api_key=api_key,
        auth_scheme=credentials.auth_scheme,
        base_url=credentials.base_url,
        management_url=credentials.management_url,
        timeout=10,
    ).with_options(max_attempts=1)
    url = tested.host_url(build_management_get("").host)
    try:
        with Client(tested) as client:
            for path in ("/v1/users/me", "/v1/models"):  # A team's key has no user.
                try:
                    client.send(build_management_get(path))
                except BasetenNotFoundError:
                    continue
                return f"The {name} was accepted by {url}."
        return f"{url} answers, but has no management API to test the {name} with."
    except BasetenAuthError as error:
        if error.status == 403:
            return f"The {name} is known, but may not use the management API; it can call models."
        raise BasetenAuthError(f"The {name} was refused by {url}: enter it again.") from None
