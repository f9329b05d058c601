"""Sphinx configuration."""

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

# Autodoc imports Airflow, which writes a configuration file.
os.environ.setdefault("AIRFLOW_HOME", str(Path(__file__).parent / "_build" / "airflow"))

sys.path.insert(0, str(Path(__file__).parent))

project = "airflow-provider-baseten"
author = "The airflow-provider-baseten authors"
project_copyright = author
version = release = installed_version("airflow-provider-baseten")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest", "pictures", "tables"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
html_theme = "furo"
html_theme_options = {"light_css_variables": {"code-font-size": "75%"}}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_logo = "../airflow_provider_baseten/logo.svg"
exclude_patterns = ["_build"]


def convert_changelog(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Convert the Markdown of CHANGELOG.md, which the page `changelog` includes, to reStructuredText."""
    if path.name == "CHANGELOG.md":
        content[0] = rst_of_markdown(content[0])


def rst_of_markdown(text: str) -> str:
    """Return headings, code and links in the syntax of reStructuredText; paragraphs and lists are the same in both."""
    text = re.sub(r"`([^`]+)`", r"``\1``", text)
    text = re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", text)
    return re.sub(
        r"^(#+) \[?(.+?)\]?$",
        lambda heading: f"{heading[2]}\n{'=-~'[len(heading[1]) - 1] * len(heading[2])}",
        text,
        flags=re.MULTILINE,
    )


def setup(app: Sphinx) -> None:
    """Register the conversion."""
    app.connect("include-read", convert_changelog)
