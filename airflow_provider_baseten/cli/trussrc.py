"""The command that makes an Airflow connection from what Truss knows."""

import argparse
import configparser
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.cli.console import CommandError, UsageError, command, read_file, stdout

_BASETEN = "https://app.baseten.co"


@command
def connection_from_trussrc(options: argparse.Namespace) -> None:
    """Make an Airflow connection from a remote in ~/.trussrc."""
    path = options.file or os.environ.get("USER_TRUSSRC_PATH") or "~/.trussrc"
    name, remote = _remote(_remotes(path, read_file(path)), options.remote, path)
    host, api_key = _host(name, remote), _api_key(name, remote, path)
    _add_connection(options.conn_id, host, api_key, overwrite=options.overwrite)
    print(f"Connection {options.conn_id} was made from remote {name} of {path}.", file=stdout(), flush=True)


def _remotes(path: str, content: bytes) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(content.decode())
    except (configparser.Error, UnicodeDecodeError):  # Their messages repeat lines of the file.
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
    """Return the host of the connection; ``None`` for Baseten's own."""
    if remote.get("remote_provider", "baseten") != "baseten":
        raise UsageError(f"Remote {name} is not one of Baseten: its remote_provider is another one.")
    url = check_base_url(f"remote_url of remote {name}", remote.get("remote_url", _BASETEN))
    if url == _BASETEN:
        return None
    if (urlsplit(url).hostname or "").startswith("app."):
        raise UsageError(
            f"The remote_url of remote {name} is a web page, and only that of {_BASETEN} tells where its models are: "
            "make the connection by hand, with their base URL as host."
        )
    return url


def _api_key(name: str, remote: Mapping[str, str], path: str) -> str:
    if not remote.get("api_key"):
        raise UsageError(f"Remote {name} of {path} has no api_key: Truss is signed in without one. Use 'truss login'.")
    return remote["api_key"]


def _add_connection(conn_id: str, host: str | None, api_key: str, *, overwrite: bool) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            found = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
            if found is not None and not overwrite:
                raise CommandError(f"Connection {conn_id} exists already: --overwrite replaces it.")
            if found is not None:
                session.delete(found)
                session.flush()
            session.add(Connection(conn_id=conn_id, conn_type="baseten", host=host, port=0, password=api_key))
    except SQLAlchemyError as error:
        raise CommandError(
            f"Airflow's database did not take the connection ({type(error).__name__}): is it there and migrated?"
        ) from None
