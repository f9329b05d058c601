"""Source code of functions and classes, in a form that changes only with the behavior of the code.

The form has no comments, line breaks, positions or docstrings, and is the same in every Python version.
"""

import ast
import functools
import inspect
import symtable
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef

_INSTALLED = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_COSMETIC = frozenset({"ctx", "kind", "type_comment"})


def is_installed(filename: str | None) -> bool:
    """Return whether code belongs to Python or to an installed package. Other code is the user's.

    :param filename: file of the code; ``None`` if it is built into Python.
    """
    if filename is None or filename.startswith("<frozen "):
        return True
    path = Path(filename)
    return bool({"site-packages", "dist-packages"} & {*path.parts}) or any(map(path.is_relative_to, _INSTALLED))


def node_of_code(code: CodeType) -> Node | None:
    """Return the syntax tree of a function, found in the source file by the function's first line, name and arguments.

    Return ``None`` if there is no source, if no function matches, or if several match and can't be told apart.
    """
    tree = _tree(code)
    found = [node for node in ast.walk(tree) if _is_of(node, code)] if tree else []
    # Several lambdas in one line can have the same arguments. Then only the position in the line tells them apart.
    if len(found) > 1:
        positions = {*code.co_positions()}
        found = [node for node in found if isinstance(node, ast.Lambda) and _position(node.body) in positions]
    return found[0] if len(found) == 1 else None  # type: ignore[return-value]


def node_of_class(kind: type) -> ast.ClassDef | None:
    """Return the syntax tree of a class, ``None`` if there is no source."""
    tree: Any = _tree(kind)
    for name in kind.__qualname__.split("."):
        if tree is not None and name != "<locals>":
            named = (n for n in ast.walk(tree) if isinstance(n, Node) and getattr(n, "name", None) == name)
            tree = next(named, None)
    return tree if isinstance(tree, ast.ClassDef) else None


def file_of_class(kind: type) -> str | None:
    """Return the file that defines a class: ``None`` for a built-in class, ``<unknown>`` if the file is not known."""
    module = sys.modules.get(kind.__module__)
    unknown = "<unknown>" if module is None or kind.__module__ == "__main__" else None
    return getattr(module, "__file__", None) or unknown


def normalized(node: Any) -> Any:
    """Return a syntax tree as nested lists and strings, without details that do not change the behavior."""
    match node:
        case ast.Constant():
            return ["Constant", type(node.value).__name__, ascii(node.value)]
        case ast.JoinedStr():
            # Some Python versions add empty strings to the syntax tree of an f-string. They are left out, so that the
            # result is the same in every version.
            parts = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
            return ["JoinedStr", *map(normalized, parts)]
        case ast.AST():
            members = ((name, _without_docstring(node, name, value)) for name, value in ast.iter_fields(node))
            fields = [[name, normalized(value)] for name, value in members if name not in _COSMETIC]
            return [type(node).__name__, *(field for field in fields if field[1] not in (None, [], ["JoinedStr"]))]
        case list():
            return [normalized(item) for item in node]
    return node


def used_names(node: Node) -> tuple[set[str], set[tuple[str, ...]]]:
    """Return the names that code uses but does not define, and the dotted names that begin with such a name.

    Code that calls ``json.dumps`` uses the name ``json`` and the dotted name ``("json", "dumps")``.
    """
    names = {*_outer_names(symtable.symtable(ast.unparse(node), "<source>", "exec"))}
    paths = {_dotted(n) for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return names, {path for path in paths if path and path[0] in names}


def _outer_names(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        # A class body may read the module's variable before it assigns the same name. So a name that a class body reads
        # counts as used, even if the body assigns it too.
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "class"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _outer_names(inner)


def _dotted(node: ast.expr) -> tuple[str, ...]:
    """Return the names of an expression such as ``a.b.c``; an empty tuple for other expressions."""
    match node:
        case ast.Name():
            return (node.id,)
        case ast.Attribute() if inner := _dotted(node.value):
            return (*inner, node.attr)
    return ()


def _tree(thing: Any) -> ast.Module | None:
    try:
        lines, _ = inspect.findsource(thing)
        return _parsed("".join(lines))
    except Exception:  # For example, the file does not exist, has changed, or is not Python.
        return None


@functools.lru_cache(8)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _is_of(node: ast.AST, code: CodeType) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    decorators = getattr(node, "decorator_list", [])
    first_line = decorators[0].lineno if decorators else node.lineno
    arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return (
        first_line == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
        and [*code.co_varnames[: len(arguments)]] == arguments
    )


def _position(node: ast.expr) -> tuple[int | None, int | None, int | None, int | None]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _without_docstring(node: ast.AST, name: str, value: Any) -> Any:
    has_docstring = name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if has_docstring and isinstance(value[0], ast.Expr) and isinstance(value[0].value, ast.Constant):
        return value[1:] if isinstance(value[0].value.value, str) else value
    return value
