"""Excerpts of what a program or a server has written."""

import pytest

from airflow_provider_baseten.api.excerpts import printable_lines, without_middle


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("epoch 1\n", ["epoch 1"]),
        ("a\r\nb\n\n", ["a", "b"]),
        ("", [""]),
        ("10 %\r50 %\r100 %\n", ["100 %"]),
        ("\x1b[1;31mERROR\x1b[0m: no GPU\x1b[K", ["ERROR: no GPU"]),
        ("\x1b]0;title\x07done", ["done"]),
        ("a\x00b\x07\x1bc\td", ["a b  c  d"]),
        ("日本語", ["日本語"]),
    ],
)
def test_printable_lines(text, lines):
    assert printable_lines(text) == lines


def test_the_end_of_a_long_line_is_kept():
    text = "x" * 50 + "y" * 50 + "the reason"
    assert without_middle(text, 110) == text
    assert without_middle(text, 20) == "xxxxxxxxxx [90 characters] the reason"
