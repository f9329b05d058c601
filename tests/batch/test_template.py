"""A row becomes an input by a template."""

import pytest

from airflow_provider_baseten.batch.template import Template
from airflow_provider_baseten.exceptions import BasetenInputError
from tests.batch.conftest import outputs_of

ROW = {"title": "Grüße", "tags": ["a", None], "n": 3, "odd name": "{x}"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"text": "{title}: {odd name}!", "top": 3}, {"text": "Grüße: {x}!", "top": 3}),
        ({"tags": "{tags}", "n": "{n}"}, {"tags": ["a", None], "n": 3}),
        ({"text": "{n} of {tags}"}, {"text": '3 of ["a",null]'}),
        ([{"role": "user", "content": "Sum up {title}"}], [{"role": "user", "content": "Sum up Grüße"}]),
        ({"text": '{{"a": {n}}}', "none": None, "empty": ""}, {"text": '{"a": 3}', "none": None, "empty": ""}),
    ],
)
def test_columns_take_their_places(template, expected):
    assert Template(template).fill(ROW.__getitem__) == expected


def test_names_its_columns():
    assert Template({"a": ["{title}", {"b": "x {n}"}]}).columns == {"title", "n"}


@pytest.mark.parametrize("text", ["{}", "{", "}", "{title!r}", "{n:>5}", "a {{n}"])
def test_braces_without_a_column_are_refused(text):
    with pytest.raises(BasetenInputError, match="braces name no column"):
        Template({"text": text})


def test_rows_become_inputs_and_keep_their_outputs(run, tmp_path):
    rows = [{"title": f"t{index}", "n": index} for index in range(5)]
    manifest = run(inputs=rows, model_input={"text": "About {title}", "n": "{n}"})
    assert outputs_of(manifest) == {index: {"echo": {"text": f"About t{index}", "n": index}} for index in range(5)}


def test_a_column_that_no_row_has_is_found_before_anything_is_sent(run, baseten):
    with pytest.raises(BasetenInputError, match="no column 'titel'"):
        run(inputs=[{"title": "t"}], model_input={"text": "{titel}"})
    assert not baseten.requests
