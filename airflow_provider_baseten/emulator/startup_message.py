"""Lines that the emulator prints when it has started: addresses, and what to paste to call it."""

import json
import shlex
from typing import Any

from airflow_provider_baseten.emulator.emulator import Emulator

_INPUT = {"text": "Wo ist mein Paket?"}


def build_startup_message(emulator: Emulator, api_key: str | None) -> list[str]:
    """Return the lines.

    :param emulator: it runs.
    :param api_key: key that callers need, ``None`` if every request is accepted.
    """
    calls = _calls(emulator)
    url, body = next(iter(calls))
    return [
        f"Baseten emulator on {emulator.url}, {'with' if api_key else 'without'} API key; stop it with Ctrl-C.",
        *(f"  {_described(url, body)}" for url, body in calls),
        "Call it, with an input that the model takes:",
        f"  {_curl(url, body, api_key)}",
        "Let Airflow call it:",
        f"  {_connection(emulator.url, api_key)}",
    ]


def _calls(emulator: Emulator) -> list[tuple[str, Any]]:
    """Return URL and body of a call of everything that is served."""
    calls: list[tuple[str, Any]] = []
    for endpoint in (*emulator.models.values(), *emulator.chains.values()):
        action = "predict" if endpoint.kind == "model" else "run_remote"
        base = f"{emulator.url}/{endpoint.kind}-{endpoint.id}/environments"
        calls += [(f"{base}/{name}/{action}", _INPUT) for name in endpoint.environments if name != "development"]
    for slug in emulator.model_apis:
        body = {"model": slug, "messages": [{"role": "user", "content": _INPUT["text"]}]}
        calls.append((f"{emulator.url}/inference/v1/chat/completions", body))
    return calls


def _described(url: str, body: Any) -> str:
    return f"{url} with the model {body['model']}" if "model" in body else url


def _curl(url: str, body: Any, api_key: str | None) -> str:
    headers = ["-H", f"Authorization: Bearer {api_key}"] if api_key else []
    return shlex.join(["curl", url, *headers, "-d", json.dumps(body)])


def _connection(url: str, api_key: str | None) -> str:
    password = api_key or "any-key-is-accepted"
    fields = ["--conn-type", "baseten", "--conn-host", url, "--conn-port", "0", "--conn-password", password]
    return shlex.join(["airflow", "connections", "add", "baseten_default", *fields])
