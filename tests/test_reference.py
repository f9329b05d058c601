"""The public names and their parameters are recorded, so that none disappears unnoticed.

`tests/public_names.txt` is the record. After a deliberate change `.venv/bin/python -m tests.test_reference` writes it
again, and the change shows in the diff.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

import airflow_provider_baseten

NAME = "airflow_provider_baseten"
ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "public_names.txt"
# Airflow's own arguments of every task.
NOT_OURS = f"{NAME}.operators.airflow_options"


@pytest.fixture(autouse=True)
def _no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let griffe ask no git about the package, since this starts a process."""
    monkeypatch.setattr(griffe.GitInfo, "from_package", lambda package: None)


def public_names(root: Path = ROOT) -> list[str]:
    """Every public name, with one line for each parameter: `name` must be given, `name=` may be.

    Of a hook the methods too.
    """
    package = griffe.load(NAME, search_paths=[root], try_relative_path=False)
    lines: list[str] = []
    for name in map(str, package.exports or ()):
        member = resolved(package, name)
        lines += [name, *(f"{name}({parameter})" for parameter in parameters(package, member))]
        if name.endswith("Hook"):
            lines += methods(package, name, member)
    return lines


def methods(package: griffe.Module, name: str, hook: griffe.Object) -> Iterator[str]:
    """Public methods of this package, with their parameters."""
    for method in hook.all_members.values():
        if method.is_function and not method.name.startswith("_") and method.canonical_path.startswith(NAME):
            yield f"{name}.{method.name}"
            yield from (f"{name}.{method.name}({parameter})" for parameter in parameters(package, method))


def parameters(package: griffe.Module, function: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Parameters of a function or of a class, those behind `**kwargs: Unpack[...]` too."""
    for parameter in function.parameters:
        if parameter.kind is griffe.ParameterKind.var_keyword and "Unpack" in str(parameter.annotation):
            scope = function if function.is_function else function.all_members["__init__"]
            options = re.sub(r".*\[(\w+)\].*", r"\1", str(parameter.annotation))
            yield from (f"{option}=" for option in fields(package, scope.resolve(options)))
        elif parameter.name not in {"self", "cls"}:
            yield parameter.name if parameter.default is None else f"{parameter.name}="


def fields(package: griffe.Module, path: str) -> Iterator[str]:
    """Names of the fields of a TypedDict and of its bases, without Airflow's own."""
    if not path.startswith(NAME) or path.startswith(NOT_OURS):
        return
    options = resolved(package, path.removeprefix(f"{NAME}."))
    for base in options.bases:
        yield from fields(package, base if isinstance(base, str) else base.canonical_path)
    yield from (name for name, member in options.members.items() if member.is_attribute)


def resolved(package: griffe.Module, path: str) -> griffe.Object:
    member = package[path]
    return member.final_target if member.is_alias else member


def test_no_public_name_or_parameter_has_disappeared() -> None:
    recorded, current = RECORD.read_text().splitlines(), public_names()
    assert current == recorded, "after a deliberate change: .venv/bin/python -m tests.test_reference"


def test_the_record_has_the_names_that_the_package_exports() -> None:
    assert {line for line in public_names() if re.fullmatch(r"\w+", line)} == set(airflow_provider_baseten.__all__)


def test_a_parameter_that_is_gone_is_missed(tmp_path: Path) -> None:
    source = ROOT / NAME / "storage" / "outputs.py"
    for file in (ROOT / NAME).rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    changed = source.read_text().replace("def read_output(value:", "def read_output(other:")
    (tmp_path / source.relative_to(ROOT)).write_text(changed)
    assert set(RECORD.read_text().splitlines()) - set(public_names(tmp_path)) == {"read_output(value)"}


def test_every_public_name_has_its_entry_in_the_documentation() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.rst"))
    entries = set(re.findall(r"^\.\. auto(?:class|function):: \S+\.(\w+)$", pages, re.MULTILINE))
    assert set(airflow_provider_baseten.__all__) <= entries


if __name__ == "__main__":
    RECORD.write_text("".join(f"{line}\n" for line in public_names()))
