"""Routes of the management API: method, path, and the function that makes the content of the response."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.management.workspace import Caller, Workspace

Content = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)


class RequestBody(BaseModel):
    """Base of request bodies whose unknown fields are ignored. A value of another type is an error."""

    model_config = ConfigDict(strict=True, protected_namespaces=())


class ClosedBody(RequestBody):
    """Base of request bodies whose unknown fields are an error."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ManagementRequest:
    """Request to the management API.

    :param parameters: name of a placeholder in the route's path -> its value in the request.
    :param query: values of each query parameter.
    :param caller: who sent the request.
    :param content: parsed request body; ``None`` if the route has none.
    :param base_url: URL of the emulator, for links to its own files.
    """

    parameters: Mapping[str, str]
    query: Mapping[str, list[str]]
    caller: Caller
    content: BaseModel | None = None
    base_url: str = ""

    def body(self, type_: type[Body]) -> Body:
        """Return the parsed request body.

        :param type_: type that the route table names for the body.
        """
        if not isinstance(self.content, type_):
            raise TypeError(f"This route has no {type_.__name__}.")
        return self.content


Handler = Callable[[Workspace, ManagementRequest], Content]


@dataclass(frozen=True, slots=True)
class Route:
    """Route of the management API.

    :param method: HTTP method.
    :param path: path without ``/v1/``, with placeholders such as ``{id}``; only ``{slug}`` may stand for a slash.
    :param handler: function that returns the JSON content of the response.
    :param body: type of the request body, ``None`` if the route ignores it.
    :param per_minute: maximum number of calls a minute, by default 100 a second.
    """

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    per_minute: int | None = None
    per_second: int = 100
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        path = self.path.replace("{slug}", "(?P<slug>.+)")
        object.__setattr__(self, "pattern", re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)))

    @property
    def rate(self) -> tuple[int, float]:
        """Maximum number of calls, and the seconds in which they may be made."""
        return (self.per_second, 1.0) if self.per_minute is None else (self.per_minute, 60.0)

    def parse_body(self, content: bytes) -> BaseModel | None:
        """Parse a request body.

        :raises GatewayError: 400 for a body that is not as documented. The message names the field, not its value.
        """
        if self.body is None:
            return None
        try:
            return self.body.model_validate_json(content or b"{}")
        except ValidationError as error:
            raise invalid(error) from None


def invalid(error: ValidationError) -> GatewayError:
    """Return the error for a request whose values are not as documented. It names the field, not its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return bad_request(f"{name or 'The body'}: {first['msg']}")


def find_route(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route for a request, and the values of the placeholders in its path.

    :param routes: the routes; among those that match, the first one is used.
    :param method: HTTP method.
    :param path: path without ``/v1/``.
    :raises GatewayError: 404 for an unknown path, 405 for a method that the path does not support.
    """
    matching = [(route, match.groupdict()) for route in routes if (match := route.pattern.fullmatch(path))]
    if not matching:
        raise GatewayError(404, f"No such path: /v1/{path[:200]}")
    for route, parameters in matching:
        if route.method == method:
            return route, parameters
    allowed = ", ".join(dict.fromkeys(route.method for route, _ in matching))
    raise GatewayError(405, f"{method} is not allowed here, use {allowed}.", None, {"Allow": allowed})
