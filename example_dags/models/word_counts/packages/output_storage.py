"""Storage for the outputs of a model. Copy this file into the ``packages`` folder of a Truss.

Baseten keeps no output of an async request. An output that is in storage is not lost with its webhook.
"""

import json
import re
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

import fsspec
from starlette.requests import Request

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def store_output(output: Any, request: Request, folder: str, **storage_options: Any) -> str:
    """Write an output to ``{folder}/{request id}.json``, and return the URI of the file.

    A reader sees the whole file or none. If Baseten runs the model again after an error, the request id is the same,
    and the file is replaced. If the file can't be written, the error that this raises fails the request.

    :param output: output of the model; anything that JSON can represent.
    :param request: the request, an argument of ``postprocess`` or ``predict``.
    :param folder: URI of the folder, for example ``s3://bucket/outputs``, or a local path.
    :param storage_options: options of the file system, for example ``key`` and ``secret`` for S3.
    """
    request_id = request.headers.get("x-baseten-request-id", "")
    if not _REQUEST_ID.fullmatch(request_id):  # It becomes the name of a file.
        raise ValueError("The request has no id of Baseten, so its output can't be stored.")
    content = json.dumps(output).encode()
    uri = f"{folder.rstrip('/')}/{request_id}.json"
    filesystem, path = fsspec.url_to_fs(uri, **storage_options)
    if "file" in filesystem.protocol:
        filesystem.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        filesystem.pipe_file(part := f"{path}.{uuid4().hex}.part", content)
        filesystem.mv(part, path)
    else:  # An object store shows an object only when its upload is complete.
        filesystem.pipe_file(path, content)
    return uri
