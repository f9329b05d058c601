"""Table of the public names: the directive ``public-names`` lists what the package exports, with links.

The list is ``airflow_provider_baseten.__all__``. The first sentence of each docstring is the description, and the link
leads to the whole entry on the page of its subject.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import airflow_provider_baseten


class PublicNames(Directive):
    """One row for each public name."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        parent = nodes.container()
        self.state.nested_parse(StringList(list(_table()), "public-names"), self.content_offset, parent)
        return parent.children


def _table() -> Iterator[str]:
    yield from (".. list-table::", "    :header-rows: 1", "    :widths: 42 58", "")
    yield from ("    * - Name", "      - Description")
    for name in airflow_provider_baseten.__all__:
        value = getattr(airflow_provider_baseten, name)
        role = "class" if inspect.isclass(value) else "func"
        yield f"    * - :{role}:`{name} <{value.__module__}.{name}>`"
        yield f"      - {_first_sentence(value)}"


def _first_sentence(value: Any) -> str:
    paragraph = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) ", paragraph)[0]


def setup(app: Any) -> dict[str, Any]:
    """Add the directive to Sphinx."""
    app.add_directive("public-names", PublicNames)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
