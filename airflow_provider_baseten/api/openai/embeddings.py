"""The request for embeddings, and its answer."""

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

ROUTE = "v1/embeddings"

# Far more numbers than any model gives a vector.
MOST_DIMENSIONS = 1_000_000


class EmbeddingUsage(TypedDict):
    """What embeddings cost, in tokens; ``None`` where the server does not say."""

    prompt_tokens: int | None
    total_tokens: int | None


def parameters(model: str | None, dimensions: int | None) -> dict[str, Any]:
    """Return the fields of a request besides its texts."""
    check_texts(model=model)
    fields: dict[str, Any] = {"model": model or ONLY_MODEL}
    return fields if dimensions is None else fields | {"dimensions": dimensions}


def checked_texts(texts: Any) -> str | list[str]:
    """Return a text, or a list of them.

    :raises BasetenInputError: it is neither, is empty or holds an empty text.
    """
    several = texts if isinstance(texts, Sequence) and not isinstance(texts, bytes | str) else [texts]
    if not several:
        raise BasetenInputError("texts is an empty list: give at least one text.")
    for index, text in enumerate(several):
        if not isinstance(text, str) or not text:
            place = "texts" if several[0] is texts else f"texts[{index}]"
            raise BasetenInputError(f"{place} is {'an empty text' if isinstance(text, str) else 'not a text'}.")
    return texts if isinstance(texts, str) else list(several)


def embeddings(
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
    :param texts: a text, or a list of them.
    :param model: name under which the server serves the model.
    :param dimensions: length of the vectors, for models that can shorten them.
    :param headers: further HTTP headers.
    :param idempotent: whether it may be sent again when the model may have run.
    :raises BasetenInputError: an argument is not valid.
    """
    inputs = [texts] if isinstance(texts, str) else texts
    request = build_sync_route(
        target,
        ROUTE,
        method="POST",
        json={**parameters(model, dimensions), "input": inputs},
        headers=headers,
        idempotent=idempotent,
    )
    return replace(request, subject=f"embeddings of {target}")


def read_embeddings(response: Response, count: int, dimensions: int | None = None) -> list[list[float]]:
    """Return the vectors in the order of the texts.

    :param count: how many texts were sent.
    :param dimensions: length of vectors that was asked for; ``None`` takes the model's own.
    :raises BasetenModelError: the server reports an error in place of vectors.
    :raises BasetenResponseError: the answer does not hold one vector for each text, or they have another length.
    """
    answer = response.output()
    error = server_error(answer) if isinstance(answer, Mapping) else None
    vectors = None if error else _ordered(answer, count)
    if vectors is not None:
        _check_lengths(vectors, dimensions, response)
        return vectors
    kind, trouble = (
        (BasetenModelError, f"with an error of the server: {quotable(error, response.request)}".removesuffix(": "))
        if error
        else (
            BasetenResponseError,
            f"not with one vector for each of the {count} texts: check that the model has an embeddings route",
        )
    )
    raise kind(
        f"{response.request.subject} answered {response.status}, but {trouble}{id_note(response.request_id)}.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=True,
    )


def wrong_length(length: int, dimensions: Any) -> str | None:
    """Return what is wrong with the length of a vector, as words that follow "the answer"; ``None`` if nothing is.

    A server that can't shorten vectors leaves the field out of account and answers with its own.

    :param dimensions: what the request asked for.
    """
    if not isinstance(dimensions, int) or length == dimensions:
        return None
    return (
        f"holds a vector of {length} numbers where dimensions={dimensions} asked for {dimensions}: "
        "the model does not make vectors of that length"
    )


def _check_lengths(vectors: list[list[float]], dimensions: int | None, response: Response) -> None:
    trouble = next((words for vector in vectors if (words := wrong_length(len(vector), dimensions))), None)
    if trouble is not None:
        raise BasetenResponseError(
            f"The answer to {response.request.subject} {trouble}{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        )


def _ordered(answer: Any, count: int) -> list[list[float]] | None:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        return None
    indexes = [item.get("index") for item in data]
    if not all(type(index) is int for index in indexes) or sorted(indexes) != list(range(count)):
        return None
    vectors = [as_vector(item.get("embedding")) for _, item in sorted(zip(indexes, data, strict=True), key=_first)]
    found = [vector for vector in vectors if vector is not None]
    return found if len(found) == count and len(set(map(len, found))) == 1 else None


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def as_vector(value: Any) -> list[float] | None:
    """Return a decoded vector as finite floats, ``None`` if it is something else."""
    if not isinstance(value, list) or not value:
        return None
    types = set(map(type, value))
    if not types <= {float, int, Decimal}:
        return None
    try:
        # Models calculate with fewer digits than a float has.
        vector = value if types == {float} else [float(number) for number in value]
    except OverflowError:
        return None
    return vector if all(map(math.isfinite, vector)) else None


def read_usage(response: Response) -> EmbeddingUsage:
    """Return what an answer cost.

    :raises BasetenResponseError: the body is not what the Content-Type says.
    """
    answer = response.output()
    tokens = answer.get("usage") if isinstance(answer, dict) else None
    return EmbeddingUsage(
        prompt_tokens=token_count(tokens, "prompt_tokens"),
        total_tokens=token_count(tokens, "total_tokens"),
    )
