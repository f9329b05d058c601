"""Definition of the commands and their arguments.

Every ``airflow`` command imports this module, so it must load fast. The commands are imported when they run.
"""

import argparse

from airflow_provider_baseten.cli.arguments import CONN_ID, MODEL_OR_CHAIN, TARGET, arg, positive_seconds
from airflow_provider_baseten.cli.management_definition import MANAGEMENT_COMMANDS
from airflow_provider_baseten.compat import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

_HERE = "airflow_provider_baseten.cli"


class _CommandLine(Arg):
    """Argument that takes the whole rest of the command line, including options.

    The command parses this rest with a parser of its own.
    """

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.prefix_chars = "\0"
        super().add_to_parser(parser)


_INPUT = (
    arg("-d", "--data", metavar="JSON", help="the input"),
    arg("-f", "--file", metavar="PATH", help="file with the input; without --data and --file it is read from stdin"),
)
_REQUEST_ID = arg("request_id", metavar="REQUEST_ID", help="id of the async request")

_COMMANDS = (
    ActionCommand(
        name="predict",
        help="Run a model or a chain and print its output",
        description="Run a model, or a chain's run_remote, and print its output as JSON.\n"
        "The input is JSON too, from --data, --file or stdin.",
        func=lazy_load_command(f"{_HERE}.inference.predict"),
        args=(
            *TARGET,
            *_INPUT,
            arg("--stream", action="store_true", help="print the output as it arrives, undecoded"),
            arg(
                "--timeout",
                type=positive_seconds,
                metavar="SECONDS",
                help="timeout for the response, and for each part of a streamed one; by default 1260",
            ),
        ),
    ),
    ActionCommand(
        name="async-predict",
        help="Queue a prediction and print its request id",
        description="Queue a prediction and print its request id. Baseten keeps no outputs: it delivers this one\n"
        "to the webhook endpoint, if there is one.",
        func=lazy_load_command(f"{_HERE}.inference.async_predict"),
        args=(
            *TARGET,
            *_INPUT,
            arg(
                "--webhook-endpoint",
                metavar="URL",
                help="where the output is delivered, by default the webhook endpoint of the connection",
            ),
            arg("--priority", type=int, metavar="N", help="0 (first, the default) to 2"),
            arg(
                "--max-time-in-queue-seconds",
                type=int,
                metavar="SECONDS",
                help="time after which a request that has not started expires, 10 to 259200, by default 600",
            ),
        ),
    ),
    ActionCommand(
        name="status",
        help="Print the status of an async request",
        description="Print the status of an async request. Baseten keeps it for one hour after the end.",
        func=lazy_load_command(f"{_HERE}.inference.status"),
        args=(_REQUEST_ID, *MODEL_OR_CHAIN),
    ),
    ActionCommand(
        name="cancel",
        help="Cancel an async request",
        description="Cancel an async request and print whether it was cancelled; only a queued one can be cancelled.",
        func=lazy_load_command(f"{_HERE}.inference.cancel"),
        args=(_REQUEST_ID, *MODEL_OR_CHAIN),
    ),
    ActionCommand(
        name="wake",
        help="Wake a deployment that has scaled to zero",
        description="Start a replica of a deployment that has scaled to zero, without waiting for it.",
        func=lazy_load_command(f"{_HERE}.inference.wake"),
        args=TARGET,
    ),
    *MANAGEMENT_COMMANDS,
    ActionCommand(
        name="check",
        help="Check this installation",
        description="Check versions, connection, network, API key, result store and webhook receiver from here, and\n"
        "print what to do about each fault. No model is called. Exit code 1 if a check failed.",
        func=lazy_load_command(f"{_HERE}.check.check"),
        args=(CONN_ID, arg("--json", action="store_true", help="print the results as a JSON list")),
    ),
    ActionCommand(
        name="emulator",
        help="Run the emulator of Baseten on this machine",
        func=lazy_load_command(f"{_HERE}.emulator.emulator"),
        args=(_CommandLine(("arguments",), nargs=argparse.REMAINDER),),  # type: ignore[no-untyped-call]
    ),
    ActionCommand(
        name="relay",
        help="Store the webhook deliveries that wait in a queue",
        description="Verify and store the webhook deliveries that a function outside of this network has written to a\n"
        "queue. Run the command where the Airflow connections and the result store can be reached.",
        func=lazy_load_command(f"{_HERE}.relay.relay"),
        args=(
            arg(
                "--queue",
                required=True,
                metavar="URI",
                help="folder of the queue, with an Airflow connection if it needs one: s3://aws_default@bucket/queue",
            ),
            arg(
                "--once",
                action="store_true",
                help="store the deliveries that are in the queue now, and exit with 1 if one could not be stored",
            ),
            arg(
                "--interval",
                type=positive_seconds,
                default=5.0,
                metavar="SECONDS",
                help="time between two rounds, by default 5; a task waits a minute for a result that was delivered",
            ),
        ),
    ),
    ActionCommand(
        name="connection-from-trussrc",
        help="Print a remote of Truss as an Airflow connection",
        description="Print a remote of Truss, with its API key, as a connection in JSON:\n"
        'airflow connections add baseten_default --conn-json "$(airflow baseten connection-from-trussrc)"',
        func=lazy_load_command(f"{_HERE}.trussrc.connection_from_trussrc"),
        args=(
            arg("--remote", metavar="NAME", help="name of the remote; optional if there is only one"),
            arg(
                "--file",
                metavar="PATH",
                help="path of the file, by default that in USER_TRUSSRC_PATH, or else ~/.trussrc; it is not "
                "read if BASETEN_TRUSS_AUTH_REMOTE_URL and BASETEN_TRUSS_AUTH_API_KEY are set",
            ),
        ),
    ),
)


GROUP = GroupCommand(
    name="baseten",
    help="Call models on Baseten",
    description="Call models on Baseten through an Airflow connection. Output is JSON.\n"
    "Exit codes: 0 done, 1 the call failed, 2 the command line or the input is not valid and nothing was sent.",
    subcommands=_COMMANDS,
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands that Airflow adds to its command line."""
    return [GROUP]
