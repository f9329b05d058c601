"""JSON records of errors that are passed from one process to another."""

import inspect
from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.exceptions import BasetenError


def error_fields(error: BasetenError) -> dict[str, Any]:
    """Return an error as a JSON object."""
    fields = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    return {"type": type(error).__name__, "message": str(error), "fields": fields}


def error_from(record: Mapping[str, Any]) -> BasetenError:
    """Restore an error from a record that :func:`error_fields` returned.

    If the record is from a newer version of this package, unknown fields are ignored, and an error of an unknown type
    becomes a :class:`BasetenError`.
    """
    kind = getattr(exceptions, str(record.get("type")), BasetenError)
    known = inspect.signature(BasetenError).parameters
    fields = dict(record.get("fields") or {})
    values = {name: value for name, value in fields.items() if name in known and name != "message"}
    error: BasetenError = kind(str(record.get("message")), **values)
    return error
