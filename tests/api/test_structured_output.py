"""The form that an answer must have, and answers that do not have it."""

import datetime
import decimal
import json
import math
import uuid

import pytest
from pydantic import BaseModel, RootModel, field_validator

from airflow_provider_baseten.api.openai.structured_output import FormatError, ResponseFormat
from airflow_provider_baseten.exceptions import BasetenInputError

LONG = "100000000000000000001"
DECIMAL = "1234567890123.456789"


def test_nested_places_are_named_and_values_are_not():
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "integer"}}}}
    with pytest.raises(FormatError) as caught:
        ResponseFormat.of(schema).read(json.dumps({"rows": [1, "private", *["private"] * 9]}))
    assert str(caught.value).startswith("$.rows[1] breaks 'type', $.rows[2]")
    assert "and 5 more" in str(caught.value)
    assert "private" not in str(caught.value)


class Row(BaseModel):
    title: str
    count: int = 0

    @field_validator("title")
    @classmethod
    def check_title(cls, title):
        if "lost" in title:
            raise ValueError(f"{title} is private")
        return {"private": 1}[title]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", r"\$\.title is missing"),
        ('{"title": 5, "count": "private"}', r"\$\.title is not a text, \$\.count is not a whole number"),
        (
            '{"title": "lost private"}',
            r"\$\.title is refused by a validator, which raised ValueError in check_title "
            r"\(test_structured_output\.py, line \d+\)",
        ),
        (
            '{"title": "secret private"}',
            r"checking it raised KeyError in check_title \(test_structured_output\.py, line \d+\)",
        ),
    ],
)
def test_what_a_pydantic_class_refuses_is_said_in_words_without_the_value(text, words):
    with pytest.raises(FormatError, match=f"^{words}$") as caught:
        ResponseFormat.of(Row).read(text)
    assert "private" not in str(caught.value)


def test_nothing_is_fetched_for_a_reference():
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    with pytest.raises(FormatError, match="does not contain"):
        ResponseFormat.of(schema).read('{"a": 1}')


def test_reference_within_the_schema():
    schema = {
        "$defs": {"n": {"type": "integer"}},
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "title": "Ein Titel!",
    }
    output_format = ResponseFormat.of(schema)
    assert output_format.read('{"a": 1}') == {"a": 1}
    assert output_format.wire["json_schema"]["name"] == "Ein_Titel"


def test_form_of_the_wire():
    wire = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
    assert ResponseFormat.of(wire).wire == wire
    assert ResponseFormat.of(wire).read("7") == 7
    with pytest.raises(FormatError):
        ResponseFormat.of(wire).read('"7"')
    assert ResponseFormat.of({"type": "json_object"}).read('{"a": null}') == {"a": None}
    assert ResponseFormat.of({"type": "text"}).read("{") == "{"


@pytest.mark.parametrize("value", ["Ticket", 7, [], {"type": 7}, {"type": "json_schema", "json_schema": {}}])
def test_what_is_none(value):
    with pytest.raises(BasetenInputError, match="response_format"):
        ResponseFormat.of(value)


class Order(BaseModel):
    price: decimal.Decimal
    day: datetime.date
    number: int
    key: uuid.UUID | None = None


class Share(BaseModel):
    part: float


class Raises(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def look_up(cls, name):
        return {}[name]


class NoPlainForm(BaseModel, arbitrary_types_allowed=True):
    name: str

    def model_dump(self, **_):
        raise RuntimeError(self.name)


class NoSchema(BaseModel, arbitrary_types_allowed=True):
    thing: object
    other: decimal.Context


FORMATS = [{"type": "json_object"}, {"multipleOf": 0.1}, {"multipleOf": 7}, Share]


def floats(value):
    return [value] if isinstance(value, float) else list(value.values()) if isinstance(value, dict) else []


class TestNumbers:
    @pytest.mark.parametrize(
        "response_format",
        [
            {"type": "json_object"},
            {"type": "object", "properties": {"n": {"type": "integer"}, "p": {"type": "number", "maximum": 1e13}}},
            {"type": ["object", "null"], "properties": {"n": {"type": "integer"}, "p": {"minimum": 0.5}}},
        ],
    )
    def test_every_digit_is_kept(self, response_format):
        value = ResponseFormat.of(response_format).read(f'{{"n": {LONG}, "p": {DECIMAL}, "q": 1e400}}')
        assert [str(value[name]) for name in "npq"] == [LONG, DECIMAL, "1E+400"]

    def test_pydantic_class_decides_what_its_fields_hold(self):
        value = ResponseFormat.of(Order).read(f'{{"price": {DECIMAL}, "day": "2024-02-29", "number": {LONG}}}')
        assert value == {"price": DECIMAL, "day": "2024-02-29", "number": int(LONG), "key": None}

    def test_root_model(self):
        assert ResponseFormat.of(RootModel[list[int]]).read(f"[{LONG}]") == [int(LONG)]

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 5000, "1e" + "9" * 30])
    @pytest.mark.parametrize(
        "response_format", [{"type": "json_object"}, {"multipleOf": 0.1}, {"multipleOf": 7}, Share]
    )
    def test_numbers_that_no_float_holds(self, number, response_format):
        for text in (number, f'{{"part": {number}}}'):
            try:
                value = ResponseFormat.of(response_format).read(text)
            except FormatError:
                continue
            assert "a" not in number
            assert not any(
                isinstance(n, float) and not math.isfinite(n) for n in (value, *getattr(value, "values", list)())
            )


class TestForeignErrors:
    @pytest.mark.parametrize(
        ("response_format", "text"),
        [
            (Raises, '{"name": "private"}'),
            (NoPlainForm, '{"name": "private"}'),
            ({"multipleOf": 0.1}, "1" + "0" * 400),
            (
                {"type": "object", "patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
                '{"b": "private"}',
            ),
            ({"$ref": "#/nowhere"}, '"private"'),
            ({"$ref": "#"}, '"private"'),
            ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, '"private"'),
            ({"items": {"$ref": "#"}}, "[" * 5000 + "]" * 5000),
            ({"type": "json_object"}, "[" * 100_000),
            ({"type": "json_object"}, "```json\n{}\n```"),
            ({"type": "json_object"}, ""),
            ({"type": "json_object"}, "{} private"),
        ],
    )
    def test_are_format_errors_that_quote_nothing(self, response_format, text):
        with pytest.raises(FormatError) as caught:
            ResponseFormat.of(response_format).read(text)
        assert "private" not in str(caught.value)

    @pytest.mark.parametrize(
        "response_format",
        [
            NoSchema,
            {"type": "object", "$schema": ["x"]},
            {"pattern": "("},
            {"properties": 7},
            {"type": {"a": 1}},
            {"type": {"type": "object"}},
            json.loads('{"items":' * 900 + "{}" + "}" * 900),
        ],
    )
    def test_schemas_that_are_none(self, response_format):
        with pytest.raises(BasetenInputError, match="response_format"):
            ResponseFormat.of(response_format)


def test_halves_of_a_character_are_replaced():
    for response_format in ({"type": "json_object"}, {"type": "object"}, RootModel[dict[str, str]]):
        assert ResponseFormat.of(response_format).read('{"a\\ud83d": "\\ud83d"}') == {"a\ufffd": "\ufffd"}
