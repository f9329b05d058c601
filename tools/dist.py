"""Release files: builds them and tries the wheel in a new environment, `python -m tools.dist`.

Builds sdist and wheel into `dist/`, checks their metadata, installs the wheel into a temporary environment and runs
`tools/smoke_dag.py` there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
SMOKE_DAG = ROOT / "tools" / "smoke_dag.py"


def main() -> int:
    """Run all steps; the exit status is that of the first step that fails."""
    try:
        wheel = build()
        with tempfile.TemporaryDirectory(prefix="baseten-dist-") as folder:
            try_out(wheel, Path(folder))
    except subprocess.CalledProcessError as error:
        print(f"make dist failed: {error}", file=sys.stderr)
        return int(error.returncode)
    print(f"{DIST} has the release files, and a DAG ran with the wheel.")
    return 0


def build() -> Path:
    """Build sdist and wheel from an empty `dist/`, check their metadata, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    files = sorted(DIST.iterdir())
    _run(sys.executable, "-m", "twine", "check", "--strict", *files)
    (wheel,) = (file for file in files if file.suffix == ".whl")
    return wheel


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment in `folder` and run the smoke DAG with it.

    The DAG's folder is the working folder, and PYTHONPATH is unset, so that the wheel is imported and not the checkout.
    """
    programs = folder / "venv" / "bin"
    dags = folder / "airflow" / "dags"
    dags.mkdir(parents=True)
    dag = shutil.copy(SMOKE_DAG, dags)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHONPATH"))}
    environment = inherited | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    _run(sys.executable, "-m", "venv", folder / "venv")
    pip = (str(programs / "python"), "-m", "pip")
    _run(*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[emulator]", env=inherited)
    _run(programs / "airflow", "db", "migrate", cwd=dags, env=environment)
    _run(programs / "python", dag, cwd=dags, env=environment)


def _run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
