"""Error responses of a model's container, the same as those of Truss's server."""

import sys
import traceback
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

_EMULATOR_DIRECTORY = str(Path(__file__).parent)

# Values of the header X-BASETEN-ERROR-CODE.
UNEXPECTED_ERROR = "500"
MODEL_ERROR = "600"
CLIENT_ERROR = "700"

MODEL_ERROR_MESSAGE = "Internal Server Error (in model/chainlet)."


class ContainerError(Exception):
    """Error response of the container.

    :param status: HTTP status.
    :param error: value of the field ``error`` in the body, any JSON.
    :param code: value of the header ``X-BASETEN-ERROR-CODE``.
    """

    def __init__(self, status: int, error: Any, code: str) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.code = code


def not_ready() -> ContainerError:
    """Return the error for a model that is not loaded or not healthy."""
    return ContainerError(503, "Model with name model is not ready.", MODEL_ERROR)


def method_not_allowed(allowed: str) -> Response:
    """Return the response to a request with a wrong HTTP method.

    :param allowed: the method that the path supports.
    """
    return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": allowed})


def error_response(exc: Exception) -> Response:
    """Return the HTTP response to a request whose handling raised ``exc``."""
    if isinstance(exc, ContainerError):
        status, error, code = exc.status, exc.error, exc.code
    elif is_http_exception(exc):
        status, error, code = exc.status_code, exc.detail, MODEL_ERROR  # type: ignore[attr-defined]
    else:
        status, error, code = 500, f"Unhandled exception: {type(exc).__name__}: {exc}", UNEXPECTED_ERROR
    try:
        return JSONResponse({"error": error}, status, _headers(code))
    except (TypeError, ValueError) as not_json:  # The detail of an HTTPException may be any object.
        return error_response(not_json)


def with_error_headers(response: Response) -> Response:
    """Add Truss's error headers to a model's own response if the status is 300 or above. Return the response."""
    if response.status_code >= 300:
        response.headers.update(_headers(CLIENT_ERROR))
    return response


def is_http_exception(exc: Exception) -> bool:
    """Return whether an exception is FastAPI's HTTPException. A model raises it to send its own error response."""
    # Importing FastAPI is slow. It is not needed here, because a model that raises the exception has imported FastAPI.
    fastapi = sys.modules.get("fastapi")
    return fastapi is not None and isinstance(exc, fastapi.HTTPException)


def chain_error(exc: Exception) -> ContainerError:
    """Return the error response for an exception that a chain raised. The body contains the exception and traceback."""
    frames = traceback.extract_tb(exc.__traceback__)
    user_frames = [frame for frame in frames if not frame.filename.startswith(_EMULATOR_DIRECTORY)]
    description = {
        "exception_cls_name": type(exc).__name__,
        "exception_module_name": getattr(exc, "__module__", None),  # Built-in exceptions have no __module__.
        "exception_message": str(exc),
        "user_stack_trace": [
            {"filename": frame.filename, "lineno": frame.lineno, "name": frame.name, "line": frame.line}
            for frame in user_frames
        ],
    }
    status = exc.status_code if is_http_exception(exc) else 500  # type: ignore[attr-defined]
    return ContainerError(status, description, MODEL_ERROR)


def _headers(code: str) -> dict[str, str]:
    return {"X-BASETEN-ERROR-SOURCE": "04", "X-BASETEN-ERROR-CODE": code}
