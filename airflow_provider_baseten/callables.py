"""Callables of the DAG author: what an error message says when one of them raises an exception."""

import os
from pathlib import Path
from traceback import walk_tb

_PACKAGE = Path(__file__).parent
_STANDARD_LIBRARY = Path(os.__file__).parent
_LIBRARY_FOLDERS = frozenset({"site-packages", "dist-packages"})

_MAX_CHARACTERS = 80


def raised(error: BaseException) -> str:
    """Return what an error message says about an exception of the DAG author's code: its type and where it was raised.

    The exception's own text is left out, because it may quote the model's input or output. The place is the innermost
    line of the traceback that is in neither a library nor this package. If there is no such line, the place is the
    innermost line in a library.

    :returns: the rest of a sentence that begins with the name of the callable, for example ``raised KeyError in clean
        (titles.py, line 12)``. The place is left out if the traceback has no line outside this package, for example
        because a built-in function raised the exception.
    """
    words = f"raised {type(error).__name__}"
    places = [
        (Path(frame.f_code.co_filename), line, frame.f_code.co_name) for frame, line in walk_tb(error.__traceback__)
    ]
    outside = [place for place in places if not place[0].is_relative_to(_PACKAGE)]
    own = [place for place in outside if not _is_library(place[0])]
    if not outside:
        return words
    file, line, function = (own or outside)[-1]
    return f"{words} in {function[:_MAX_CHARACTERS]} ({file.name[:_MAX_CHARACTERS]}, line {line})"


def _is_library(file: Path) -> bool:
    is_installed = not _LIBRARY_FOLDERS.isdisjoint(file.parts)
    return is_installed or file.is_relative_to(_STANDARD_LIBRARY) or file.name.startswith("<frozen ")
