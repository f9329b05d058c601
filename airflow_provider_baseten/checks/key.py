"""API keys of the connection: whether Baseten accepts them, and what they may do."""

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_baseten.checks.network import STEP_SECONDS
from airflow_provider_baseten.checks.result import CheckResult, failed, ok, skipped
from airflow_provider_baseten.checks.time_limit import within
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.key_check import API_KEY, CheckedKey, KeyRights, check_each_key

_NAME = "key"
# At most two keys are tested, with two requests each, which take up to 20 seconds each.
_SECONDS = 8 * STEP_SECONDS


@dataclass(frozen=True, slots=True)
class Keys:
    """What Baseten says of the keys.

    :param tested: each key that could be tested, with its rights.
    :param error: why the other keys could not be tested; empty if all were tested.
    """

    tested: tuple[CheckedKey, ...] = ()
    error: str = ""


def observe_keys(credentials: Credentials) -> Keys:
    """Test each key with the management API. The test changes nothing and costs nothing."""
    tested: list[CheckedKey] = []
    try:
        within(_SECONDS, lambda: tested.extend(check_each_key(credentials)))
    except (BasetenError, TimeoutError) as error:
        return Keys(tuple(tested), str(error))
    return Keys(tuple(tested))


def judge_keys(keys: Keys) -> Iterator[CheckResult]:
    """Judge each key by its rights."""
    if keys.error:
        which = "other key" if keys.tested else "keys"
        yield failed(
            _NAME, f"The {which} could not be tested: {keys.error}", "Run the check again once that is corrected."
        )
    for key in keys.tested:
        field = "the password" if key.name == API_KEY else "the extra management_api_key"
        if key.rights is KeyRights.NONE:
            yield failed(
                _NAME,
                f"The {key.name} was refused by {key.url}.",
                f"Enter a key of the Baseten workspace as {field} of the connection; this one may have been deleted.",
            )
        elif key.rights is KeyRights.MODELS and key.name == API_KEY:
            yield ok(
                _NAME,
                str(key),
                "Predictions need no more. For 'airflow baseten models' and everything else that uses the management "
                "API, enter a second key as the extra management_api_key.",
            )
        elif key.rights is KeyRights.MODELS:
            yield failed(
                _NAME,
                f"The {key.name} has no access to the management API.",
                f"Enter a key with access as {field} of the connection, or remove it.",
            )
        elif key.rights is KeyRights.UNKNOWN:
            yield skipped(
                _NAME,
                str(key),
                "If it should have one, check the Host (the Base URL) and management_url of the connection.",
            )
        else:
            yield ok(_NAME, str(key))
