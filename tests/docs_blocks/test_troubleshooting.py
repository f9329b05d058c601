"""The page on troubleshooting quotes messages as they are, and has every public error."""

import ast
import re
from collections.abc import Iterator

import pytest

from airflow_provider_baseten import exceptions
from tests.docs_blocks.collect import ROOT, Block, blocks
from tests.docs_blocks.provoked import provoke_errors

QUOTES = [block for block in blocks() if block.page == "troubleshooting.rst" and block.language == "text"]
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text()


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return provoke_errors(tmp_path_factory.mktemp("provoked"))


def log_lines() -> Iterator[re.Pattern[str]]:
    """Yield a pattern for each line that the package logs with arguments."""
    for file in (ROOT / "airflow_provider_baseten").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"info", "warning", "error"}:
                text = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value
                if isinstance(text, str) and re.search(r"\w{3}", text):
                    yield re.compile(r"\S.*".join(map(re.escape, re.split(r"%(?:\.\d)?\w", text))))


@pytest.mark.parametrize("block", QUOTES, ids=lambda block: block.name)
def test_a_quoted_message_is_one_of_the_package(block: Block, messages: list[str]) -> None:
    words = " ".join(block.text.split())
    assert any(words in message for message in messages) or any(line.fullmatch(words) for line in log_lines())


@pytest.mark.parametrize("name", [name for name in vars(exceptions) if re.fullmatch(r"Baseten\w+Error", name)])
def test_every_public_error_is_on_the_page(name: str) -> None:
    assert f"``{name}``" in PAGE
