"""Arguments that several commands take."""

import argparse
from typing import Any

from airflow_provider_baseten.compat import Arg
from airflow_provider_baseten.config import DEFAULT_CONN_ID

# Baseten keeps logs for seven days.
_MINUTES_OF_LOGS = 10_080


def arg(*flags: str, **options: Any) -> Arg:
    """Return an argument of a command; see ``argparse``."""
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


def positive_seconds(text: str) -> float:
    """Return a positive number of seconds.

    :raises argparse.ArgumentTypeError: the text is something else.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return number


def minutes_of_logs(text: str) -> int:
    """Return a number of minutes for which Baseten keeps logs.

    :raises argparse.ArgumentTypeError: the text is something else.
    """
    if text.isdecimal() and 0 < int(text[:9]) <= _MINUTES_OF_LOGS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MINUTES_OF_LOGS} (seven days)")


CONN_ID = arg(
    "--conn-id",
    default=DEFAULT_CONN_ID,
    metavar="CONN_ID",
    help=f"Airflow connection to call Baseten with, by default {DEFAULT_CONN_ID}; if {DEFAULT_CONN_ID} does not exist, "
    "the key in BASETEN_API_KEY",
)
MODEL_ID = arg("--model-id", metavar="ID", help="id of the model")
CHAIN_ID = arg("--chain-id", metavar="ID", help="id of the chain, instead of a model")
ENVIRONMENT = arg(
    "--environment",
    metavar="NAME",
    help="environment, by default production; development is the development deployment",
)
DEPLOYMENT_ID = arg("--deployment-id", metavar="ID", help="one deployment, instead of an environment")
REGIONAL = arg(
    "--regional",
    action="store_true",
    help="put the environment into the host name, which keeps the request in its region",
)
MODEL_OR_CHAIN = (CONN_ID, MODEL_ID, CHAIN_ID)
TARGET = (*MODEL_OR_CHAIN, ENVIRONMENT, DEPLOYMENT_ID, REGIONAL)
