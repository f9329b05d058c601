"""Names of functions, classes and constants of modules: none stands for two things."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import airflow_provider_baseten

PACKAGE = Path(airflow_provider_baseten.__path__[0])
# A program of its own, which shares no code with the rest. Both use the terms of Baseten's API.
EMULATOR = "emulator/"
# Public names that several modules may define, with the reason.
EXCUSED = {
    "P": "parameters of a function, for type checkers",
    "ROUTES of the emulator": "each group of routes has it",
    "T": "a type variable",
    "counts": "each input format has it, for `InputFormat`",
    "encode_part": "each format of parts has it, for `PartFormat`",
    "log": "the logger of its module",
    "logger of the emulator": "the logger of its module",
    "main": "each command line has it",
    "row_numbers": "each format of parts has it, for `PartFormat`",
    "rows": "each input format has it, for `InputFormat`",
}


def homonyms(package: Path) -> dict[str, list[str]]:
    """Public names that more than one module defines, with these modules."""
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(package.rglob("*.py")):
        for name in {*defined_names(ast.parse(file.read_text()).body)}:
            if not name.startswith("_"):
                modules[name].append(file.relative_to(package).as_posix())
    return {
        f"{name}{' of the emulator' if is_emulator else ''}": own
        for name, files in modules.items()
        for is_emulator in (False, True)
        if len(own := [file for file in files if file.startswith(EMULATOR) is is_emulator]) > 1
    }


def defined_names(body: list[ast.stmt]) -> Iterator[str]:
    """Names that statements define, those under an `if` or a `try` too. Imports define none."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            case ast.If() | ast.Try():
                handlers = node.handlers if isinstance(node, ast.Try) else []
                yield from defined_names([*node.body, *(s for h in handlers for s in h.body), *node.orelse])


def test_no_public_name_is_defined_in_two_modules():
    found = {name: files for name, files in homonyms(PACKAGE).items() if name not in EXCUSED}
    assert not found, "\n".join(["rename all but one:", *(f"{name}: {', '.join(found[name])}" for name in found)])


def test_every_excuse_is_needed():
    assert set(EXCUSED) <= set(homonyms(PACKAGE))


def test_a_name_that_two_modules_define_is_found(tmp_path):
    (tmp_path / "first.py").write_text("from json import loads\n\ndef read(): ...\n\n_own = 1\n")
    (tmp_path / "second.py").write_text("from json import loads\n\nif True:\n    read: int = 1\n\n_own = 1\n")
    assert homonyms(tmp_path) == {"read": ["first.py", "second.py"]}
