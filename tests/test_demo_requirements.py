"""The environment of `make demo` has what the demo imports, and no tool of tests and linters."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = [
    *(ROOT / "tools" / name for name in ("demo.py", "airflow_api.py", "airflow_stack.py", "leash.py")),
    *(ROOT / "example_dags").rglob("*.py"),
]


def installed() -> set[str]:
    """Names of the distributions that the demo's environment gets, with what these require."""
    found: set[tuple[str, str]] = set()
    left = [Requirement("airflow-provider-baseten[emulator]"), *map(Requirement, PROJECT["dependency-groups"]["demo"])]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            wanted = map(Requirement, requires(name) or [])
            left += [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def imported(file: Path) -> set[str]:
    """Top-level modules of other packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    # A Truss puts its folder `packages` on the path.
    beside = [*file.parent.iterdir(), *file.parent.parent.glob("packages/*")]
    own = {"airflow_provider_baseten", "tools", *(path.stem for path in beside)}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - own


def test_it_has_what_the_demo_imports() -> None:
    distributions = packages_distributions()
    there = installed()
    missing = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in FILES
        for module in imported(file)
        if not there & {canonicalize_name(name) for name in distributions[module]}
    }
    assert not missing


def test_it_has_no_tools_and_no_language_model() -> None:
    groups = {name: PROJECT["dependency-groups"][name] for name in ("cluster", "dist", "docs", "llm", "test")}
    tools = {"mypy", "ruff", "selenium", "schemathesis"}
    tools |= {canonicalize_name(Requirement(text).name) for group in groups.values() for text in group}
    assert installed() & tools == {"pyarrow"}
