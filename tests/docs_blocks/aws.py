"""``aws`` of the shell blocks: checks a command against AWS's own description of its API. It makes buckets, and sends
nothing else.

``python -m tests.docs_blocks.aws SERVICE OPERATION --PARAMETER VALUE ...``
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.validate import validate_parameters

# Options of the command line itself.
_GLOBAL = {"region", "query", "output"}


def main(service: str, operation: str, *arguments: str) -> None:
    """Check a command; print what its ``--query`` would find.

    :raises Exception: there is no such command, or its parameters are not valid.
    """
    if service == "s3":
        assert (operation, arguments[0]) == ("mv", "--recursive")
        assert all(uri.startswith("s3://") and uri.endswith("/") for uri in arguments[1:])
        return
    model = botocore.session.get_session().get_service_model({"s3api": "s3"}.get(service, service))
    described = model.operation_model(
        next(name for name in model.operation_names if xform_name(name, "-") == operation)
    )
    members = {xform_name(name, "-"): (name, shape) for name, shape in described.input_shape.members.items()}
    parameters = {}
    options = dict(_options(arguments))
    for option, text in options.items():
        if option == "zip-file":  # A short form of the command line.
            parameters["Code"] = {"ZipFile": Path(text.removeprefix("fileb://")).read_bytes()}
        elif option not in _GLOBAL:
            name, shape = members[option]
            parameters[name] = _value(shape, text)
    validate_parameters(parameters, described.input_shape)
    if service == "s3api" and operation == "create-bucket":
        _make_bucket(parameters["Bucket"])
    if "query" in options:
        shape = described.output_shape
        for name in options["query"].split("."):
            shape = shape.members[name]
        assert shape.type_name == "string"
        sys.stdout.write("text\n")


def _make_bucket(name: str) -> None:
    """Make a bucket on the server of the connection ``aws_default``."""
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    botocore.session.get_session().create_client(
        "s3",
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        **connection["extra"],
    ).create_bucket(Bucket=name)


def _options(arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    texts = iter([*arguments, "--"])
    option = next(texts)
    for text in texts:
        if text.startswith("--"):
            yield option.removeprefix("--"), "true"
            option = text
        else:
            yield option.removeprefix("--"), text
            option = next(texts)


def _value(shape: Any, text: str) -> Any:
    if shape.type_name == "string":
        assert not shape.enum or text in shape.enum, text
        if text.startswith("{"):  # A policy.
            json.loads(text)
        return text
    return json.loads(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
