"""Predict: the request that runs a model or a chain."""

from collections.abc import Mapping
from typing import Any, TypedDict, get_args

from airflow_provider_baseten.api.http import JSON, MSGPACK, ContentType, Request, checked_body, checked_headers
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.api.target import Target, check_target
from airflow_provider_baseten.arguments import check_choice, check_flags
from airflow_provider_baseten.exceptions import BasetenInputError


class PredictOptions(TypedDict, total=False):
    """Options of a predict.

    :param content_type: ``application/json`` (default), or ``application/octet-stream`` for input and
        output in msgpack.
    :param headers: extra HTTP headers.
    :param idempotent: whether the request is sent again after a failure in which the model may have run and cost money:
        a read timeout, a lost connection, a 500 or a 504. By default it is not sent again.
    """

    content_type: ContentType
    headers: Mapping[str, str] | None
    idempotent: bool


def build_predict(
    target: Target,
    model_input: Any,
    *,
    content_type: ContentType = JSON,
    headers: Mapping[str, str] | None = None,
    idempotent: bool = False,
) -> Request:
    """Build the request that runs a model, or a chain's ``run_remote``; see :class:`PredictOptions`.

    :param model_input: any JSON value; with ``application/octet-stream`` any msgpack value, numpy arrays included.
    :raises BasetenInputError: the input can't be encoded in the content type, or a header is not valid.
    :raises BasetenPayloadTooLargeError: the body is over Baseten's 100 MB.
    """
    check_choice("content_type", content_type, get_args(ContentType))
    check_flags(idempotent=idempotent)
    check_target(target)
    if target.chain_id is not None and not isinstance(model_input, Mapping):
        raise BasetenInputError(
            f"model_input of a chain is an object with the arguments of run_remote, not a {type(model_input).__name__}."
        )
    checked = checked_headers(headers)
    if any(name.lower() == "content-type" for name in checked):
        raise BasetenInputError("headers can't hold Content-Type: give it as content_type.")
    # No Accept header is set: if it were application/json, a Truss server would hold back a stream until its end.
    return Request(
        method="POST",
        host=target.host,
        path=target.path("predict"),
        subject=f"predict of {target}",
        headers=checked | {"Content-Type": content_type},
        body=checked_body(_encode(model_input, content_type)),
        idempotent=idempotent,
    )


def _encode(model_input: Any, content_type: ContentType) -> bytes:
    if content_type != MSGPACK:
        return encode_json("model_input", model_input)
    from airflow_provider_baseten.api import truss_msgpack

    return truss_msgpack.pack(model_input)
