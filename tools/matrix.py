"""Matrix of Airflow and Python: tests with each pair of their versions, `python -m tools.matrix TEST...`.

Each pair gets an environment in `.venv-matrix/`, with Airflow and the other packages at the versions of a constraints
file. An environment whose constraints and requirements are unchanged is used again. A version of Python that this
machine lacks is named and skipped.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".venv-matrix"
# The Pythons of each minor version of Airflow. The files are at its newest patch.
PYTHONS = {
    "constraints-3.1.txt": ("3.11", "3.12", "3.13"),
    "constraints-3.2.txt": ("3.11", "3.12", "3.13", "3.14"),
    "constraints.txt": ("3.11", "3.12", "3.13", "3.14"),
}
REQUIREMENTS = ("-e", ".[emulator,parquet]", "--group", "test")


def main(tests: list[str]) -> int:
    """Run ``tests`` with each pair of versions; the exit status is 1 if a test failed."""
    outcomes = {}
    for constraints, versions in PYTHONS.items():
        for version in versions:
            python = find_python(version)
            pair = f"Airflow {airflow_version(constraints)}, Python {version}"
            outcomes[pair] = (
                passes(constraints, python, version, tests) if python else "skipped, this Python is missing"
            )
    print(*(f"{pair}: {outcome}" for pair, outcome in outcomes.items()), sep="\n")
    return int("failed" in outcomes.values())


def passes(constraints: str, python: str, version: str, tests: list[str]) -> str:
    """Run ``tests`` with one pair of versions; return ``passed`` or ``failed``."""
    folder = ENVIRONMENTS / f"{airflow_version(constraints)}-{version}"
    print(f"== {folder.name}", flush=True)
    try:
        build(folder, python, constraints)
        subprocess.run([folder / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], check=True)
    except subprocess.CalledProcessError as error:
        print(error, file=sys.stderr)
        return "failed"
    return "passed"


def build(folder: Path, python: str, constraints: str) -> None:
    """Build the environment ``folder``, unless it is newer than what it is made from."""
    ready = folder / ".ready"
    sources = [ROOT / name for name in ("pyproject.toml", "tools/make_venv.sh", constraints)]
    if ready.exists() and all(ready.stat().st_mtime > source.stat().st_mtime for source in sources):
        return
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {"PYTHON": python}
    subprocess.run(["sh", "tools/make_venv.sh", folder], cwd=ROOT, env=environment, check=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    subprocess.run([*pip, "-c", constraints, *REQUIREMENTS], cwd=ROOT, check=True)
    ready.touch()


def airflow_version(constraints: str) -> str:
    """Return the version of Airflow in a constraints file."""
    (found,) = re.findall(r"^apache-airflow==(\S+)", (ROOT / constraints).read_text(), re.MULTILINE)
    return str(found)


def find_python(version: str) -> str | None:
    """Return a Python of this version from the PATH or from pyenv; ``None`` if this machine has none."""
    check = f"import sys; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
    for candidate in _candidates(version):
        if subprocess.run([candidate, "-c", check], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return candidate
    return None


def _candidates(version: str) -> Iterator[str]:
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True):
        yield str(python)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
