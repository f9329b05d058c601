"""Each Python block of the documentation runs as it stands there.

A block with a DAG of its own is loaded as a file of Airflow's DAG folder is, a test runs in pytest, and everything else
runs inside `with DAG(...)`. Each DAG is then run. A fragment, which begins with the comment `# Part of ...`, is only
read. A block that begins with a path, `# tests/conftest.py`, is that file for the tests of its page.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.docs_blocks.collect import Block, blocks
from tests.docs_blocks.world import World

pytestmark = pytest.mark.processes

PYTHON = [block for block in blocks() if block.language in {"python", "py"}]
_FILE = re.compile(r"# (\w+/(\w+)\.py)\n")


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_runs(block: Block, here: World, tmp_path: Path, run_dag: Callable[..., Any]) -> None:
    place = _FILE.match(block.text)
    if block.is_fragment or (place and place[2] == "conftest"):
        ast.parse(block.text)
        return
    for other in PYTHON:
        if other.page == block.page and (path := _FILE.match(other.text)):
            (tmp_path / path[1]).parent.mkdir(exist_ok=True)
            (tmp_path / path[1]).write_text(here.pasted(other.text))
    file = tmp_path / (place[1] if place else "test_block.py")
    file.write_text(here.pasted(block.text))
    if re.search(r"^def test_", block.text, re.MULTILINE):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout
        return
    for dag in _dags(file, block.name):
        run = run_dag(dag, logical_date=None)  # As a run that an asset or the API starts.
        skipped = {"skipped"} if "_branch(" in block.text else set()
        assert (run.state, run.states.keys()) == ("success", set(dag.task_ids))
        assert set(run.states.values()) <= {"success", *skipped}


def _dags(file: Path, name: str) -> list[DAG]:
    if re.search(r"^@dag|\bDAG\(", file.read_text(), re.MULTILINE):
        return _of_file(file)
    with DAG(re.sub(r"\W", "_", name)) as dag:
        names: dict[str, Any] = {"__name__": "block"}
        exec(compile(file.read_text(), file, "exec"), names)
    defined = [name for name, value in names.items() if hasattr(value, "operator_class") and hasattr(value, "function")]
    assert dag.task_ids or not defined, f"{name} defines the tasks {defined}, and calls none"
    return [dag] if dag.task_ids else []


def _of_file(file: Path) -> list[DAG]:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag

    bag = DagBag(dag_folder=str(file), safe_mode=False)
    assert not bag.import_errors
    assert bag.dags, "a DAG is defined, and not made"
    return list(bag.dags.values())
