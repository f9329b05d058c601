"""Widths of the built pages in a headless Chromium."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser import chromium
from tests.docs_blocks.collect import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.processes]

# Code blocks whose lines end outside of the block, tables and pictures that end outside of the page's text.
TOO_WIDE = """
const edge = document.querySelector("article").getBoundingClientRect().right;
const tooWide = [...document.querySelectorAll("article pre")].filter(e => e.scrollWidth > e.clientWidth + 1);
const outside = [...document.querySelectorAll("article :is(table, img, svg)")].filter(
    e => e.getBoundingClientRect().right > edge + 6  // Furo's tables have a margin of a few pixels.
);
return [...tooWide, ...outside].map(e => (e.innerText || e.src || e.tagName).slice(0, 80));
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pages of the documentation."""
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", ROOT / "docs", folder]
    subprocess.run(command, check=True, env={**os.environ, "AIRFLOW_HOME": str(folder / "airflow")})
    return sorted(folder.glob("**/*.html"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.mark.parametrize("width", [1280, 1440])
def test_code_tables_and_pictures_fit_into_the_page(pages: list[Path], browser: webdriver.Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert pages
    found = {}
    for page in pages:
        browser.get(page.as_uri())
        if too_wide := browser.execute_script(TOO_WIDE):
            found[page.name] = too_wide
    assert not found
