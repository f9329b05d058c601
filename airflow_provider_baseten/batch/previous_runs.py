"""Results of the previous runs of a shard: rows with an output, failed rows, and the names of the part files."""

from collections.abc import Callable
from dataclasses import dataclass, field


class RowSet:
    """A set of row numbers that takes one bit for each row."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def __contains__(self, number: int) -> bool:
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Add a row."""
        byte = number >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 4096 - len(self._bits)))
        if not self._bits[byte] >> (number & 7) & 1:
            self._bits[byte] |= 1 << (number & 7)
            self.count += 1

    def count_without(self, other: "RowSet") -> int:
        """Return how many rows are in this set and not in the other one."""
        mine, others = (int.from_bytes(rows._bits, "little") for rows in (self, other))
        return (mine & ~others).bit_count()


@dataclass
class PreviousRuns:
    """Results of the previous runs of this shard.

    :param done: rows with an output.
    :param failed: rows that failed in a run; some of them may have an output from a later run.
    :param parts: names of the files with outputs.
    :param failed_parts: names of the files with failed rows.
    :param sequence: number of the last part.
    """

    done: RowSet = field(default_factory=RowSet)
    failed: RowSet = field(default_factory=RowSet)
    parts: list[str] = field(default_factory=list)
    failed_parts: list[str] = field(default_factory=list)
    sequence: int = 0

    def wanted(self, only_failed: bool) -> Callable[[int], bool]:
        """Return a function that takes the number of a row, and returns whether to send the row.

        :param only_failed: if true, send the rows that have failed and have no output. If false, send all rows that
            have no output.
        """
        done, failed = self.done, self.failed
        return (lambda row: row in failed and row not in done) if only_failed else (lambda row: row not in done)
