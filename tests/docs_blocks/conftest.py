"""Fixtures of the tests of code blocks."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs_blocks.collect import blocks
from tests.docs_blocks.internet import internet
from tests.docs_blocks.world import World, world


@pytest.fixture(scope="package")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world of all blocks."""
    with world(blocks(), tmp_path_factory.mktemp("docs")) as made:
        yield made


@pytest.fixture(scope="package")
def outside(around: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables that lead to what there is of the internet."""
    with internet(around.url, tmp_path_factory.mktemp("internet")) as variables:
        yield variables


@pytest.fixture
def here(around: World, outside: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the same files, with this process among them."""
    from airflow.sdk.io import store

    folder = tmp_path / "here"
    shutil.copytree(around.folder, folder)
    for name, value in {**around.environment, **outside}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    around.fill_bucket()
    yield replace(around, folder=folder)
    for name in [name for name in store._STORE_CACHE if name.startswith("s3")]:
        del store._STORE_CACHE[name]
