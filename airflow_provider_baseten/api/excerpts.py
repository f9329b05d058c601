"""Excerpts for error messages and logs: the printable part of a server's text, and the first items of a list."""

import re

EXCERPT_CHARACTERS = 500

# Colours, movements of the cursor and titles of the window.
_TERMINAL_CODE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")


def one_line(text: str, most: int) -> str:
    """Return a text as one line of printable characters, truncated to ``most`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}..."


def printable_lines(text: str) -> list[str]:
    """Return the lines of a text that a program wrote, without colours and control characters.

    Of a line that was written over, such as a progress bar, only the last state is returned.
    """
    lines = _TERMINAL_CODE.sub("", text.rstrip("\r\n").replace("\r\n", "\n")).split("\n")
    last_states = (line.rstrip("\r").rpartition("\r")[2].expandtabs() for line in lines)
    return ["".join(c if c.isprintable() else " " for c in line) for line in last_states]


def without_middle(text: str, most: int) -> str:
    """Return a text, of which the middle is left out if it has more than ``most`` characters."""
    rest = len(text) - most
    return text if rest <= 0 else f"{text[: most // 2]} [{rest:,} characters] {text[-(most // 2) :]}"


def id_note(request_id: str | None) -> str:
    """Return the request id as a note for the end of a message, empty if there is no id."""
    return f" (request id {one_line(request_id, 100)})" if request_id else ""


def join_first(words: list[str], most: int) -> str:
    """Return the first ``most`` words of a list as text, and how many more there are: ``a, b and 7 more``."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest:,} more" if rest > 0 else "")
