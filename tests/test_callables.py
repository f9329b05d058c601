"""Words for an exception of the DAG author's code: its place is named, its text is not."""

import functools
import json
import re
from pathlib import Path

import pytest

from airflow_provider_baseten.callables import raised

ROW = {"text": "private-text"}


def words_of(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return raised(error)
    pytest.fail("no exception")


def line_of(text):
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip() == text)


def clean(row):
    return helper(row)


def helper(row):
    return row[row["text"]]


class Cleaner:
    def __call__(self, row):
        return int(row["text"])


def test_the_innermost_place_in_the_authors_code_is_named():
    line = line_of('return row[row["text"]]')
    assert words_of(clean, ROW) == f"raised KeyError in helper (test_callables.py, line {line})"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (functools.partial(clean), r"raised KeyError in helper \(test_callables\.py, line \d+\)"),
        (Cleaner(), r"raised ValueError in __call__ \(test_callables\.py, line \d+\)"),
        (lambda row: json.loads(row["text"]), r"raised JSONDecodeError in <lambda> \(test_callables\.py, line \d+\)"),
        (
            lambda row: pytest.importorskip("numpy").load(row),
            r"raised \w+ in <lambda> \(test_callables\.py, line \d+\)",
        ),
    ],
    ids=["partial", "object", "standard library", "installed library"],
)
def test_places_in_libraries_are_not(function, words):
    found = words_of(function, ROW)
    assert re.fullmatch(words, found)
    assert "private-text" not in found


def test_a_function_of_a_library_is_named_if_there_is_no_other():
    assert re.fullmatch(r"raised JSONDecodeError in \w+ \(\w+\.py, line \d+\)", words_of(json.loads, "private-text"))


def test_an_exception_without_a_place():
    assert raised(ValueError("private-text")) == "raised ValueError"


def test_deep_recursion():
    def again(row):
        return again(row)

    assert words_of(again, ROW).startswith("raised RecursionError in again (test_callables.py, line ")
