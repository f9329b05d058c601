"""Excerpts for error messages: the printable start of a server's text, and the first items of a list."""

EXCERPT_CHARACTERS = 500


def one_line(text: str, most: int) -> str:
    """Return a text as one line of printable characters, truncated to ``most`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}..."


def id_note(request_id: str | None) -> str:
    """Return the request id as a note for the end of a message, empty if there is no id."""
    return f" (request id {one_line(request_id, 100)})" if request_id else ""


def join_first(words: list[str], most: int) -> str:
    """Return the first ``most`` words of a list as text, and how many more there are: ``a, b and 7 more``."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest:,} more" if rest > 0 else "")
