"""Every block of the documentation runs in one of the tests here, and what is no program is read as what it is."""

import configparser
import json
import tomllib
from importlib.metadata import metadata

import pytest
import yaml
from airflow.sdk import Connection
from packaging.requirements import Requirement

from airflow_provider_baseten.get_provider_info import get_provider_info
from airflow_provider_baseten.hooks.connection import BasetenConnection
from tests.docs_blocks.collect import ROOT, Block, blocks
from tests.docs_blocks.test_python import PYTHON
from tests.docs_blocks.test_shell import SHELL


def of_json(block: Block) -> None:
    value = json.loads(block.text)
    if block.page == "connection.rst":
        fields = value if "conn_type" in value else {"conn_type": "baseten", "password": "abcd1234.key", "extra": value}
        BasetenConnection.from_airflow(Connection.from_json(json.dumps(fields), conn_id="baseten_default"))


def of_ini(block: Block) -> None:
    """Options are those that Airflow knows of this package."""
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    if parser.has_section("baseten"):
        assert set(parser["baseten"]) <= set(get_provider_info()["config"]["baseten"]["options"])


def of_toml(block: Block) -> None:
    tomllib.loads(block.text)


def of_yaml(block: Block) -> None:
    """Environment variables for containers are options and connections that can be read."""
    value = yaml.safe_load(block.text)
    assert value
    for name, text in value.get("x-airflow-common", {}).get("environment", {}).items():
        if name.startswith("AIRFLOW_CONN_"):
            BasetenConnection.from_airflow(Connection.from_json(text, conn_id="baseten_default"))
        else:
            option = name.removeprefix("AIRFLOW__BASETEN__").lower()
            assert option in get_provider_info()["config"]["baseten"]["options"]


def of_file(block: Block) -> None:
    """The example DAGs, the example models and the configuration of nginx run in tests of their own."""
    shown = {*(ROOT / "example_dags").glob("**/*.py"), ROOT / "docs" / "nginx.conf"}
    assert (ROOT / "docs" / block.text).resolve() in shown


def of_text(block: Block) -> None:
    """What a program prints, or requirements of pip."""
    if block.text.startswith("--constraint"):
        assert _own_requirements(block.text.splitlines()[1:])


def of_dockerfile(block: Block) -> None:
    lines = block.text.splitlines()
    assert {line.split()[0] for line in lines} <= {"FROM", "RUN", "USER"}
    assert _own_requirements([line.split()[-1] for line in lines if line.startswith("RUN pip install ")])


def _own_requirements(texts: list[str]) -> bool:
    """Whether all are requirements of this package, with extras that it has."""
    requirements = [Requirement(text) for text in texts]
    extras = set(metadata("airflow-provider-baseten").get_all("Provides-Extra"))
    names = {requirement.name for requirement in requirements}
    return names == {"airflow-provider-baseten"} and all(requirement.extras <= extras for requirement in requirements)


READERS = {
    "json": of_json,
    "ini": of_ini,
    "cfg": of_ini,
    "toml": of_toml,
    "yaml": of_yaml,
    "dockerfile": of_dockerfile,
    "text": of_text,
    "file": of_file,
}
OTHERS = [block for block in blocks() if block not in {*PYTHON, *SHELL}]


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: block.name)
def test_is_read(block: Block) -> None:
    assert block.language in READERS, (
        f"No test runs {block.name}, which is {block.language}: let one do so. A Python block that can't stand alone "
        "begins with the comment '# Part of ...'."
    )
    READERS[block.language](block)


def test_there_are_blocks() -> None:
    assert {block.page for block in blocks()} >= {"README.md", "index.rst", "predict.rst", "batch.rst"}
