"""Console of all commands: input, output and exit codes."""

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
from airflow_provider_baseten.compat import allow_database_connections
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

# Stream for the output of the running command.
_stdout: TextIO | None = None

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The command line or the input is not valid."""


class CommandError(Exception):
    """The command failed on this machine, for example because a package is missing.

    A wrong command line or input raises :class:`UsageError` instead, a failed call raises ``BasetenError``.
    """


def command(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], None]:
    """Turn a function into a command. If the function raises, the command prints one sentence and exits with a code."""

    @wraps(run)
    def main(options: argparse.Namespace) -> None:
        allow_database_connections()
        logging.getLogger().setLevel(logging.WARNING)
        with _separate_stdout():
            code = _exit_code(run, options)
        sys.exit(code)

    return main


def _exit_code(run: Callable[[argparse.Namespace], int | None], options: argparse.Namespace) -> int:
    try:
        return run(options) or OK
    except BrokenPipeError:
        # The program that reads the output, such as head, has closed the pipe. Python flushes stdout at exit and would
        # fail again. So stdout is replaced by the null device.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageError as error:
        return _fail(error, USAGE)
    except BasetenError as error:
        # A BasetenInputError without an HTTP status was raised before anything was sent.
        if isinstance(error, BasetenInputError) and error.status is None:
            return _fail(UsageError(_replace_arguments(str(error), options)), USAGE)
        return _fail(error, FAILED)
    except CommandError as error:
        return _fail(error, FAILED)


def _replace_arguments(text: str, options: argparse.Namespace) -> str:
    """Return an error message with the names of Python arguments replaced by command-line options."""
    for name, value in vars(options).items():
        argument = "baseten_conn_id" if name == "conn_id" else name
        option = "REQUEST_ID" if name == "request_id" else f"--{name.replace('_', '-')}"
        text = re.sub(rf"\b{argument}=", f"{option} ", text)
        # A name before "of" is kept: "webhook_endpoint of the connection" is a field of the connection, not an option.
        if "_" in argument and value is not None:
            text = re.sub(rf"\b{argument}\b(?! of )", option, text)
    return re.sub(r"\bmodel_input\b", "The input", text, count=1)


def _fail(error: Exception, code: int) -> int:
    print(f"Error: {error}", file=sys.stderr)
    return code


@contextmanager
def _separate_stdout() -> Iterator[None]:
    """Keep stdout for the command's output. Redirect to stderr what Airflow writes to stdout, such as logs."""
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

    :raises UsageError: there is no input, or the input can't be read or is not JSON.
    :raises BasetenInputError: both ``--data`` and ``--file`` are given.
    """
    check_at_most_one(**{"--data": options.data, "--file": options.file})
    if options.data is not None:
        return _parse("--data", os.fsencode(options.data))
    if options.file is not None:
        return _parse(options.file, read_file(options.file))
    if sys.stdin.isatty():
        raise UsageError("There is no input: give it with --data or --file, or on stdin.")
    return _parse("stdin", sys.stdin.buffer.read())


def check_model_or_chain(options: argparse.Namespace) -> None:
    """Check that either a model or a chain is given.

    :raises BasetenInputError: both are given, or neither.
    """
    check_exactly_one(**{"--model-id": options.model_id, "--chain-id": options.chain_id})


def read_file(path: str) -> bytes:
    """Return the content of a file.

    :raises UsageError: the file can't be read.
    """
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None


def _parse(source: str, text: bytes) -> Any:
    try:
        json.loads(text, parse_constant=exact_json.refuse_constant, parse_int=str, parse_float=str)
        return exact_json.decode(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(":")[0]
    raise UsageError(f"The input from {source} is not JSON: {reason}.")


def print_output(output: Any) -> None:
    """Print a value as JSON; print bytes unchanged."""
    if not isinstance(output, bytes):
        # UTF-8 can't encode a lone surrogate. The handler escapes it as \ud800, which is valid JSON.
        output = f"{_format(output)}\n".encode(errors="backslashreplace")
    print_bytes(output)


def _format(output: Any) -> str:
    with suppress(RecursionError):
        return _format_indented(output)
    try:
        return exact_json.encode_output(output).decode()
    except ValueError as error:
        raise CommandError(f"The model ran, but its output can't be printed as JSON: {error}.") from None


def _format_indented(value: Any, margin: str = "\n") -> str:
    """Return a value as indented JSON; numbers keep every digit."""
    inside = margin + "  "
    match value:
        case dict() if value:
            members = [
                f"{inside}{json.dumps(k, ensure_ascii=False)}: {_format_indented(v, inside)}" for k, v in value.items()
            ]
            return f"{{{','.join(members)}{margin}}}"
        case list() if value:
            items = [inside + _format_indented(item, inside) for item in value]
            return f"[{','.join(items)}{margin}]"
        case Decimal():
            return str(value)
    return json.dumps(value, ensure_ascii=False)


def stdout() -> TextIO:
    """Return the stream for the command's output."""
    return _stdout or sys.stdout


def print_bytes(data: bytes) -> None:
    """Print bytes, unbuffered."""
    stdout().buffer.write(data)
    stdout().buffer.flush()
