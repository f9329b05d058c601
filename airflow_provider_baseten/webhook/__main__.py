"""Command line of the standalone receiver: ``python -m airflow_provider_baseten.webhook``."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from airflow_provider_baseten import config
from airflow_provider_baseten.compat import allow_database_connections
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.storage import file_rights, files
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook import PREFIX
from airflow_provider_baseten.webhook.clock import DeliveryClock, fetch_server_time
from airflow_provider_baseten.webhook.connections import Connections, find_airflow_connection
from airflow_provider_baseten.webhook.log_output import log_to_stderr
from airflow_provider_baseten.webhook.spool import Spool, default_folder

_SECRETS = "BASETEN_WEBHOOK_SECRETS"

# A connection is closed after 15 seconds, because Baseten waits only ten seconds for a response. At most 500
# connections are open at a time. Each connection counts as an open file, and a process may usually have 1024 open
# files. So enough open files are left for the spool and the result store.
_CONNECTION_SECONDS = 15.0
_MAX_CONNECTIONS = 500

_TOLERANCE = config.WEBHOOK_TOLERANCE_SECONDS.default

_EPILOG = f"""\
The webhook endpoint is http://HOST:PORT/baseten/webhooks/CONN_ID, as in Airflow's API server; put a proxy with TLS in
front of it. Signatures are checked with the secrets in {_SECRETS} (separated by commas), or else with those of
the Airflow connection CONN_ID. Results that can't be stored at once are kept in the spool and stored later, if need be
by the next receiver.

settings of Airflow ([baseten] in airflow.cfg, or the environment variable):
  AIRFLOW__BASETEN__WEBHOOK_SPOOL              folder of the spool [AIRFLOW_HOME/baseten/spool]
  AIRFLOW__BASETEN__WEBHOOK_TOLERANCE_SECONDS  how far a delivery's time may be from the clock here [{_TOLERANCE:g}]

example:
  {_SECRETS}=whsec_... %(prog)s --result-store s3://aws_default@bucket/baseten --port 8080
"""


class _UsageError(Exception):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive deliveries until interrupted or terminated.

    :param arguments: arguments of the command line without the program's name, by default those of the process.
    :return: exit code: 0 after a signal, 2 if the receiver can't start.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    allow_database_connections()
    try:
        spool, clock = Spool(default_folder()), _clock()
        connections = _connections(options, spool)
        listener = _listener(options.host, options.port)
    except _UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    _serve(connections, spool, clock, options, listener)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_baseten.webhook",
        description="Stores the results of async requests that Baseten delivers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--result-store",
        metavar="URI",
        help="folder that workers and triggerers read too [the connection's, or else that of Airflow's configuration]",
    )
    parser.add_argument(
        "--conn-id", default=config.DEFAULT_CONN_ID, help="connection that deliveries are made to [%(default)s]"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one [%(default)s]")
    return parser


def _clock() -> DeliveryClock:
    try:
        return DeliveryClock(tolerance=config.WEBHOOK_TOLERANCE_SECONDS.get(), ask=fetch_server_time)
    except BasetenInputError as error:
        raise _UsageError(str(error)) from None


def _connections(options: argparse.Namespace, spool: Spool) -> Connections:
    """Check the connection ``options.conn_id`` and its result store. Return a cache that finds only this connection.

    A store that does not work is an error if the spool is empty, because the store may be set up wrongly. If there are
    deliveries in the spool, the store is probably down for a while, and only a warning is printed.
    """
    find = _find_environment_connection if os.environ.get(_SECRETS) else find_airflow_connection

    def lookup(conn_id: str) -> BasetenConnection | None:
        found = find(conn_id) if conn_id == options.conn_id else None
        return replace(found, result_store=options.result_store or found.result_store) if found else None

    try:
        connection = lookup(options.conn_id)
    except Exception as error:
        raise _UsageError(f"Connection {options.conn_id} can't be looked up ({type(error).__name__}).") from None
    if connection is None or not (connection.webhook_secrets or connection.allow_unsigned_webhooks):
        raise _UsageError(
            f"There are no secrets to check signatures with: set {_SECRETS}, or add webhook_secrets to the Airflow "
            f"connection {options.conn_id}."
        )
    try:
        store = ResultStore(connection.result_store)
    except BasetenInputError as error:
        raise _UsageError(str(error)) from None
    try:
        _check_store(store)
    except _UsageError as error:
        # Deliveries in the spool show that a receiver has run here before. So the store is probably down for a while,
        # and not set up wrongly. The receiver starts without the store, because without a receiver results are lost.
        if not _is_in_use(spool):
            raise
        print(f"{error} Results are spooled until the store works again.", file=sys.stderr)
    return Connections(lookup)


def _find_environment_connection(conn_id: str) -> BasetenConnection:
    secrets = tuple(filter(None, (secret.strip() for secret in os.environ[_SECRETS].split(","))))
    # The API keys are empty, because the receiver sends nothing to Baseten.
    return BasetenConnection(conn_id=conn_id, api_key="", management_api_key="", webhook_secrets=secrets)


def _check_store(store: ResultStore) -> None:
    try:
        Deliveries(store).delivered(["first-look"])
        if (folder := files.local_path(store.uri)) is not None:
            file_rights.make_folder(folder)
            if not os.access(folder, os.W_OK):
                raise _UsageError(f"The result store {store.uri} is read-only for this user.")
    except BasetenResultStoreError as error:
        raise _UsageError(str(error)) from None
    except OSError as error:
        raise _UsageError(f"The result store {store.uri} can't be created ({error}).") from None


def _is_in_use(spool: Spool) -> bool:
    try:
        return bool(spool.counts())
    except BasetenResultStoreError:
        return False


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OverflowError:
        raise _UsageError(f"Port {port} is not a number from 0 to 65535.") from None
    except OSError as error:
        raise _UsageError(f"Port {port} of {host} can't be used: {error}.") from None


def _serve(
    connections: Connections, spool: Spool, clock: DeliveryClock, options: argparse.Namespace, listener: socket.socket
) -> None:
    import uvicorn

    from airflow_provider_baseten.webhook.app import create_app
    from airflow_provider_baseten.webhook.guard import Guard

    log_to_stderr()
    app = create_app(connections, prefix=PREFIX, spool=spool, clock=clock, conn_id=options.conn_id)
    config = uvicorn.Config(
        app,
        # There is no access log, because it would repeat URLs that anybody can send.
        access_log=False,
        server_header=False,
        # The headers of proxies are not trusted, because anybody can write any address into them.
        proxy_headers=False,
        # A connection is closed after one request. So the limit on its duration is a limit on one request.
        headers=[("connection", "close")],
        log_level="warning",
        lifespan="on",
    )
    config.load()
    guard = Guard(seconds=_CONNECTION_SECONDS, most=_MAX_CONNECTIONS)
    config.http_protocol_class = guard.protocol(config.http_protocol_class)
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # These handlers stop the server even if a signal arrives before uvicorn has installed its own handlers. After
    # the server has stopped, uvicorn raises the signal again. With these handlers, the signal does not kill the
    # process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    print(f"Receiving at http://{host}:{port}{PREFIX}/webhooks/{options.conn_id}; stop with Ctrl-C.", flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
