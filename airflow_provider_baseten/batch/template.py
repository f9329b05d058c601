"""Input templates with ``{column}`` placeholders."""

from collections.abc import Callable
from string import Formatter
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.batch.row_json import encode_value
from airflow_provider_baseten.exceptions import BasetenInputError

Column = Callable[[str], Any]


class Template:
    """A JSON value whose strings name columns in braces, for example ``{"text": "{title}: {body}", "top": 3}``.

    A string that consists of one placeholder, such as ``"{tags}"``, becomes the value of the column, of any type. In
    other strings, a column whose value is not a string is inserted as JSON. Doubled braces stand for one brace.

    :param value: the JSON value.
    :raises BasetenInputError: the value can't be encoded as JSON, or a string has braces that name no column.
    """

    def __init__(self, value: Any) -> None:
        self.columns: set[str] = set()
        self._fill = self._compiled(exact_json.decode(encode_value("model_input", value)))

    def fill(self, column: Column) -> Any:
        """Return the input of a row.

        :param column: function that takes the name of a column and returns the row's value in this column.
        """
        return self._fill(column)

    def _compiled(self, value: Any) -> Callable[[Column], Any]:
        match value:
            case str():
                return self._text(value)
            case dict():
                members = {name: self._compiled(item) for name, item in value.items()}
                return lambda column: {name: fill(column) for name, fill in members.items()}
            case list():
                items = [self._compiled(item) for item in value]
                return lambda column: [fill(column) for fill in items]
        return lambda column: value

    def _text(self, text: str) -> Callable[[Column], Any]:
        parts = _parts(text)
        names = [name for _, name in parts if name is not None]
        self.columns.update(names)
        if len(parts) == 1 and names and not parts[0][0]:
            return lambda column: column(names[0])
        return lambda column: "".join(
            literal if name is None else literal + _as_text(column(name)) for literal, name in parts
        )


def _parts(text: str) -> list[tuple[str, str | None]]:
    """Split a string of a template into pairs: a literal text, and the name of the column in the braces after it.

    The name is ``None`` if no column follows the text. ``{a} or {b}!`` gives
    ``("", "a")``, ``(" or ", "b")``, ``("!", None)``.
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        parts = [("", "", "", None)]
    if any(name == "" or form or conversion for _, name, form, conversion in parts):
        raise BasetenInputError(
            f"model_input has the text {text!r:.80}, whose braces name no column: write '{{name}}', and double the "
            "braces that are meant literally."
        )
    return [(literal, name) for literal, name, _, _ in parts]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else encode_value("model_input", value).decode()
