"""Fields of records. A record is a JSON object that an attempt or a trigger leaves for a later attempt or trigger.

The record may be written by one version of this package and read by another. So a record has a version, and a record
of a newer version is read if the known fields have the known types.
"""

from collections.abc import Collection, Mapping
from typing import Any


def known_fields(record: Any, types: Mapping[str, Any], optional: Collection[str] = ()) -> dict[str, Any] | None:
    """Return the known fields of a record; ``None`` if the record is damaged.

    :param record: the record, decoded from JSON.
    :param types: type of each known field. Other fields of the record are left out.
    :param optional: known fields that the record need not have.
    """
    if not isinstance(record, Mapping):
        return None
    known = {name: record[name] for name in types if name in record}
    is_complete = known.keys() | {*optional} >= types.keys()
    return known if is_complete and all(_has_type(known[name], types[name]) for name in known) else None


def _has_type(value: Any, kind: Any) -> bool:
    # A boolean is an integer in Python, but not in JSON.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
