"""Presets: the formats of requests and responses of each kind of server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api.openai.chat import CHAT_ROUTE, ONLY_MODEL
from airflow_provider_baseten.api.openai.embeddings import EMBEDDINGS_ROUTE
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.response_json import JsonValue
from airflow_provider_baseten.batch.row_outputs import (
    Inputs,
    Outputs,
    Parameters,
    chat_outputs,
    classify_outputs,
    embedding_outputs,
    predict_outputs,
    rerank_outputs,
)
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """The format of requests and responses of one kind of server.

    :param route: path on the server; ``None`` for the normal predict endpoint.
    :param join: function that makes the body of a request. It takes the inputs of the rows and the job's parameters.
    :param split: function that makes one output for each row. It takes the response, the inputs of the rows and the
        job's parameters. ``None`` if a request has one row, whose output is the whole response.
    :param group_key: function that returns a key of an input. Rows share a request if they have the same key. ``None``
        if all rows may share a request.
    :param sends_inputs_unchanged: whether each input is sent unchanged, as the body of a request of its own.
    """

    route: str | None
    join: Callable[[Inputs, Parameters], Any]
    split: Callable[[JsonValue, Inputs, Parameters], Outputs] | None = None
    group_key: Callable[[Any], Any] | None = None
    sends_inputs_unchanged: bool = False


def _chat(inputs: Inputs, parameters: Parameters) -> Any:
    """Return the body of a chat completion.

    https://docs.baseten.co/reference/inference-api/chat-completions
    """
    (chat,) = inputs
    if isinstance(chat, str):
        chat = {"messages": [{"role": "user", "content": chat}]}
    elif isinstance(chat, list):
        chat = {"messages": chat}
    if not isinstance(chat, dict) or "messages" not in chat:
        raise BasetenInputError("preset 'chat' takes a text, a list of messages, or an object with messages.")
    request = {"model": ONLY_MODEL, **parameters, **chat}
    if request.get("stream"):
        raise BasetenInputError("a bulk run reads whole responses: remove stream from the chat.")
    return request


def _embeddings(inputs: Inputs, parameters: Parameters) -> Any:
    for text in inputs:
        if not isinstance(text, str | list):
            raise BasetenInputError(f"preset 'embeddings' takes a text or a list of tokens, not {type(text).__name__}.")
    return {"model": ONLY_MODEL, **parameters, "input": inputs}


def _classify(inputs: Inputs, parameters: Parameters) -> Any:
    for text in inputs:
        if not isinstance(text, str):
            raise BasetenInputError(f"preset 'classify' takes a text, not {type(text).__name__}.")
    return {**parameters, "inputs": [[text] for text in inputs]}


def _rerank(inputs: Inputs, parameters: Parameters) -> Any:
    first = inputs[0]
    if not isinstance(first, dict) or "query" not in first or ("text" in first) == ("texts" in first):
        raise BasetenInputError("preset 'rerank' takes an object with query, and either texts or one text.")
    if "texts" in first:
        return {**parameters, **first}
    return {**parameters, "query": first["query"], "texts": [item["text"] for item in inputs]}


def _rerank_group(value: Any) -> Any:
    """Return the group key of a row.

    For a row with a single text, the key is the row's query: such rows share a request if they have the same query. For
    any other row, the key is a new object. It equals no other key, so the row has a request of its own.
    """
    return value["query"] if isinstance(value, dict) and "text" in value else object()


_PRESETS: dict[str, RequestFormat] = {
    "chat": RequestFormat(CHAT_ROUTE, _chat, chat_outputs),
    "embeddings": RequestFormat(EMBEDDINGS_ROUTE, _embeddings, embedding_outputs),
    "classify": RequestFormat("predict", _classify, classify_outputs),
    "rerank": RequestFormat("rerank", _rerank, rerank_outputs, _rerank_group),
}


def request_format_of(job: BatchJob) -> RequestFormat:
    """Return the format of a job's requests and responses."""
    if job.preset != "predict":
        return _PRESETS[job.preset]
    join, split = job.join_inputs, job.split_output
    if job.rows_per_request == 1 and join is None and split is None:
        return RequestFormat(None, lambda inputs, _: inputs[0], sends_inputs_unchanged=True)
    return RequestFormat(
        None,
        lambda inputs, _: inputs if join is None else _joined(join, inputs),
        lambda response, inputs, _: predict_outputs(split, response, inputs),
    )


def _joined(join: Callable[[Inputs], Any], inputs: Inputs) -> Any:
    try:
        return join(inputs)
    except BasetenError:
        raise
    except Exception as error:
        raise BasetenInputError(f"join_inputs {raised(error)} for {len(inputs)} rows.") from None
