"""Cost of the import of an operator, which the DAG processor pays for each DAG file.

Compares the import of ``airflow.sdk`` with that of an operator module of this package after it, in new processes, and
prints the medians. Exits 1 if a module adds more than 2.5 % or loads a library that only a running task needs.
"""

import json
import statistics
import subprocess
import sys

RUNS = 15
MAX_ADDED = 0.025
FORBIDDEN = ["requests", "pyreqwest", "openai", "fastapi", "pyarrow"]
# The base class is what every operator module imports, whoever wrote it, so it is part of the baseline.
BASE = "from airflow.sdk import BaseOperator"
MODULES = [
    "airflow_provider_baseten.operators.predict",
    "airflow_provider_baseten.operators.sync_route",
    "airflow_provider_baseten.operators.async_predict",
    "airflow_provider_baseten.operators.batch_predict",
    "airflow_provider_baseten.operators.chat_completion",
    "airflow_provider_baseten.operators.embedding",
    "airflow_provider_baseten.sensors.async_request",
]

MEASURE = """
import json, sys, time
start = time.perf_counter()
{base}
middle = time.perf_counter()
{statement}
end = time.perf_counter()
roots = {{name.partition('.')[0] for name in sys.modules}}
print(json.dumps([(middle - start) * 1000, (end - middle) * 1000, sorted(roots & set({forbidden}))]))
"""


def measure(statement: str) -> tuple[float, float, list[str]]:
    """Run one import in a fresh process; return milliseconds of the base, of the statement, and forbidden modules."""
    code = MEASURE.format(base=BASE, statement=statement, forbidden=FORBIDDEN)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    base, added, loaded = json.loads(out.splitlines()[-1])
    return base, added, loaded


def main() -> int:
    """Print one line for each module; return the exit code."""
    failed = False
    print(f"{'module':<50} {'airflow.sdk':>12} {'added':>18}   loads")
    for module in MODULES:
        runs = [measure(f"import {module}") for _ in range(RUNS)]
        base = statistics.median(run[0] for run in runs)
        added = statistics.median(run[1] for run in runs)
        loaded = sorted({name for run in runs for name in run[2]})
        verdict = ", ".join(loaded) or f"none of {', '.join(FORBIDDEN)}"
        print(f"{module:<50} {base:>9.0f} ms {added:>6.1f} ms = {added / base:>5.2%}   {verdict}")
        failed = failed or added > MAX_ADDED * base or bool(loaded)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
