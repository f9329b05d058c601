"""Excerpts of texts of a server: short enough, and safe, to be part of an error message."""

EXCERPT_CHARACTERS = 500


def one_line(text: str, most: int) -> str:
    """Return a text as one line of printable characters, cut where it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}..."


def id_note(request_id: str | None) -> str:
    """Return the end of a message that names the request."""
    return f" (request id {one_line(request_id, 100)})" if request_id else ""
