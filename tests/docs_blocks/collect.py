"""Code blocks of the README, the other texts beside it, and of all pages in docs/."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
# Directives of Sphinx and of docs/pictures.py whose content is not code. An included file is a page of its own.
_NO_CODE = (
    "autoclass",
    "autofunction",
    "automethod",
    "automodule",
    "autoexception",
    "include",
    "layers",
    "options",
    "public-names",
    "sequence",
    "toctree",
    "versionadded",
)
_ROLES = ("class", "doc", "exc", "func", "meth", "mod", "attr", "ref", "term", "envvar", "option", "data")
# What begins a block that does not stand alone, as a comment in its first line.
_FRAGMENT = "# Part of "


@dataclass(frozen=True)
class Block:
    """One code block.

    :param page: name of the file.
    :param line: line of the file where the code begins.
    :param language: what the block is said to be.
    :param text: the code.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_fragment(self) -> bool:
        return self.text.startswith(_FRAGMENT)


class _Code(Directive):
    has_content = True
    optional_arguments = 1
    option_spec = dict.fromkeys(("caption", "name", "class", "emphasize-lines", "lineno-start"), directives.unchanged)

    def run(self) -> list[nodes.Node]:
        block = nodes.literal_block(text="\n".join(self.content), language=" ".join(self.arguments))
        block.line = self.content_offset + 1
        return [block]


class _File(_Code):
    """A file that is shown in a page: its block is its path."""

    option_spec = dict.fromkeys(("language", "caption", "lines", "start-after", "end-before"), directives.unchanged)

    def run(self) -> list[nodes.Node]:
        block = nodes.literal_block(text=self.arguments[0], language="file")
        block.line = self.lineno
        return [block]


class _NoCode(Directive):
    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = dict.fromkeys(
        ("caption", "hidden", "members", "no-members", "maxdepth", "member-order"), directives.unchanged
    )

    def run(self) -> list[nodes.Node]:
        return []


def _role(*arguments: Any, **options: Any) -> tuple[list[nodes.Node], list[Any]]:
    return [nodes.literal(text=arguments[2])], []


def blocks() -> list[Block]:
    """All blocks, in the order of the pages.

    :raises ValueError: a page has a directive or a role that is not known here and could hide a block.
    """
    for name in ("code-block", "code", "sourcecode"):
        directives.register_directive(name, _Code)
    directives.register_directive("literalinclude", _File)
    for name in _NO_CODE:
        directives.register_directive(name, _NoCode)
    for name in _ROLES:
        roles.register_local_role(name, _role)
    pages = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "docs").glob("**/*.rst")])
    readers = {".md": _of_markdown, ".rst": _of_rst}
    return [block for page in pages for block in readers[page.suffix](page.name, page.read_text())]


def _of_rst(page: str, text: str) -> Iterator[Block]:
    settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False}
    tree = publish_doctree(text, settings_overrides=settings)
    for problem in tree.findall(nodes.system_message):
        if problem["level"] >= 2:
            raise ValueError(f"docs/{page}:{problem.get('line')}: {problem.astext()}")
    for node in tree.findall(lambda node: isinstance(node, nodes.literal_block | nodes.doctest_block)):
        code = node.astext()
        language = node.get("language") or ("pycon" if isinstance(node, nodes.doctest_block) else _guess(code))
        yield Block(page, node.line or 0, language, code)


def _of_markdown(page: str, text: str) -> Iterator[Block]:
    for token in MarkdownIt().parse(text):
        if token.type in {"fence", "code_block"}:
            assert token.map is not None
            yield Block(page, token.map[0] + 2, token.info.strip() or _guess(token.content), token.content.rstrip("\n"))


def _guess(code: str) -> str:
    """The language of a block that names none."""
    try:
        json.loads(code)
    except ValueError:
        return "bash"
    return "json"
