"""Chainlets that `truss_chains` generated, run by Truss's own server behind the emulator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_baseten.emulator import Emulator, Upstream
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.waiting import state
from tests.receiver import receiver

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "emulator" / "truth"))

from truth_support import serve_trusses, truss_python  # noqa: E402

KEY = "abcd1234.s3cr3t"
SECRET = "whsec_test"
CHAINLETS = ("Repeat", "Lines")


@pytest.fixture(scope="session")
def chainlets(tmp_path_factory):
    """Base URLs of the chainlets' servers."""
    python, folder = truss_python(), tmp_path_factory.mktemp("chains")
    command = [python, HERE / "generate.py", HERE / "workspace" / "chains.py", *CHAINLETS]
    # The generator formats with ruff, and writes below the folder for temporary files.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    with serve_trusses(python, folder, map(Path, done.stdout.split())) as servers:
        yield {name.removeprefix("chainlet_"): url for name, url in servers.items()}


@pytest.fixture
def baseten(chainlets, connect, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "GRACE", 1.0)
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.2")
    store = f"file://{tmp_path}/store"
    known = BasetenConnection(
        conn_id="baseten_default", api_key=KEY, management_api_key=KEY, webhook_secrets=(SECRET,), result_store=store
    )
    chains = {"repeat": Upstream(chainlets["Repeat"]), "lines": Upstream(chainlets["Lines"])}
    with (
        receiver({"baseten_default": known}.get) as receiver_url,
        Emulator(chains=chains, api_key=KEY, webhook_secrets=[SECRET]) as emulator,
    ):
        endpoint = f"{receiver_url}/webhooks/baseten_default"
        extra = {"result_store": store, "webhook_endpoint": endpoint, "webhook_secrets": [SECRET]}
        connect(host=emulator.url, password=KEY, extra=extra)
        yield emulator
        emulator.release()
