"""What an error keeps of a server's text: never the input's own texts."""

import json

import pytest

from airflow_provider_baseten.api.quotes import redact_input

CARD = 'My card is 4111-1111 and I am Zoë\nnext "line"'
BODY = json.dumps(
    {
        "model": "baseten",
        "messages": [{"role": "user", "content": CARD}],
        "account": 1234567,
        "name": "Anna",
        "price": 1.5,
    },
    ensure_ascii=False,
)
BODY = BODY.replace("1.5", "12345678901234567890.5").encode()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"bad value {CARD}", "bad value [input]"),
        (f"bad value {CARD!r}", "bad value '[input]'"),
        (f"bad value {CARD!a}", "bad value '[input]'"),
        (json.dumps({"detail": CARD}), '{"detail": "[input]"}'),
        (json.dumps({"detail": CARD}, ensure_ascii=False), '{"detail": "[input]"}'),
        ("truncated: My card is 411...", "truncated: [input]..."),
        ("no account 1234567", "no account [input]"),
        ("12345678901234567890.5 is too much", "[input] is too much"),
        ("Anna is no Annabelle", "[input] is no Annabelle"),
        ("user may not use the model baseten: max_tokens is missing", None),
        ("", None),
    ],
)
def test_quotes_are_replaced_and_the_rest_stays(said, kept):
    assert redact_input(said, BODY) == (said if kept is None else kept)


@pytest.mark.parametrize("body", [b"a private text that is no JSON", b"\xa4text\xb9a private text that is no JSON\xff"])
def test_a_body_that_is_no_json_is_searched_as_it_is(body):
    assert redact_input("got: a private text that is no JSON!", body) == "got: [input]!"


def test_the_ends_of_a_long_text_are_found_and_a_body_that_is_too_large_to_search_is_not_quoted():
    picture = json.dumps({"image": "iVBORw0KGgo" + "A" * 5_000_000}).encode()
    assert redact_input("can't decode iVBORw0KGgoAAAAA", picture) == "can't decode [input]"
    rows = json.dumps([f"private row {number}" for number in range(100_000)]).encode()
    assert "private" not in redact_input("can't read private row 5", rows)


def test_without_a_body_nothing_is_changed():
    assert redact_input("any text", None) == "any text"
    assert redact_input("any text", b"") == "any text"
