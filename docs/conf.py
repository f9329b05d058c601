"""Sphinx configuration."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

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
html_logo = "../airflow_provider_baseten/logo.svg"
exclude_patterns = ["_build"]
