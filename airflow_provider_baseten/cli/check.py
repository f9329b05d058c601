"""Command that checks an installation."""

import argparse
import shutil
import textwrap
from collections import Counter
from dataclasses import asdict

from airflow_provider_baseten.checks import CheckResult, CheckStatus, run_checks
from airflow_provider_baseten.cli.console import FAILED, OK, UsageError, command, print_output, stdout

_MAX_WIDTH = 120
# Columns of the status and of the name of a check.
_STATUS, _CHECK = 9, 15


@command
def check(options: argparse.Namespace) -> int:
    """Check the installation, print each result, and return 1 if a check failed."""
    if not options.conn_id:
        raise UsageError("--conn-id is empty: give the id of a connection.")
    results = []
    for result in run_checks(options.conn_id):
        results.append(result)
        if not options.json:
            _print(result)
    counts = Counter(result.status for result in results)
    if options.json:
        print_output([asdict(result) for result in results])
    else:
        print(", ".join(f"{counts[status]} {status}" for status in CheckStatus) + ".", file=stdout(), flush=True)
    return FAILED if counts[CheckStatus.FAILED] else OK


def _print(result: CheckResult) -> None:
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    margin = " " * (_STATUS + _CHECK)
    head = f"{result.status:<{_STATUS}}{result.check:<{_CHECK}}"
    for text, first in ((result.message, head), (result.advice, f"{margin}-> ")):
        if text:
            lines = textwrap.fill(
                text,
                max(width, len(margin) + 30),
                initial_indent=first,
                subsequent_indent=margin if first is head else f"{margin}   ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            print(lines, file=stdout(), flush=True)
