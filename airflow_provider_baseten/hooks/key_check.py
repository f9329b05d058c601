"""Test of a connection: the management API has to accept its keys. The test changes nothing and costs nothing."""

from airflow_provider_baseten.api.deployments import build_management_get
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenError, BasetenNotFoundError

# Airflow shows this text in place of a password. The Test button sometimes sends this text instead of the saved key,
# see _KEY_NOT_PASSED.
_AIRFLOW_MASK = "***"

_KEY_NOT_PASSED = (
    "Airflow did not pass the saved API key to the test, so the key was not tested. If the connection has no port, "
    "edit the connection, enter 0 as Port, and test it again. Up to Airflow 3.1.6 the button never passes the key: "
    "run 'airflow connections test' with the id of the connection."
)


def check_keys(credentials: Credentials) -> tuple[bool, str]:
    """Test each API key of a connection with the management API.

    :returns: whether the connection works, and a sentence that confirms it or names the error.
    """
    if credentials.api_key == _AIRFLOW_MASK:
        return False, _KEY_NOT_PASSED
    keys = {credentials.management_api_key or credentials.api_key: "management_api_key"}
    keys[credentials.api_key] = "API key"  # If the two keys are equal, one entry remains and is tested once.
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
            for path in ("/v1/users/me", "/v1/models"):  # For a team's key, the first path responds 404.
                try:
                    client.send(build_management_get(path))
                except BasetenNotFoundError:
                    continue
                return f"The {name} was accepted by {url}."
        return f"{url} responds, but has no management API to test the {name} with."
    except BasetenAuthError as error:
        if error.status == 403:
            return f"The {name} is valid, but has no access to the management API; it can call models."
        raise BasetenAuthError(f"The {name} was refused by {url}: enter it again.") from None
