"""Outputs of the rows of a request, taken from its response."""

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from airflow_provider_baseten.api.openai.chat_output import find_problem
from airflow_provider_baseten.api.openai.completion import server_error
from airflow_provider_baseten.api.openai.embeddings import wrong_length
from airflow_provider_baseten.batch.response_json import (
    CallableError,
    JsonValue,
    UnusableResponseError,
    items_of,
    parts_of,
)
from airflow_provider_baseten.callables import raised

Inputs = list[Any]
Parameters = Mapping[str, Any]
Outputs = Sequence[JsonValue | UnusableResponseError]

# Encoded vectors are 32-bit floats.
_BYTES_OF_FLOAT = 4


def chat_outputs(response: JsonValue, inputs: Inputs, parameters: Parameters) -> Outputs:
    """Return the response as the output of its row. A reply that was cut off at the length limit is an output too.

    :raises UnusableResponseError: the response has no usable message.
    """
    if problem := find_problem(response.value):
        raise UnusableResponseError(problem)
    return [response]


class _Item(msgspec.Struct):
    embedding: msgspec.Raw


class _Embeddings(msgspec.Struct):
    data: list[_Item]


_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)


def embedding_outputs(response: JsonValue, inputs: Inputs, parameters: Parameters) -> Outputs:
    """Return the vector of each text.

    :raises UnusableResponseError: the vectors can't be assigned to the texts.
    """
    data = response.value.get("data") if isinstance(response.value, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data) or _server_error(response.value):
        raise UnusableResponseError(_server_error(response.value) or "holds no list of vectors")
    vectors = parts_of(
        response,
        lambda text: (item.embedding for item in _EMBEDDINGS.decode(text).data),
        lambda value: (item.get("embedding") for item in value["data"]),
    )
    return [_vector(part, parameters) for part in _by_index(data, vectors, len(inputs))]


def _vector(part: JsonValue, parameters: Parameters) -> JsonValue | UnusableResponseError:
    is_usable = _is_vector if sends_floats(parameters) else _is_encoded_vector
    if not is_usable(part.value):
        return UnusableResponseError("holds no vector of finite numbers for the row", part)
    problem = wrong_length(_length(part.value), parameters.get("dimensions"))
    return part if problem is None else UnusableResponseError(problem, part)


def _length(vector: list[Any] | str) -> int:
    return len(base64.b64decode(vector)) // _BYTES_OF_FLOAT if isinstance(vector, str) else len(vector)


def sends_floats(parameters: Parameters | None) -> bool:
    """Return whether these parameters make the server send vectors as lists of numbers, rather than in Base64."""
    return (parameters or {}).get("encoding_format") in (None, "float")


def _is_vector(value: Any) -> bool:
    """Return whether a decoded value is a list of finite numbers."""
    if not isinstance(value, list) or not value:
        return False
    types = set(map(type, value))
    if types == {float} and math.isfinite(sum(value)):
        return True
    return types <= {float, int, Decimal} and all(map(_is_finite, value))


def _is_encoded_vector(value: Any) -> bool:
    try:
        return _is_vector(value) or bool(isinstance(value, str) and base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return False


def _is_finite(number: float | Decimal) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int | Decimal) and not isinstance(value, bool) and _is_finite(value)


def _by_index(items: Sequence[Any], parts: list[JsonValue], count: int) -> list[JsonValue]:
    """Return ``parts`` in the order of the indexes that the server gave to the items of its response.

    :param items: the decoded items of the response, each with an ``index`` from 0.
    :param parts: one output for each item, in the order of ``items``: the whole item, or the vector in it.
    :param count: required number of items.
    :raises UnusableResponseError: the indexes of the items are not exactly 0 to ``count`` - 1.
    """
    indexes = [item.get("index") if isinstance(item, dict) else None for item in items]
    found = dict(zip(indexes, parts, strict=True)) if all(type(index) is int for index in indexes) else {}
    if len(items) != count or any(index not in found for index in range(count)):
        raise UnusableResponseError(f"does not hold one output for each of {count} inputs")
    return [found[index] for index in range(count)]


def _server_error(value: Any) -> str | None:
    error = server_error(value) if isinstance(value, dict) else None
    return error and f"is an error of the server: {error}"


def _listed(response: JsonValue) -> list[JsonValue]:
    if not isinstance(response.value, list):
        raise UnusableResponseError(_server_error(response.value) or f"is not a list, but {_kind(response.value)}")
    return items_of(response)


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def classify_outputs(response: JsonValue, inputs: Inputs, parameters: Parameters) -> Outputs:
    """Return the labels of each text.

    :raises UnusableResponseError: the response is not a list with one item for each text.
    """
    return [
        item if _is_classified(item.value) else UnusableResponseError("holds no labels for the row", item)
        for item in _one_for_each(_listed(response), inputs)
    ]


def _is_classified(value: Any) -> bool:
    """Return whether a value is a label with its score, or a list of such labels."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) and _is_classified(item) for item in value)
    return isinstance(value, dict) and bool(value) and not value.get("error") and _is_number(value.get("score", 0))


def rerank_outputs(response: JsonValue, inputs: Inputs, parameters: Parameters) -> Outputs:
    """Return the item with the score of each row's text.

    If a row has a list of texts, the request holds only this row. The output of the row is then the whole response.

    :raises UnusableResponseError: the scores can't be assigned to the texts.
    """
    items = _listed(response)
    texts = inputs[0].get("texts", inputs)
    ranked = _by_index(response.value, items, len(texts) if isinstance(texts, list | tuple) else len(items))
    outputs = [
        item if _is_number(item.value.get("score")) else UnusableResponseError("holds no score for the text", item)
        for item in ranked
    ]
    if "texts" not in inputs[0]:
        return outputs
    return [next((output for output in outputs if isinstance(output, UnusableResponseError)), response)]


def predict_outputs(split: Callable[[Any], Sequence[Any]] | None, response: JsonValue, inputs: Inputs) -> Outputs:
    """Return an output for each row.

    :param split: the job's function ``split_output``. If it is ``None``, the response must be a list with one output
        for each row.
    :raises UnusableResponseError: the response does not hold one output for each row.
    """
    return _one_for_each(_listed(response) if split is None else _split(split, response), inputs)


def _split(split: Callable[[Any], Sequence[Any]], response: JsonValue) -> list[JsonValue]:
    try:
        outputs = split(response.exact)
    except Exception as error:
        raise CallableError(f"could not be split: split_output {raised(error)}") from None
    if not isinstance(outputs, list | tuple):
        raise CallableError(f"could not be split: split_output returned {type(outputs).__name__}, not a list")
    return [JsonValue(None, output) for output in outputs]


def _one_for_each(outputs: list[JsonValue], inputs: Inputs) -> list[JsonValue]:
    if len(outputs) != len(inputs):
        raise UnusableResponseError(
            f"does not hold one output for each of the {len(inputs)} rows of its request, but {len(outputs)}"
        )
    return outputs
