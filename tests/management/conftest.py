"""An emulator with models, a connection to it, and what tasks have logged."""

import datetime
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Durations, Emulator, Model, Scaling

KEY, INVOKE = "manage.key", "invoke.key"
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
NOW = {"retries": 1, "retry_delay": datetime.timedelta(0)}


def echo(model_input: Any) -> Any:
    return model_input


def options(deferrable: bool = False, **others: Any) -> dict[str, Any]:
    return {"deferrable": deferrable, "poll_interval": 0.3, "timeout": 60, **others}


class OneEntry:
    """Ledger in memory."""

    entry = None

    def read(self):
        return self.entry

    def write(self, entry):
        self.entry = entry


@pytest.fixture
def baseten(connect: Any, tmp_path: Any) -> Iterator[Emulator]:
    scaling = Scaling(min_replica=0, max_replica=2, cold_start=0.5)
    models = {
        "abc": Model(echo, environments=("production", "staging")),
        "cold": Model(echo, scaling=scaling),
        "broken": lambda model_input: 1 / 0,
    }
    durations = Durations(deploy=0.5, deactivate=0.5, update=0.5, release=0.5, ramp_up=0.8, training_deploy=0.3)
    keys: Any = {KEY: "WORKSPACE_MANAGE_ALL", INVOKE: "WORKSPACE_INVOKE"}
    with Emulator(models=models, chains={"xyz": echo}, api_keys=keys, durations=durations) as emulator:
        extra = {"management_api_key": KEY, "result_store": f"file://{tmp_path}/store"}
        connect(host=emulator.url, password=INVOKE, extra=extra)
        yield emulator


@pytest.fixture
def logged(capfd: Any, caplog: Any) -> Iterator[Callable[[], str]]:
    """What tasks and triggers have logged, with lines joined."""
    with caplog.at_level(logging.INFO):
        yield lambda: " ".join(f"{capfd.readouterr().out} {caplog.text}".split())
