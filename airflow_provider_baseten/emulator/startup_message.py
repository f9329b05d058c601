"""Startup message of the emulator: URLs, and the commands that call a model and add an Airflow connection."""

import json
import shlex
from typing import Any

from airflow_provider_baseten.emulator.emulator import Emulator

_EXAMPLE_INPUT = {"text": "Wo ist mein Paket?"}


def build_startup_message(emulator: Emulator, api_key: str | None) -> list[str]:
    """Return the lines of the message.

    :param emulator: running emulator.
    :param api_key: API key for the commands, ``None`` if the emulator accepts every request.
    """
    calls = _list_calls(emulator)
    url, body = next(iter(calls))
    return [
        f"Baseten emulator on {emulator.url}, {'with' if api_key else 'without'} API key; stop it with Ctrl-C.",
        *(f"  {_describe_call(url, body)}" for url, body in calls),
        "Call it, with an input for your model:",
        f"  {_make_curl_command(url, body, api_key)}",
        "Add an Airflow connection to it:",
        f"  {_make_airflow_command(emulator.url, api_key)}",
    ]


def _list_calls(emulator: Emulator) -> list[tuple[str, Any]]:
    """Return the URL and the body of each example call.

    There is one call for each environment except ``development``, and one for each model of the Model APIs.
    """
    calls: list[tuple[str, Any]] = []
    for endpoint in (*emulator.models.values(), *emulator.chains.values()):
        action = "predict" if endpoint.kind == "model" else "run_remote"
        base = f"{emulator.url}/{endpoint.kind}-{endpoint.id}/environments"
        calls += [
            (f"{base}/{name}/{action}", _EXAMPLE_INPUT) for name in endpoint.environments if name != "development"
        ]
    for slug in emulator.model_apis:
        body = {"model": slug, "messages": [{"role": "user", "content": _EXAMPLE_INPUT["text"]}]}
        calls.append((f"{emulator.url}/inference/v1/chat/completions", body))
    return calls


def _describe_call(url: str, body: Any) -> str:
    return f"{url} with the model {body['model']}" if "model" in body else url


def _make_curl_command(url: str, body: Any, api_key: str | None) -> str:
    headers = ["-H", f"Authorization: Bearer {api_key}"] if api_key else []
    return shlex.join(["curl", url, *headers, "-d", json.dumps(body)])


def _make_airflow_command(url: str, api_key: str | None) -> str:
    password = api_key or "any-key-is-accepted"
    fields = ["--conn-type", "baseten", "--conn-host", url, "--conn-port", "0", "--conn-password", password]
    return shlex.join(["airflow", "connections", "add", "baseten_default", *fields])
