"""Options of the section ``[baseten]``: provider info, readers and defaults agree."""

import ast
from pathlib import Path

import pytest

import airflow_provider_baseten
from airflow_provider_baseten import config
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.get_provider_info import get_provider_info

PACKAGE = Path(airflow_provider_baseten.__file__).parent
DESCRIBED = get_provider_info()["config"]["baseten"]["options"]
TEXTS = {option.name for option in config.OPTIONS if option.type == "string"}


def set_option(monkeypatch, option, value):
    monkeypatch.setenv(f"AIRFLOW__BASETEN__{option.name.upper()}", value)


def readers(constant):
    """Modules that call ``config.<constant>.get()``."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node) == f"config.{constant}.get()":
                yield file


def test_airflow_knows_each_option():
    assert set(DESCRIBED) == {option.name for option in config.OPTIONS}


@pytest.mark.parametrize("option", config.OPTIONS, ids=lambda option: option.name)
class TestOption:
    def test_something_reads_it(self, option):
        assert getattr(config, option.name.upper()) is option
        assert list(readers(option.name.upper()))

    def test_default_is_that_of_the_provider_info(self, option, monkeypatch):
        assert option.get() == option.default
        set_option(monkeypatch, option, DESCRIBED[option.name]["default"])
        assert option.get() == option.default

    def test_an_empty_value_is_the_default(self, option, monkeypatch):
        set_option(monkeypatch, option, "")
        assert option.get() == option.default

    def test_value(self, option, monkeypatch):
        set_option(monkeypatch, option, " /17 " if option.name in TEXTS else " 17 ")
        assert option.get() == ("/17" if option.name in TEXTS else 17)


@pytest.mark.parametrize("value", ["some", "-1", "nan", "inf", "1 GB", "\u0661x", "9" * 400])
@pytest.mark.parametrize(
    "option", [option for option in config.OPTIONS if option.name not in TEXTS], ids=lambda option: option.name
)
def test_wrong_value(option, value, monkeypatch):
    set_option(monkeypatch, option, value)
    with pytest.raises(BasetenInputError, match=rf"^\[baseten\] {option.name}='.* is not a number"):
        option.get()


@pytest.mark.parametrize("option", config.OPTIONS, ids=lambda option: option.name)
def test_zero(option, monkeypatch):
    set_option(monkeypatch, option, "0")
    if option is config.XCOM_MAX_BYTES:
        assert option.get() == 0
    elif option.name not in TEXTS:
        with pytest.raises(BasetenInputError, match=option.name):
            option.get()
