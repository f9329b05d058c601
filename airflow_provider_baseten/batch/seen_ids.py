"""Ids of rows, to find repeated ones."""

import hashlib
from array import array
from decimal import Decimal
from typing import Any

from airflow_provider_baseten.batch.row_json import encode_value


class SeenIds:
    """A set of ids. It does not keep the ids themselves, but a 64-bit digest of each, in a hash table.

    A large set takes 16 to 32 bytes for each id. Two different ids with the same digest are treated as one id. The
    probability that a million ids contain such a pair is 1 in 37 million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))
        self._count = 0

    def add(self, value: bytes) -> bool:
        """Add an id, and return whether the id is new."""
        digest = int.from_bytes(hashlib.blake2b(value, digest_size=8).digest()) or 1
        if 2 * self._count >= len(self._table):
            self._grow()
        return self._put(digest)

    def _put(self, digest: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        index = digest & mask
        while found := table[index]:
            if found == digest:
                return False
            index = (index + 1) & mask
        table[index] = digest
        self._count += 1
        return True

    def _grow(self) -> None:
        old, self._count = self._table, 0
        self._table = array("Q", bytes(16 * len(old)))
        for digest in old:
            if digest:
                self._put(digest)


def id_key(value: Any) -> bytes:
    """Return bytes that are the same for equal ids.

    The order of an object's members makes no difference, nor do trailing zeros of a decimal.
    """
    key = encode_value("id_column", value, sort_keys=True)
    return key.rstrip(b"0").rstrip(b".") if isinstance(value, Decimal) and b"." in key and b"E" not in key else key
