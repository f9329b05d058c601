"""Release files: builds them and tries the wheel in a new environment, `python -m tools.dist`.

Builds sdist and wheel into `dist/`, checks their files and their metadata, installs the wheel into a temporary
environment beside Airflow, prints what it adds to Airflow, and runs `tools/smoke_dag.py` and an example DAG there.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
TOOLS = ROOT / "tools"
PACKAGE = "airflow_provider_baseten"
# Not `example_dags`: Airflow 3.3 loads a folder of this name from each provider where `[core] load_examples` is on.
EXAMPLES = f"{PACKAGE}/examples"
# The packages that an installation without extras adds to Airflow.
ADDED = {"airflow-provider-baseten", "aiolimiter", "orjson", "pyreqwest"}


def main() -> int:
    """Run all steps; the exit status is 1 if one of them fails."""
    try:
        wheel = build(DIST)
        with tempfile.TemporaryDirectory(prefix="baseten-dist-") as folder:
            try_out(wheel, Path(folder))
    except (subprocess.CalledProcessError, ValueError) as error:
        print(f"make dist failed: {error}", file=sys.stderr)
        return 1
    print(f"{DIST} has the release files; a DAG and an example DAG ran with the wheel.")
    return 0


def build(folder: Path) -> Path:
    """Build sdist and wheel into an empty folder, check their files and metadata, and return the wheel.

    :raises ValueError: a file is missing or too many.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_files(
        wheel, set(_files_of_wheel(wheel)), {_place_in_wheel(file) for file in _tracked(PACKAGE, "example_dags")}
    )
    check_files(sdist, set(_files_of_sdist(sdist)), set(_tracked(*_sdist_folders())))
    _run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel


def check_files(archive: Path, found: set[str], expected: set[str]) -> None:
    """Check that an archive holds the files under version control and no others.

    :raises ValueError: it does not.
    """
    if found != expected:
        raise ValueError(
            f"{archive.name} lacks {sorted(expected - found)} and has {sorted(found - expected)} too many."
        )


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment in `folder`, print what it adds, and run two DAGs with it.

    The working folder is that of the DAGs, and PYTHONPATH is unset, so that the wheel is imported and not the checkout.

    :raises ValueError: the wheel adds another package than those of `ADDED`.
    """
    python = folder / "venv" / "bin" / "python"
    dags = folder / "airflow" / "dags"
    dags.mkdir(parents=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHONPATH"))}
    environment = inherited | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    _run(sys.executable, "-m", "venv", folder / "venv")
    install = (python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt")
    _run(*install, "apache-airflow", env=inherited)
    before = packages(python)
    _run(*install, wheel, env=inherited)
    print_added({name: package for name, package in packages(python).items() if name not in before})
    _run(*install, f"{wheel}[emulator]", env=inherited)
    _run(python.parent / "airflow", "db", "migrate", cwd=dags, env=environment)
    _run(python, shutil.copy(TOOLS / "smoke_dag.py", dags), cwd=dags, env=environment)
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    examples = shutil.copytree(site_packages / EXAMPLES, dags / "baseten")
    _run(python, TOOLS / "example_dag.py", cwd=examples, env=environment)


def packages(python: Path) -> dict[str, dict[str, Any]]:
    """Return the packages of the environment of `python` by name, see `tools/packages.py`."""
    done = subprocess.run([python, TOOLS / "packages.py"], check=True, capture_output=True, text=True)
    return {package["name"]: package for package in json.loads(done.stdout)}


def print_added(added: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table of the packages that the wheel adds to Airflow.

    :raises ValueError: they are not those of `ADDED`.
    """
    print("The wheel adds to Airflow:")
    for name, package in sorted(added.items()):
        print(f"  {name:28}{package['version']:12}{package['licence']:34}{package['size'] / 1e6:7.1f} MB")
    print(f"  {len(added)} packages{sum(package['size'] for package in added.values()) / 1e6:70.1f} MB")
    if set(added) != ADDED:
        raise ValueError(f"the packages above should be {', '.join(sorted(ADDED))}: change `dependencies` or `ADDED`.")


def _sdist_folders() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"], "pyproject.toml", ".gitignore"]


def _tracked(*paths: str) -> Iterator[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    yield from subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def _place_in_wheel(file: str) -> str:
    return f"{EXAMPLES}/{file.removeprefix('example_dags/')}" if file.startswith("example_dags/") else file


def _files_of_wheel(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        yield from (name for name in archive.namelist() if ".dist-info/" not in name)


def _files_of_sdist(sdist: Path) -> Iterator[str]:
    with tarfile.open(sdist) as archive:
        yield from (name.partition("/")[2] for name in archive.getnames() if not name.endswith("/PKG-INFO"))


def _run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
