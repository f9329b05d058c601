"""What all commands share: their input, their output and how they end."""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.arguments import check_at_most_one, check_exactly_one
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

# Where the output of a command goes while it runs.
_stdout: TextIO | None = None

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The command line or the input is not valid."""


class CommandError(Exception):
    """The command failed for another reason than Baseten's."""


def command(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], None]:
    """Make a command of a function: its errors become one sentence and an exit code."""

    @wraps(run)
    def main(options: argparse.Namespace) -> None:
        # As for Airflow's own commands: with this its connections are looked up in its database too.
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
        logging.getLogger().setLevel(logging.WARNING)
        with _stdout_of_its_own():
            code = _exit_code(run, options)
        sys.exit(code)

    return main


def _exit_code(run: Callable[[argparse.Namespace], int | None], options: argparse.Namespace) -> int:
    try:
        return run(options) or OK
    except BrokenPipeError:
        # Who reads has read enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageError as error:
        return _fail(error, USAGE)
    except BasetenError as error:
        if isinstance(error, BasetenInputError) and error.status is None:  # Found here.
            return _fail(UsageError(_named_as_options(str(error), options)), USAGE)
        return _fail(error, FAILED)
    except CommandError as error:
        return _fail(error, FAILED)


def _named_as_options(text: str, options: argparse.Namespace) -> str:
    """Return an error that names arguments of Python with the options of the command line instead."""
    for name, value in vars(options).items():
        argument = "baseten_conn_id" if name == "conn_id" else name
        option = "REQUEST_ID" if name == "request_id" else f"--{name.replace('_', '-')}"
        text = re.sub(rf"\b{argument}=", f"{option} ", text)
        # A field of the connection may have the same name.
        if "_" in argument and value is not None:
            text = re.sub(rf"\b{argument}\b(?! of )", option, text)
    return re.sub(r"\bmodel_input\b", "The input", text, count=1)


def _fail(error: Exception, code: int) -> int:
    print(f"Error: {error}", file=sys.stderr)
    return code


@contextmanager
def _stdout_of_its_own() -> Iterator[None]:
    """Send to stderr what others write to stdout meanwhile, as Airflow does with logs and warnings."""
    global _stdout  # noqa: PLW0603
    sys.stdout.flush()
    shared = sys.stdout.fileno()
    with os.fdopen(os.dup(shared), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as own:
        os.dup2(sys.stderr.fileno(), shared)
        _stdout = own
        try:
            yield
        finally:
            _stdout = None
            sys.stdout.flush()
            os.dup2(own.fileno(), shared)


def read_input(options: argparse.Namespace) -> Any:
    """Return the JSON value of ``--data``, ``--file`` or stdin.

    :raises UsageError: there is none, it can't be read or it is not JSON.
    :raises BasetenInputError: there are two.
    """
    check_at_most_one(**{"--data": options.data, "--file": options.file})
    if options.data is not None:
        return _parsed("--data", os.fsencode(options.data))
    if options.file is not None:
        return _parsed(options.file, read_file(options.file))
    if sys.stdin.isatty():
        raise UsageError("There is no input: give it with --data or --file, or on stdin.")
    return _parsed("stdin", sys.stdin.buffer.read())


def check_called(options: argparse.Namespace) -> None:
    """Check that either a model or a chain is named.

    :raises BasetenInputError: both are, or neither.
    """
    check_exactly_one(**{"--model-id": options.model_id, "--chain-id": options.chain_id})


def read_file(path: str) -> bytes:
    """Return the content of a file that the command line names.

    :raises UsageError: it can't be read.
    """
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None


def _parsed(source: str, text: bytes) -> Any:
    try:
        json.loads(text, parse_constant=exact_json.refuse_constant, parse_int=str, parse_float=str)
        return exact_json.decode(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(":")[0]
    raise UsageError(f"The input from {source} is not JSON: {reason}.")


def write(output: Any) -> None:
    """Print a value as JSON, bytes as they are."""
    if not isinstance(output, bytes):
        # A lone surrogate has no bytes; its JSON escape has.
        output = f"{_text_of(output)}\n".encode(errors="backslashreplace")
    write_bytes(output)


def _text_of(output: Any) -> str:
    with suppress(RecursionError):
        return _pretty(output)
    try:
        return exact_json.encode_output(output).decode()
    except ValueError as error:
        raise CommandError(f"The model has answered, but the output can't be printed as JSON: {error}.") from None


def _pretty(value: Any, margin: str = "\n") -> str:
    """Return a value as JSON on several lines; its numbers keep every digit."""
    inside = margin + "  "
    match value:
        case dict() if value:
            members = [f"{inside}{json.dumps(k, ensure_ascii=False)}: {_pretty(v, inside)}" for k, v in value.items()]
            return f"{{{','.join(members)}{margin}}}"
        case list() if value:
            items = [inside + _pretty(item, inside) for item in value]
            return f"[{','.join(items)}{margin}]"
        case Decimal():
            return str(value)
    return json.dumps(value, ensure_ascii=False)


def stdout() -> TextIO:
    """Return where text for the user is printed."""
    return _stdout or sys.stdout


def write_bytes(data: bytes) -> None:
    """Print bytes as they are, at once."""
    stdout().buffer.write(data)
    stdout().buffer.flush()
