"""Command that runs the emulator."""

import argparse
from contextlib import redirect_stdout

from airflow_provider_baseten.cli.console import CommandError, command, stdout


@command
def emulator(options: argparse.Namespace) -> int:
    """Run the emulator until it is interrupted."""
    try:
        from airflow_provider_baseten.emulator.__main__ import main
    except ImportError as error:
        raise CommandError(
            f"The emulator needs {error.name}, which is missing: pip install 'airflow-provider-baseten[emulator]'."
        ) from None
    with redirect_stdout(stdout()):
        return main(options.arguments, prog="airflow baseten emulator")
