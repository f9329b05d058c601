"""Arguments of operators and sensors that decide what happens: a value that is none of theirs is an error when the DAG
is parsed, never taken for the default.
"""

import math
from collections.abc import Collection
from typing import Any

from airflow_provider_baseten.exceptions import BasetenInputError


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that a value is one of a few texts.

    :param name: of the argument.
    :raises BasetenInputError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise BasetenInputError(f"{name}={value!r:.80} is not one of {', '.join(map(repr, choices))}.")


def check_flags(**values: Any) -> None:
    """Check that values are true or false: ``"false"`` is true in Python.

    :raises BasetenInputError: one is not.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise BasetenInputError(f"{name}={value!r:.80} is neither True nor False.")


def check_seconds(**values: Any) -> None:
    """Check that values are seconds above 0; ``None`` stands for a default and is taken.

    :raises BasetenInputError: one is no number, not above 0, infinite or NaN.
    """
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < math.inf):
            raise BasetenInputError(f"{name}={value!r:.80} is not a number of seconds above 0.")
