"""Headless Chromium for the tests with the marker `browser`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from selenium import webdriver

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,1500",
)


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium with a profile in `folder`; a picture of its last page is there afterwards."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        lacks("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.save_screenshot(str(folder / "end.png"))
        browser.quit()


def lacks(what: str) -> NoReturn:
    """Skip the test, or fail it in CI, where everything is installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
