"""Command line ``python -m airflow_provider_baseten.cli``, for Airflow 3.1, which has no provider commands."""

import argparse
from collections.abc import Sequence

from airflow_provider_baseten.cli.definition import GROUP


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    :param arguments: command line without the program's name; by default the arguments of this process.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_baseten.cli", description=GROUP.description, formatter_class=raw
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in GROUP.subcommands:
        subparser = commands.add_parser(
            command.name, help=command.help, description=command.description or command.help, formatter_class=raw
        )
        for argument in command.args:
            argument.add_to_parser(subparser)
        subparser.set_defaults(func=command.func)
    options = parser.parse_args(arguments)
    options.func(options)


if __name__ == "__main__":
    main()
