"""Prices of Model APIs: the request, the values of the management API, and the cost of tokens in USD."""

import asyncio
from decimal import Decimal

import pytest

from airflow_provider_baseten.api.management.model_apis import get_model_api
from airflow_provider_baseten.api.prices import ModelPrice, read_price
from airflow_provider_baseten.client.client import AsyncClient, Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError, BasetenNotFoundError


def prices(**fields):
    return {f"cost_per_million_{name}_tokens": value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("tokens", "usd"),
    [
        ({}, "0"),
        ({"prompt_tokens": 1_000_000}, "0.6"),
        ({"completion_tokens": 1}, "0.0000025"),
        ({"prompt_tokens": 1234, "completion_tokens": 567, "total_tokens": 1801, "cached_tokens": 1000}, "0.0021579"),
    ],
)
def test_cost(tokens, usd):
    assert ModelPrice(Decimal("0.6"), Decimal("2.50")).cost_of(tokens) == Decimal(usd)


@pytest.mark.parametrize(
    ("model_api", "price"),
    [
        (prices(input="0.13", output="0.50"), ModelPrice(Decimal("0.13"), Decimal("0.50"))),
        (prices(input=0.1, output=2), ModelPrice(Decimal("0.1"), Decimal(2))),
        (prices(input=0, output="0"), ModelPrice(Decimal(0), Decimal(0))),
        *[(prices(input="0.1", output=value), None) for value in (None, "", "free", -1, True, [], "NaN", "inf")],
        (prices(output="0.1"), None),
        ({}, None),
    ],
)
def test_values_of_the_management_api(model_api, price):
    assert read_price(model_api) == price


@pytest.mark.parametrize("slug", ["", " ", ".", "..", None, 7, "a\nb"])
def test_what_can_not_be_a_slug_is_not_sent(slug):
    with pytest.raises(BasetenInputError, match="slug"):
        get_model_api(slug)


def test_price_is_read_from_the_management_api():
    def echo(model_input):
        return model_input

    with Emulator(
        model_apis={"org/A-1": echo, "org/B": echo},
        model_prices={"org/A-1": (0.13, 2.5)},
        api_key="manage.key",
        api_keys={"invoke.key": "WORKSPACE_INVOKE"},
    ) as baseten:
        credentials = Credentials(api_key="manage.key", base_url=baseten.url)
        with Client(credentials) as client:
            known = client.management.get_model_api("org/A-1")
            assert known.name == "org/A-1"
            assert read_price(known.model_dump()) == ModelPrice(Decimal("0.13"), Decimal("2.5"))
            assert read_price(client.management.get_model_api("org/B").model_dump()) is None
            with pytest.raises(BasetenNotFoundError, match=r"reading Model API org/C returned 404.*Check the slug"):
                client.management.get_model_api("org/C")

        async def again():
            async with AsyncClient(credentials) as client:
                return await client.management.get_model_api("org/A-1")

        assert asyncio.run(again()) == known
        with (
            Client(Credentials(api_key="invoke.key", base_url=baseten.url)) as client,
            pytest.raises(BasetenAuthError, match=r"403.*management_api_key"),
        ):
            client.management.get_model_api("org/A-1")
        assert {request.path for request in baseten.requests} == {
            f"/v1/model_apis/org%2F{name}" for name in ("A-1", "B", "C")
        }
