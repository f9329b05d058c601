"""Embeddings: the request and its response."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypedDict

from airflow_provider_baseten.api.errors import quotable
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.openai.chat import ONLY_MODEL
from airflow_provider_baseten.api.openai.completion import server_error, token_count
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_texts
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError, BasetenResponseError

EMBEDDINGS_ROUTE = "v1/embeddings"


class EmbeddingUsage(TypedDict):
    """Token counts of embeddings; a count is ``None`` if the server does not report it."""

    prompt_tokens: int | None
    total_tokens: int | None


def build_parameters(model: str | None, dimensions: int | None) -> dict[str, Any]:
    """Return the fields of the request body, except the texts."""
    check_texts(model=model)
    fields: dict[str, Any] = {"model": model or ONLY_MODEL}
    return fields if dimensions is None else fields | {"dimensions": dimensions}


def checked_texts(texts: Any) -> str | list[str]:
    """Check the texts to embed, and return them: a text, or a list of texts.

    :raises BasetenInputError: ``texts`` is neither, is empty or holds an empty text.
    """
    several = texts if isinstance(texts, Sequence) and not isinstance(texts, bytes | str) else [texts]
    if not several:
        raise BasetenInputError("texts is an empty list: give at least one text.")
    for index, text in enumerate(several):
        if not isinstance(text, str) or not text:
            place = "texts" if several[0] is texts else f"texts[{index}]"
            raise BasetenInputError(f"{place} is {'an empty text' if isinstance(text, str) else 'not a text'}.")
    return texts if isinstance(texts, str) else list(several)


def build_embeddings(
    target: Target,
    texts: str | list[str],
    *,
    model: str | None = None,
    dimensions: int | None = None,
    headers: Mapping[str, str] | None = None,
    idempotent: bool = False,
) -> Request:
    """Build the request for the embeddings of one or more texts.

    :param target: a model with an OpenAI-compatible server.
    :param texts: a text, or a list of texts.
    :param model: name under which the server serves the model.
    :param dimensions: length of the vectors, for models that can shorten them.
    :param headers: extra HTTP headers.
    :param idempotent: whether the request is sent again after a failure in which the model may have run.
    :raises BasetenInputError: an argument is not valid.
    """
    inputs = [texts] if isinstance(texts, str) else texts
    request = build_sync_route(
        target,
        EMBEDDINGS_ROUTE,
        method="POST",
        json={**build_parameters(model, dimensions), "input": inputs},
        headers=headers,
        idempotent=idempotent,
    )
    return replace(request, subject=f"embeddings of {target}")


def read_embeddings(response: Response, count: int, dimensions: int | None = None) -> list[list[float]]:
    """Return the vectors in the order of the texts.

    :param count: number of texts that were sent.
    :param dimensions: requested length of the vectors; ``None`` accepts the model's own length.
    :raises BasetenModelError: the server reports an error instead of vectors.
    :raises BasetenResponseError: the response does not hold one vector for each text, or a vector has the wrong length.
    """
    body = response.output()
    error = server_error(body) if isinstance(body, Mapping) else None
    vectors = None if error else _sort_vectors(body, count)
    if vectors is not None:
        _check_lengths(vectors, dimensions, response)
        return vectors
    kind, problem = (
        (BasetenModelError, f"an error of the server: {quotable(error, response.request)}".removesuffix(": "))
        if error
        else (
            BasetenResponseError,
            f"not one vector for each of the {count} texts: check that the model has an embeddings route",
        )
    )
    raise kind(
        f"{response.request.subject} returned {response.status}, but {problem}{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )


def wrong_length(length: int, dimensions: Any) -> str | None:
    """Return what is wrong with the length of a vector, ``None`` if the length is right.

    A server that can't shorten vectors ignores ``dimensions`` and responds with vectors of the model's own length.

    :param dimensions: requested length, if any.
    :returns: the end of a sentence, beginning with ``holds a vector``. The caller puts the subject in front of it.
    """
    if not isinstance(dimensions, int) or length == dimensions:
        return None
    return (
        f"holds a vector of {length} numbers instead of dimensions={dimensions}: "
        "the model does not make vectors of that length"
    )


def _check_lengths(vectors: list[list[float]], dimensions: int | None, response: Response) -> None:
    problem = next((words for vector in vectors if (words := wrong_length(len(vector), dimensions))), None)
    if problem is not None:
        raise BasetenResponseError(
            f"The response to {response.request.subject} {problem}{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        )


def _sort_vectors(body: Any, count: int) -> list[list[float]] | None:
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        return None
    indexes = [item.get("index") for item in data]
    if not all(type(index) is int for index in indexes) or sorted(indexes) != list(range(count)):
        return None
    vectors = [parse_vector(item.get("embedding")) for _, item in sorted(zip(indexes, data, strict=True), key=_first)]
    found = [vector for vector in vectors if vector is not None]
    return found if len(found) == count and len(set(map(len, found))) == 1 else None


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def parse_vector(value: Any) -> list[float] | None:
    """Return a vector as a list of floats, ``None`` if the value is not a list of finite numbers or is empty.

    :param value: decoded JSON value.
    """
    if not isinstance(value, list) or not value:
        return None
    types = set(map(type, value))
    if not types <= {float, int, Decimal}:
        return None
    try:
        # No precision is lost: models compute with fewer digits than a float has.
        vector = value if types == {float} else [float(number) for number in value]
    except OverflowError:
        return None
    return vector if all(map(math.isfinite, vector)) else None


def read_usage(response: Response) -> EmbeddingUsage:
    """Return the token counts in a response.

    :raises BasetenResponseError: the body does not match its Content-Type.
    """
    body = response.output()
    tokens = body.get("usage") if isinstance(body, dict) else None
    return EmbeddingUsage(
        prompt_tokens=token_count(tokens, "prompt_tokens"),
        total_tokens=token_count(tokens, "total_tokens"),
    )
