"""Links of the README, which are whole URLs for the package index, and pictures of the documentation."""

import re
from pathlib import Path

import pytest

from tests.docs_blocks.collect import ROOT

README = (ROOT / "README.md").read_text()
LINKED = re.findall(r"(?:/(?:blob|tree)|githubusercontent\.com/[\w-]+/[\w-]+)/main/([^)\s]+)", README)
MAX_PICTURE_BYTES = 150_000


@pytest.mark.parametrize("path", LINKED)
def test_linked_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_no_link_is_relative() -> None:
    assert LINKED
    assert not re.findall(r"\]\((?!https://)", README)


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").iterdir()), ids=lambda picture: picture.name)
def test_pictures_are_small(picture: Path) -> None:
    assert picture.stat().st_size < MAX_PICTURE_BYTES
