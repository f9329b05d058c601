"""Token usage of the Model APIs, as the responses of the models report it."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request.

    :param time: time in seconds since the epoch.
    :param model: slug of the model.
    :param key_prefix: prefix of the API key, ``None`` if it has none.
    :param input_tokens: tokens of the input, with those from the cache.
    :param cached_input_tokens: tokens of the input that came from the cache.
    :param output_tokens: tokens of the output.
    """

    time: float
    model: str
    key_prefix: str | None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0


#: Usage of the most recent requests.
UsageLog = deque[TokenUsage]


def cost(usage: TokenUsage, prices: Mapping[str, tuple[float, float]]) -> float:
    """Return the cost of a request in USD, 0 for a model without prices.

    :param usage: tokens of the request.
    :param prices: slug -> prices of a million tokens of input and of output in USD.
    """
    input_price, output_price = prices.get(usage.model, (0.0, 0.0))
    return (usage.input_tokens * input_price + usage.output_tokens * output_price) / 1e6


def read_usage(body: bytes) -> dict[str, int]:
    """Return the fields of :class:`TokenUsage` that a response reports, none of them if it reports no usage.

    :param body: response body in JSON, or a stream of server-sent events.
    """
    usage: Any = None
    for line in body.splitlines() if body.startswith(b"data:") else [body]:
        try:
            content = json.loads(line.removeprefix(b"data:"))
        except ValueError:
            continue
        usage = (content.get("usage") if isinstance(content, dict) else None) or usage
    if not isinstance(usage, dict):
        return {}
    details = usage.get("prompt_tokens_details")
    return {
        "input_tokens": _integer(usage.get("prompt_tokens")),
        "cached_input_tokens": _integer(details.get("cached_tokens") if isinstance(details, dict) else 0),
        "output_tokens": _integer(usage.get("completion_tokens")),
    }


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0
