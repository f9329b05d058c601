"""The example DAGs as a reader and Airflow's DAG list see them; tests of the demo run them."""

import ast
from pathlib import Path

import pytest
from airflow.sdk import DAG, Asset

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "example_dags").glob("*.py"))


def dag_of(file: Path) -> DAG:
    """Run a DAG file as Airflow does and return its only DAG."""
    # The call of the function that makes the DAG is the last line of the file.
    *_, call = file.read_text().rstrip().splitlines()
    code = file.read_text().replace(f"\n{call}", f"\nfound = {call}")
    names: dict[str, object] = {"__file__": str(file), "__name__": file.stem}
    exec(compile(code, file, "exec"), names)
    found = names["found"]
    assert isinstance(found, DAG)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dag_has_documentation_and_a_start_date_with_a_time_zone(file):
    dag = dag_of(file)
    assert dag.dag_id == file.stem
    assert dag.doc_md == ast.get_docstring(ast.parse(file.read_text()), clean=False)
    assert dag.start_date.tzinfo is not None
    assert dag.catchup is False
    assert "pendulum.datetime(" in file.read_text()


def test_there_are_schedules_by_name_by_cron_and_by_asset():
    schedules = {dag.dag_id: dag.schedule for dag in map(dag_of, FILES)}
    assert schedules["async_tickets"] == "@daily"
    assert schedules["nightly_scoring"] == "0 2 * * *"
    assert schedules["match_tickets"] == [Asset("tickets")]
    exporter = dag_of(ROOT / "example_dags" / "nightly_scoring.py").get_task("export_tickets")
    assert exporter.outlets == [Asset("tickets")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_templates_also_work_in_runs_without_a_logical_date(file):
    # Runs of assets and those triggered by hand have none.
    for name in ("ds", "ts", "ds_nodash", "ts_nodash", "logical_date", "data_interval_start"):
        assert f"{{{{ {name}" not in file.read_text()
