"""The request for embeddings, and its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.chat import ONLY_MODEL
from airflow_provider_baseten.api.completion import token_count
from airflow_provider_baseten.api.requests import Request
from airflow_provider_baseten.api.responses import Response, id_note
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResponseError

ROUTE = "v1/embeddings"


class EmbeddingUsage(TypedDict):
    """What embeddings cost, in tokens; ``None`` where the server does not say."""

    prompt_tokens: int | None
    total_tokens: int | None


def parameters(model: str | None, dimensions: int | None) -> dict[str, Any]:
    """Return the fields of a request besides its texts."""
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
            raise BasetenInputError(f"{place} is {'an empty text' if text == '' else 'not a text'}.")
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
    request = requests.sync_route(
        target,
        ROUTE,
        method="POST",
        json={**parameters(model, dimensions), "input": inputs},
        headers=headers,
        idempotent=idempotent,
    )
    return replace(request, subject=f"embeddings of {target}")


def read_embeddings(response: Response, count: int) -> list[list[float]]:
    """Return the vectors in the order of the texts.

    :param count: how many texts were sent.
    :raises BasetenResponseError: the answer does not hold one vector for each text.
    """
    try:
        vectors = {item["index"]: item["embedding"] for item in response.output()["data"]}
    except (TypeError, LookupError):
        vectors = {}
    ordered = [vectors.get(index) for index in range(count)]
    if len(vectors) != count or not all(isinstance(vector, list) for vector in ordered):
        raise BasetenResponseError(
            f"{response.request.subject} answered {response.status}, but not with one vector for each of the {count} "
            f"texts: check that the model has an embeddings route{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        )
    return [vector for vector in ordered if vector is not None]


def read_usage(response: Response) -> EmbeddingUsage:
    """Return what an answer cost."""
    answer = response.output()
    tokens = answer.get("usage") if isinstance(answer, dict) else None
    return EmbeddingUsage(
        prompt_tokens=token_count(tokens, "prompt_tokens"),
        total_tokens=token_count(tokens, "total_tokens"),
    )
