"""Prices of tokens, and the request that reads the price of a Model API."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.deployments import build_management_get
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError

#: Fields of the management API that hold the price of a Model API.
INPUT_PRICE = "cost_per_million_input_tokens"
OUTPUT_PRICE = "cost_per_million_output_tokens"

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Price of a model's tokens in USD.

    :param input: price of a million tokens of the prompt.
    :param output: price of a million tokens of the output.
    """

    input: Decimal
    output: Decimal

    def cost_of(self, tokens: Mapping[str, int]) -> Decimal:
        """Return the cost of tokens in USD.

        Cached tokens have the price of other tokens of the prompt, because Baseten publishes no price for them with the
        others. So the cost is an upper bound for a model whose cached tokens are cheaper.

        :param tokens: number of tokens by kind, as in ``usage`` of a response: ``prompt_tokens``,
            ``completion_tokens``; other kinds are ignored, because they are parts or sums of these two.

        >>> ModelPrice(Decimal("0.50"), Decimal(2)).cost_of({"prompt_tokens": 1000, "completion_tokens": 500})
        Decimal('0.0015')
        """
        spent = self.input * tokens.get("prompt_tokens", 0) + self.output * tokens.get("completion_tokens", 0)
        return (spent / _MILLION).normalize()


def build_get_model_api(slug: str) -> Request:
    """Build the request for one of the Model APIs, with its price.

    :param slug: name of the model, for example ``deepseek-ai/DeepSeek-V4-Pro``.
    :raises BasetenInputError: the slug is not a name.
    """
    if not isinstance(slug, str) or not slug.strip() or not slug.isprintable() or slug in {".", ".."}:
        raise BasetenInputError(f"The slug {shown(slug)} of a Model API is not valid.")
    request = build_management_get(f"/v1/model_apis/{quote(slug, safe='')}")
    return replace(request, subject=f"GET of Model API {slug}", advice=advice.MODEL_API_PRICE)


def read_price(model_api: Mapping[str, Any]) -> ModelPrice | None:
    """Return the price of a Model API; ``None`` if the price of its input or output is unknown.

    :param model_api: object of the management API, or an object with the same two fields.
    """
    prices = [_read_usd(model_api.get(field)) for field in (INPUT_PRICE, OUTPUT_PRICE)]
    return ModelPrice(*prices) if None not in prices else None  # type: ignore[arg-type]


def _read_usd(value: object) -> Decimal | None:
    """Return a price that is a number or a decimal string; ``None`` for anything else, and for a negative number."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price >= 0 else None
