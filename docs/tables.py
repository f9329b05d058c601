"""Tables of the documentation that are made from the code.

The directive ``public-names`` lists the names in ``airflow_provider_baseten.__all__``. The first sentence of each
docstring is the description, and the link leads to the whole entry on the page of its subject. The directive
``options`` lists the options of ``[baseten]``.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import airflow_provider_baseten
from airflow_provider_baseten.config import OPTIONS


class _Table(Directive):
    def run(self) -> list[nodes.Node]:
        """Return the table."""
        parent = nodes.container()
        self.state.nested_parse(StringList(list(self.lines()), self.name), self.content_offset, parent)
        return parent.children

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class PublicNames(_Table):
    """One row for each public name."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield from (".. list-table::", "    :header-rows: 1", "    :widths: 42 58", "")
        yield from ("    * - Name", "      - Description")
        for name in airflow_provider_baseten.__all__:
            value = getattr(airflow_provider_baseten, name)
            role = "class" if inspect.isclass(value) else "func"
            yield f"    * - :{role}:`{name} <{value.__module__}.{name}>`"
            yield f"      - {_first_sentence(value)}"


class Options(_Table):
    """One row for each option of ``[baseten]``."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield from (".. list-table::", "    :header-rows: 1", "    :widths: 28 14 58", "")
        yield from ("    * - Option", "      - Default", "      - Description")
        for option in OPTIONS:
            entry = option.description_for_airflow()
            yield f"    * - ``{option.name}``"
            yield f"      - {entry['default'] or '(none)'}"
            yield f"      - {option.description}"


def _first_sentence(value: Any) -> str:
    paragraph = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) ", paragraph)[0]


def setup(app: Any) -> dict[str, Any]:
    """Add the directives to Sphinx."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("options", Options)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
