"""Command that prints the settings of Truss, Baseten's packaging tool, as an Airflow connection.

In Truss, a remote has a name, the URL of a server, and an API key. Truss's file ``~/.trussrc`` has a section for each
remote.
"""

import argparse
import configparser
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.cli.console import UsageError, command, print_output, read_file

_BASETEN = "https://app.baseten.co"
# Environment variables that hold the URL of a server and an API key. Truss itself reads them too.
_URL_VARIABLE = "BASETEN_TRUSS_AUTH_REMOTE_URL"
_KEY_VARIABLE = "BASETEN_TRUSS_AUTH_API_KEY"


@command
def connection_from_trussrc(options: argparse.Namespace) -> None:
    """Print a remote of Truss as an Airflow connection, in the JSON that ``airflow connections add`` takes."""
    remote = None if options.file else _remote_of_environment(options.remote)
    if remote is not None:
        name, source = "of the environment", _KEY_VARIABLE
    else:
        source = options.file or os.environ.get("USER_TRUSSRC_PATH") or "~/.trussrc"
        name, remote = _remote(_remotes(source, read_file(source)), options.remote, source)
    host, api_key = _host(name, remote), _api_key(name, remote, source)
    connection: dict[str, Any] = {"conn_type": "baseten", "port": 0, "password": api_key}
    print_output(connection if host is None else {**connection, "host": host})


def _remote_of_environment(name: str | None) -> Mapping[str, str] | None:
    """Return the remote that Truss's two environment variables describe, ``None`` if neither is set.

    One variable holds the URL, the other one the API key. They take precedence over Truss's file.

    :param name: value of ``--remote``, the name of a remote in the file; ``None`` if the user does not give it.
    :raises UsageError: only one of the variables is set, or both are set although ``name`` asks for a remote of the
        file.
    """
    url, api_key = os.environ.get(_URL_VARIABLE), os.environ.get(_KEY_VARIABLE)
    if not url and not api_key:
        return None
    if not url or not api_key:
        raise UsageError(f"Set both {_URL_VARIABLE} and {_KEY_VARIABLE}, or neither, as Truss needs it.")
    if name is not None:
        raise UsageError(
            f"{_URL_VARIABLE} takes precedence over the remotes of the file: leave --remote out, or give --file too."
        )
    return {"remote_url": url, "api_key": api_key}


def _remotes(path: str, content: bytes) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(content.decode())
    except (configparser.Error, UnicodeDecodeError):
        # These errors quote lines of the file, which may hold keys. So the new error does not contain their text.
        raise UsageError(f"{path} is not a file of sections with 'name = value' lines, as Truss writes it.") from None
    return {name: parser[name] for name in parser.sections()}


def _remote(remotes: Mapping[str, Mapping[str, str]], name: str | None, path: str) -> tuple[str, Mapping[str, str]]:
    names = ", ".join(remotes) or "none"
    if name is None and len(remotes) != 1:
        raise UsageError(f"Give --remote: {path} has these remotes: {names}.")
    if name is not None and name not in remotes:
        raise UsageError(f"{path} has no remote {name}, it has: {names}.")
    chosen = name if name is not None else next(iter(remotes))
    return chosen, remotes[chosen]


def _host(name: str, remote: Mapping[str, str]) -> str | None:
    """Return the host for the connection, ``None`` if the remote is Baseten itself."""
    if remote.get("remote_provider", "baseten") != "baseten":
        raise UsageError(f"Remote {name} does not have the remote_provider baseten.")
    url = check_base_url(f"remote_url of remote {name}", remote.get("remote_url", _BASETEN))
    if url == _BASETEN:
        return None
    if (urlsplit(url).hostname or "").startswith("app."):
        raise UsageError(
            f"The remote_url of remote {name} is a web page. The host of its models is known for {_BASETEN} only: make "
            "the connection by hand, with the base URL of the models as host."
        )
    return url


def _api_key(name: str, remote: Mapping[str, str], path: str) -> str:
    if not remote.get("api_key"):
        raise UsageError(
            f"Remote {name} of {path} has no api_key, since Truss is signed in without one. Use 'truss login'."
        )
    return remote["api_key"]
