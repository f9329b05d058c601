"""The DAG that the README shows runs as it stands there."""

import re
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_baseten.emulator import Emulator

ROOT = Path(__file__).parent.parent


def test_dag_of_the_readme(connect, run_dag, tmp_path, capfd):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "classify.py").write_text(code.replace("\nclassify()", "\nfound = classify()"))
    names = {}
    exec(compile(code.replace("\nclassify()", "\nfound = classify()"), tmp_path / "classify.py", "exec"), names)
    assert isinstance(names["found"], DAG)
    with Emulator(models={"abcd1234": lambda model_input: {"language": "de"}}, api_key="K.1") as baseten:
        connect(host=baseten.url, password="K.1")
        run = run_dag(names["found"])
    assert run.state == "success"
    assert run.xcom("language") == {"language": "de"}
