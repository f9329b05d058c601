"""The request of a chat completion, from arguments of any type."""

from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.openai.chat import build_chat_completion
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError

MESSAGES = [{"role": "user", "content": "x"}]


def ask(messages=MESSAGES, **arguments):
    return exact_json.decode(build_chat_completion(Target(model_id="abc"), messages, **arguments).body)


def test_numbers_and_keys_are_sent_as_json_has_them():
    price = Decimal("0.10000000000000000001")
    options = {"logit_bias": {50256: -100}, "seed": 2**70, "top_p": price, 5: [(1, 2)]}
    sent = ask(({"role": "user", "content": [{"type": "text", "text": "x", "n": price}]},), options=options)
    assert sent == {
        "model": "baseten",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "n": price}]}],
        "logit_bias": {"50256": -100},
        "seed": 2**70,
        "top_p": price,
        "5": [[1, 2]],
    }


@pytest.mark.parametrize(
    "odd", [float("nan"), Decimal("NaN"), {1}, b"x", np.array([1, 2]), object(), "\ud83d", int, {(1,): 2}]
)
@pytest.mark.parametrize("name", ["options", "messages", "tools", "model", "tool_choice", "inside"])
def test_values_that_json_does_not_have(odd, name):
    function = {"type": "function", "function": {"name": "f"}}
    inside = [{**MESSAGES[0], "x": odd}]
    arguments = {"messages": inside} if name == "inside" else {name: odd}
    if name == "tool_choice":
        arguments["tools"] = [function]
    with pytest.raises(BasetenInputError):
        ask(**arguments)


@pytest.mark.parametrize("number", [2, "1", None, np.array([1, 1]), [1], 1.5])
def test_more_than_one_answer(number):
    with pytest.raises(BasetenInputError, match=r"\(n\)"):
        ask(options={"n": number})


@pytest.mark.parametrize("tool", [MappingProxyType({"function": {"name": "f"}}), {"function": {"name": "f", "x": {1}}}])
def test_tools_that_json_does_not_have(tool):
    with pytest.raises(BasetenInputError):
        ask(tools=[tool])


@pytest.mark.parametrize("content", [np.array(["a"]), 7, {"text": "x"}, b"x", True])
def test_contents_that_are_none(content):
    with pytest.raises(BasetenInputError, match=r"messages\[0\]"):
        ask([{"role": "user", "content": content}])
