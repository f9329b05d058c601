"""Pictures of the documentation, drawn as SVG from a few lines of text when the pages are built.

The directive ``layers`` stacks boxes: each line is a layer, ``|`` separates its boxes. The directive ``sequence``
shows an exchange between participants, one step a line: ``A -> B: text`` is a message, ``A --> B: text`` a response,
``A: text`` an action of A alone, and ``== text ==`` a heading. Its argument names the participants from left to right.
Builders other than HTML show nothing.
"""

import html
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

_CHARACTER = 6.9  # Width of a character of the font, on average.
_LINE = 17
_MARGIN = 16
_WRAP = 32
_STEP = re.compile(r"(?P<source>[^:]+?)(?: (?P<arrow>--?>) (?P<target>[^:]+?))?: (?P<text>.+)")
_BOX = 'rx="4" fill="var(--color-background-secondary, #f4f4f6)" stroke="currentColor"'


@dataclass(frozen=True)
class _Step:
    text: Sequence[str]
    source: str = ""
    target: str = ""
    is_response: bool = False

    @property
    def width(self) -> float:
        return max(map(len, self.text)) * _CHARACTER + 2 * _MARGIN

    @property
    def height(self) -> int:
        return len(self.text) * _LINE + 14


def draw_layers(lines: Sequence[str]) -> str:
    """Return the SVG of a stack of layers."""
    width, row = 760, 38
    body: list[str] = []
    for level, line in enumerate(lines):
        boxes = [text.strip() for text in line.split("|")]
        lengths = [len(text) + 4 for text in boxes]
        left = 0.0
        for text, length in zip(boxes, lengths, strict=True):
            share = (width - 8 * (len(boxes) - 1)) * length / sum(lengths)
            body.append(f'<rect x="{left + 1:.0f}" y="{level * row + 1}" width="{share - 2:.0f}" height="30" {_BOX}/>')
            body.append(_text(left + share / 2, level * row + 21, text))
            left += share + 8
    return _svg(width, len(lines) * row, body, lines)


def draw_sequence(lines: Sequence[str], names: Sequence[str]) -> str:
    """Return the SVG of an exchange.

    :param lines: the steps.
    :param names: the participants, from left to right.
    :raises ValueError: a line is none of the four kinds, or names another participant.
    """
    steps = [_step(line) for line in lines]
    if unknown := {name for step in steps for name in (step.source, step.target)} - {"", *names}:
        raise ValueError(f"not among the participants: {', '.join(sorted(unknown))}")
    columns = dict(zip(names, _columns(steps, names), strict=True))
    width = max(columns.values()) + _overhang(steps, names[-1])
    y = 44
    body: list[str] = []
    for step in steps:
        body += _drawn(step, columns, y, width)
        y += step.height
    lifelines = []
    for name, x in columns.items():
        size = len(name) * _CHARACTER + 2 * _MARGIN
        lifelines.append(f'<line x1="{x:.0f}" y1="30" x2="{x:.0f}" y2="{y}" stroke="currentColor" opacity="0.35"/>')
        lifelines.append(f'<rect x="{x - size / 2:.0f}" y="1" width="{size:.0f}" height="28" {_BOX}/>')
        lifelines.append(_text(x, 20, name, weight="bold"))
    return _svg(width, y + 4, lifelines + body, lines)


def _step(line: str) -> _Step:
    if line.startswith("=="):
        return _Step([line.strip("= ")])
    found = _STEP.fullmatch(line)
    if found is None:
        raise ValueError(f"not a step of a sequence: {line}")
    text = textwrap.wrap(found["text"], _WRAP)
    return _Step(text, found["source"], found["target"] or "", found["arrow"] == "-->")


def _columns(steps: Sequence[_Step], names: Sequence[str]) -> list[float]:
    """Return where the lifelines are, with room for the texts between neighbours."""
    number = {name: index for index, name in enumerate(names)}
    gaps = [(len(left) + len(right)) * _CHARACTER / 2 + 3 * _MARGIN for left, right in pairwise(names)]
    for step in steps:
        if step.target:
            first, last = sorted((number[step.source], number[step.target]))
            missing = step.width - sum(gaps[first:last])
            if missing > 0:
                gaps[first:last] = [gap + missing / (last - first) for gap in gaps[first:last]]
    return list(accumulate(gaps, initial=_overhang(steps, names[0])))


def _overhang(steps: Sequence[_Step], name: str) -> float:
    """Return half the width of the widest box on a lifeline."""
    notes = [step.width / 2 for step in steps if step.source == name and not step.target]
    return max([len(name) * _CHARACTER / 2 + _MARGIN, *notes]) + 1


def _drawn(step: _Step, columns: dict[str, float], y: int, width: float) -> Iterator[str]:
    if not step.source:
        yield f'<line x1="0" y1="{y + 9}" x2="{width:.0f}" y2="{y + 9}" stroke="currentColor" opacity="0.35"/>'
        yield _text(width / 2, y + 14, step.text[0], halo=True, weight="bold")
        return
    x = columns[step.source]
    if not step.target:
        size = step.width - _MARGIN
        yield f'<rect x="{x - size / 2:.0f}" y="{y}" width="{size:.0f}" height="{step.height - 6}" {_BOX}/>'
        for number, line in enumerate(step.text):
            yield _text(x, y + 16 + number * _LINE, line)
        return
    end = columns[step.target]
    bottom = y + step.height - 6
    dash = ' stroke-dasharray="5 4"' if step.is_response else ""
    back = -7 if end > x else 7
    yield f'<line x1="{x:.0f}" y1="{bottom}" x2="{end:.0f}" y2="{bottom}" stroke="currentColor"{dash}/>'
    yield f'<path d="M{end:.0f} {bottom} l{back} -4 v8 z" fill="currentColor"/>'
    for number, line in enumerate(step.text):
        yield _text((x + end) / 2, y + 12 + number * _LINE, line, halo=True)


def _text(x: float, y: float, text: str, *, halo: bool = False, weight: str = "normal") -> str:
    outline = ' paint-order="stroke" stroke="var(--color-background-primary, #fff)" stroke-width="5"' if halo else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}"{outline}>{html.escape(text)}</text>'


def _svg(width: float, height: float, body: Sequence[str], lines: Sequence[str]) -> str:
    style = f"max-width:{width:.0f}px;width:100%;height:auto;font:13px sans-serif"
    return "\n".join(
        [
            f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="{style}" fill="currentColor" '
            'text-anchor="middle" xmlns="http://www.w3.org/2000/svg">',
            f"<title>{html.escape('; '.join(lines))}</title>",
            *body,
            "</svg>",
        ]
    )


class _Picture(Directive):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            svg = self.draw([line.strip() for line in self.content if line.strip()])
        except ValueError as error:
            raise self.error(str(error)) from None
        picture = nodes.container(classes=["picture"])
        picture += nodes.raw("", svg, format="html")
        return [picture]

    def draw(self, lines: list[str]) -> str:
        raise NotImplementedError


class Layers(_Picture):
    """Boxes in layers."""

    def draw(self, lines: list[str]) -> str:
        """Return the SVG."""
        return draw_layers(lines)


class Exchange(_Picture):
    """Messages between participants."""

    required_arguments = 1
    final_argument_whitespace = True

    def draw(self, lines: list[str]) -> str:
        """Return the SVG."""
        return draw_sequence(lines, [name.strip() for name in self.arguments[0].split("|")])


def setup(app: Any) -> dict[str, Any]:
    """Add the directives to Sphinx."""
    app.add_directive("layers", Layers)
    app.add_directive("sequence", Exchange)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
