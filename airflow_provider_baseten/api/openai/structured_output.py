"""Structured output: the format that the reply of a chat model must have."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api import exact_json, texts
from airflow_provider_baseten.api.excerpts import join_first
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.exceptions import BasetenInputError

_WIRE_TYPES = frozenset({"text", "json_object", "json_schema"})
_MAX_VIOLATIONS = 5

# Words for a value that is not valid. The keys are the types of Pydantic's errors. Pydantic's own messages are not
# used, because some of them quote the value.
_WORDS = {
    "assertion_error": "is refused by a validator",
    "bool_parsing": "is not a boolean",
    "bool_type": "is not a boolean",
    "date_parsing": "is not a date",
    "datetime_from_date_parsing": "is not a date with a time",
    "datetime_parsing": "is not a date with a time",
    "decimal_parsing": "is not a number",
    "dict_type": "is not an object",
    "enum": "is not one of the allowed values",
    "extra_forbidden": "is not a field of the class",
    "finite_number": "is not a finite number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "int_from_float": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "less_than": "is too large",
    "less_than_equal": "is too large",
    "list_type": "is not a list",
    "literal_error": "is not one of the allowed values",
    "missing": "is missing",
    "model_type": "is not an object",
    "none_required": "is not null",
    "string_pattern_mismatch": "does not match the pattern",
    "string_too_long": "is too long",
    "string_too_short": "is too short",
    "string_type": "is not a text",
    "too_long": "is too long",
    "too_short": "is too short",
    "union_tag_invalid": "has a tag of none of the allowed types",
    "union_tag_not_found": "has no tag that names its type",
    "uuid_parsing": "is not a UUID",
    "value_error": "is refused by a validator",
}


class FormatError(ValueError):
    """A text does not match the format. The message says where, without quoting the text."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Format of a reply.

    :param wire: ``response_format`` in the body of the request; ``None`` leaves the field out.
    :param schema: JSON schema that the reply is validated against, if any.
    :param model_class: Pydantic class that the reply is validated with, if any.
    """

    wire: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    model_class: Any = None

    @classmethod
    def of(cls, response_format: Any) -> "ResponseFormat":
        """Return the format for a ``response_format`` argument.

        :param response_format: a Pydantic class; or a JSON schema; or an object as OpenAI's API takes it, whose
            ``type`` is ``text``, ``json_object`` or ``json_schema``; or ``None`` for text.
        :raises BasetenInputError: the argument is none of these, or the schema is not valid.
        """
        if response_format is None:
            return cls()
        if isinstance(response_format, type) and hasattr(response_format, "model_json_schema"):
            schema = _schema_of(response_format)
            return cls(_wire(response_format.__name__, schema), schema, response_format)
        if not isinstance(response_format, Mapping):
            raise BasetenInputError(
                f"response_format is a {type(response_format).__name__}: give a Pydantic class, a JSON schema, or an "
                "object such as {'type': 'json_object'}."
            )
        kind = response_format.get("type")
        if not isinstance(kind, str) or kind not in _WIRE_TYPES:
            schema = _checked_schema(dict(response_format))
            return cls(_wire(str(response_format.get("title", "")), schema), schema)
        if kind != "json_schema":
            return cls(dict(response_format))
        described = response_format.get("json_schema")
        if not isinstance(described, Mapping) or not isinstance(described.get("schema"), Mapping):
            raise BasetenInputError("response_format of the type json_schema needs the schema as json_schema.schema.")
        return cls(dict(response_format), _checked_schema(dict(described["schema"])))

    @property
    def is_text(self) -> bool:
        """Whether the format is plain text, which every reply matches."""
        return self.wire is None or self.wire["type"] == "text"

    def read(self, text: str) -> Any:
        """Return the value of a reply: the text itself, or the decoded JSON value.

        If the format is a Pydantic class, the result is the validated object as a JSON value, usually a dictionary. The
        class decides how many digits its numbers keep. With any other JSON format, numbers keep every digit.

        :raises FormatError: the text does not match the format.
        """
        if self.is_text:
            return text
        try:
            rounded = json.loads(text, parse_constant=exact_json.refuse_constant)
            value = texts.readable_value(exact_json.decode(text.encode()))
        except (ValueError, RecursionError):
            raise FormatError("it is not JSON") from None
        try:
            if self.model_class is not None:
                return _validate_with_pydantic(self.model_class, value)
            if self.schema is not None:
                _validate(rounded, self.schema)  # Validators compute with floats, so they do not get Decimals.
        except FormatError:
            raise
        except Exception as error:  # Validators run the DAG author's code, which may raise anything.
            raise FormatError(f"checking it {raised(error)}") from None
        return value


def _wire(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # Baseten's engines accept names of at most 64 letters, digits, '-' and '_'.
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64]
    return {"type": "json_schema", "json_schema": {"name": clean or "output", "schema": schema, "strict": True}}


def _checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise BasetenInputError(
            f"response_format is not a valid JSON schema: {error.json_path} {error.message[:200]}."
        ) from None
    except Exception as error:
        raise BasetenInputError(f"response_format is not a valid JSON schema: checking it {raised(error)}.") from None
    return schema


def _schema_of(model_class: Any) -> dict[str, Any]:
    try:
        return dict(model_class.model_json_schema())
    except Exception as error:
        raise BasetenInputError(
            f"response_format is the class {model_class.__name__}, which has no JSON schema: {str(error)[:200]}."
        ) from None


def _validate(value: Any, schema: dict[str, Any]) -> None:
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An empty registry keeps the validator from fetching the URL of a $ref.
    validator = validator_for(schema)(schema, registry=Registry())
    try:
        # Only the path of a value and the schema keyword that it breaks are kept. The library's own messages quote the
        # value, which must not be logged.
        violations = [f"{error.json_path} breaks {error.validator!r}" for error in validator.iter_errors(value)]
    except Unresolvable as error:
        raise FormatError(f"the schema refers to {error.ref!r:.100}, which it does not contain") from None
    if violations:
        raise FormatError(_join(violations))


def _validate_with_pydantic(model_class: Any, value: Any) -> Any:
    from pydantic import ValidationError

    body = exact_json.encode(value)
    try:
        model = model_class.model_validate_json(body)
        if exact_json.has_long_number(body):
            # From JSON text, Pydantic would read a decimal as a float even for a Decimal field. So Pydantic gets the
            # decoded value.
            with suppress(ValidationError):
                model = model_class.model_validate(value)
        return texts.readable_value(model.model_dump(mode="json"))
    except ValidationError as error:
        violations = error.errors(include_input=False, include_url=False)
        raise FormatError(_join([f"{_json_path(item['loc'])} {_broken(item)}" for item in violations])) from None


def _broken(violation: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, in words.

    If a validator of the DAG author raised an exception, the words name its type and the place where it was raised.
    """
    words = _WORDS.get(violation["type"], f"is not valid ({violation['type']})")
    cause = violation.get("ctx", {}).get("error")
    return f"{words}, which {raised(cause)}" if isinstance(cause, Exception) else words


def _json_path(location: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _join(violations: list[str]) -> str:
    return join_first([violation[:200] for violation in violations], _MAX_VIOLATIONS)
