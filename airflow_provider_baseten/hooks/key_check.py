"""Test of a connection: the management API has to accept its keys. The test changes nothing and costs nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from airflow_provider_baseten.api.http import MANAGEMENT_HOST
from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.management.models import list_models
from airflow_provider_baseten.api.management.users import get_user
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenError, BasetenNotFoundError

# For a team's key, which has no user, the first call responds 404. A login page may respond to both with 200; it is no
# valid response to either.
_TESTS: tuple[Callable[[], Call[Any]], ...] = (get_user, list_models)

API_KEY = "API key"
MANAGEMENT_API_KEY = "management_api_key"

# Airflow shows this text in place of a password. The Test button sometimes sends this text instead of the saved key,
# see _KEY_NOT_PASSED.
_AIRFLOW_MASK = "***"

_KEY_NOT_PASSED = (
    "Airflow did not pass the saved API key to the test, so the key was not tested. If the connection has no port, "
    "edit the connection, enter 0 as Port, and test it again. Up to Airflow 3.1.6 the button never passes the key: "
    "run 'airflow connections test' with the id of the connection."
)


class KeyRights(Enum):
    """Rights of an API key."""

    ALL = auto()
    """The management API accepts the key."""
    MODELS = auto()
    """The key may call models, but not the management API."""
    NONE = auto()
    """The key was refused."""
    UNKNOWN = auto()
    """The server has no management API to test the key with."""


@dataclass(frozen=True, slots=True)
class CheckedKey:
    """An API key with its rights.

    :param name: name of the key, not its value: ``API key`` or ``management_api_key``.
    :param url: URL of the management API.
    :param rights: what the key may do.
    """

    name: str
    url: str
    rights: KeyRights

    def __str__(self) -> str:
        return {
            KeyRights.ALL: f"The {self.name} was accepted by {self.url}.",
            KeyRights.MODELS: f"The {self.name} is valid, but has no access to the management API; it can call models.",
            KeyRights.NONE: f"The {self.name} was refused by {self.url}: enter it again.",
            KeyRights.UNKNOWN: f"{self.url} responds, but has no management API to test the {self.name} with.",
        }[self.rights]


def check_keys(credentials: Credentials) -> tuple[bool, str]:
    """Test each API key of a connection with the management API.

    :returns: whether the connection works, and a sentence that confirms it or names the error.
    """
    if credentials.api_key == _AIRFLOW_MASK:
        return False, _KEY_NOT_PASSED
    sentences = []
    try:
        for key in check_each_key(credentials):
            if key.rights is KeyRights.NONE:
                return False, str(key)
            sentences.append(str(key))
    except BasetenError as error:
        return False, str(error)
    return True, " ".join(sentences)


def check_each_key(credentials: Credentials) -> Iterator[CheckedKey]:
    """Test each API key with the management API, the management key first.

    :raises BasetenError: the management API can't be reached, or does not respond as expected.
    """
    keys = {credentials.management_api_key or credentials.api_key: MANAGEMENT_API_KEY}
    keys[credentials.api_key] = API_KEY  # If the two keys are equal, one entry remains and is tested once.
    url = credentials.host_url(MANAGEMENT_HOST)
    for key, name in keys.items():
        yield CheckedKey(name, url, _rights(credentials, key))


def _rights(credentials: Credentials, api_key: str) -> KeyRights:
    tested = replace(credentials, api_key=api_key, management_api_key=None).with_options(timeout=10, max_attempts=1)
    try:
        with Client(tested) as client:
            for build in _TESTS:
                try:
                    client.management.call(build())
                except BasetenNotFoundError:
                    continue
                return KeyRights.ALL
        return KeyRights.UNKNOWN
    except BasetenAuthError as error:
        if error.status == 403:
            return KeyRights.MODELS
        if error.status == 401:
            return KeyRights.NONE
        raise
