"""World in which the blocks run: a Baseten, a bucket, connections, and the files that they name."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_baseten.emulator import Emulator, Model
from airflow_provider_baseten.hooks.connection import BasetenConnection
from tests.docs_blocks.answers import SERVER
from tests.docs_blocks.collect import Block
from tests.receiver import receiver
from tests.s3_server import S3Server

KEY = "abcd1234.emulator-key"
SECRET = "whsec_docs"
# Of the documentation.
BUCKET = "bucket"
# Where the documentation has the emulator.
DOCUMENTED = "http://127.0.0.1:8700"
# Model of the documentation's connection for the common AI provider.
_LLM = "deepseek-ai/DeepSeek-V4-Pro"
_ENVIRONMENTS = ("production", "development", "staging")
_ROWS = [
    {"id": f"T-{n}", "ticket_id": f"T-{n}", "text": "Wo ist mein Paket?", "title": "Paket", "body": "Wo?"}
    for n in range(5)
]


@dataclass
class World:
    """What blocks find around them.

    :param url: base URL of the Baseten that answers them.
    :param folder: working folder.
    :param environment: environment variables.
    :param s3: the server with the bucket.
    """

    url: str
    folder: Path
    environment: dict[str, str]
    s3: S3Server

    def fill_bucket(self) -> None:
        """Leave nothing in the bucket but the files that blocks read."""
        bucket = self.folder / "buckets" / BUCKET
        self.s3.fill(BUCKET, {str(file.relative_to(bucket)): file.read_bytes() for file in bucket.rglob("*.*")})

    def pasted(self, text: str) -> str:
        """A block's text, but for the port of the Baseten that it names, and for the folder of data on the machine."""
        return text.replace(DOCUMENTED, self.url).replace("file:///data/", f"{self.folder.as_uri()}/data/")


@contextmanager
def world(blocks: list[Block], folder: Path) -> Iterator[World]:
    """Make it: every model, chain and connection that a block names is there."""
    text = "\n".join(block.text for block in blocks)
    store = (folder / "store").as_uri()
    known = BasetenConnection(
        conn_id="baseten_default", api_key=KEY, management_api_key=KEY, webhook_secrets=(SECRET,), result_store=store
    )
    models = _named(text, r"""model_id=(?:model := )?["'](\w+)|--model-id[ =](\w+)|baseten:(\w+)["'@]|model-(\w+)/""")
    models |= _named(text, r"""["']([a-z]{4}\d{4})["']""")
    chains = _named(text, r"""chain_id=["'](\w+)|--chain-id[ =](\w+)|chain-(\w+)/""")
    slugs = _named(text, r"""\bmodel(?:_id)?["']?[=:] ?["'](?:baseten:)?([\w.-]+/[\w.-]+)["']""")
    with (
        receiver({"baseten_default": known}.get) as receiver_url,
        S3Server(folder.with_suffix(".s3.log"), BUCKET) as s3,
        Emulator(
            models=dict.fromkeys(models, Model(SERVER, environments=_ENVIRONMENTS)),
            chains=dict.fromkeys(chains, Model(SERVER, environments=_ENVIRONMENTS)),
            model_apis=dict.fromkeys(slugs, SERVER),
            model_prices=dict.fromkeys(slugs, (0.5, 2)),
            webhook_secrets=[SECRET],
        ) as baseten,
    ):
        extra = {
            "result_store": store,
            "webhook_endpoint": f"{receiver_url}/webhooks/baseten_default",
            "webhook_secrets": [SECRET],
        }
        connection = {"conn_type": "baseten", "host": baseten.url, "password": KEY, "extra": extra}
        connections = {"baseten_default"} | _named(text, r"""conn_id=["'](\w+)|--conn-id[ =](\w+)""")
        environment = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection) for name in connections}
        http = {"conn_type": "http", "host": "https://model-abcd1234.api.baseten.co", "password": KEY}
        for name in _named(text, r"""http_conn_id=["'](\w+)"""):
            environment[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(http)
        llm = {"conn_type": "pydanticai_baseten", "host": baseten.url, "password": KEY, "extra": {"model": _LLM}}
        for name in _named(text, r"""llm_conn_id=["'](\w+)|fallback_conn_ids=\[["'](\w+)"""):
            environment[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(llm)
        environment |= {
            "BASETEN_API_KEY": KEY,
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(s3.connection),
            "AIRFLOW__BASETEN__RESULT_STORE": store,
            "AIRFLOW__BASETEN__STORE_CHECK_INTERVAL": "0.2",
        }
        _write_files(text, folder)
        made = World(baseten.url, folder, environment, s3)
        made.fill_bucket()
        yield made


def shell_environment(home: Path) -> dict[str, str]:
    """Variables of a shell with an Airflow of its own, and where nothing is installed."""
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "HOME": str(home),
        "MAKEFLAGS": "n",  # Names of targets are checked, and nothing is made.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
    }


def _named(text: str, pattern: str) -> set[str]:
    return {name for match in re.finditer(pattern, text) for name in match.groups() if name}


def _write_files(text: str, folder: Path) -> None:
    """Write the inputs that blocks read: rows at each ``input_path``, a Truss, and input for a shell."""
    jsonl = "".join(f"{json.dumps(row)}\n" for row in _ROWS)
    days = [datetime.now(UTC).date() + timedelta(days) for days in (0, 1)]
    for path in _named(text, r"""input_path=["']([^"']+)["']"""):
        for day in days:
            place = re.sub(r"\{\{.*?\}\}", day.isoformat(), path)
            place = re.sub(r"^s3://(\w+@)?", f"{folder}/buckets/", place)
            file = folder / place if Path(place).suffix else folder / place / "rows.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(jsonl)
    for path in _named(text, r"""file_path=["']s3://\w+@([^"']+)["']"""):
        (folder / "buckets" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "buckets" / path).write_text("ERROR: no disk space\n")
    for path in _named(text, r"""file:///data/(\w+)/"""):
        (folder / "data" / path).mkdir(parents=True, exist_ok=True)
        (folder / "data" / path / "rows.csv").write_text("id,text\n1,Wo?\n")
    for name in ("input.json", "prompt.json"):
        (folder / name).write_text('{"text": "Wo ist mein Paket?"}')
    for name in _named(text, r"=\./([\w-]+)"):
        (folder / name / "model").mkdir(parents=True, exist_ok=True)
        (folder / name / "config.yaml").write_text("model_name: docs\n")
        (folder / name / "model" / "model.py").write_text(
            "class Model:\n    def predict(self, model_input):\n        return model_input\n"
        )
