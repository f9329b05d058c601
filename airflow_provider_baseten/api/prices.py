"""Prices of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

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


def read_price(model_api: Mapping[str, Any]) -> ModelPrice | None:
    """Return the price of a Model API; ``None`` if the price of its input or output is unknown.

    :param model_api: fields of a Model API in the management API, or an object with the same two fields.
    """
    prices = [_read_usd(model_api.get(field)) for field in (INPUT_PRICE, OUTPUT_PRICE)]
    return ModelPrice(*prices) if None not in prices else None  # type: ignore[arg-type]


def _read_usd(value: object) -> Decimal | None:
    """Return a price that is a number or a decimal string; ``None`` for anything else, and for a negative number."""
    if not isinstance(value, str | int | float | Decimal) or isinstance(value, bool):
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price >= 0 else None
