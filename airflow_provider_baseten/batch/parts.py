"""The output folder: whose it is, which rows it has already, and new parts of it."""

import io
import json
import re
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO
from uuid import uuid4

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.manifest import Manifest, manifest_name, read_manifest
from airflow_provider_baseten.batch.parquet import require_pyarrow, to_parquet
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.storage_folder import StorageFolder

_PART = re.compile(
    r"(?P<kind>part|_failed)-(?P<shard>\d{5})-of-(?P<shards>\d{5})-(?P<sequence>\d{6,})-[0-9a-f]{6}\.\w+"
)
_JOB = re.compile(r"_job-(?P<shard>\d{5})-of-(?P<shards>\d{5})\.json")
_OWN = re.compile(r"(part|_failed|_job)-\d{5}-of-\d{5}\b.*|_manifest(-\d{5}-of-\d{5})?\.json")

# What some readers of lines take for the end of one, though JSON may hold it inside of texts.
_LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"]

_LINE_START = b'{"row":'

# More rows than any job has: a number beyond is not a row's.
_MOST_ROWS = 1 << 34

# A row: its number, its members that come from the input, and its output or the record of its failure.
Outcome = tuple[int, bytes, bytes]


def is_part(uri: str, folder: StorageFolder) -> bool:
    """Return whether a file is a part in an output folder.

    :param uri: of the file, a local path or a URI.
    """
    return bool(_PART.fullmatch(uri.rpartition("/")[2])) and folder.holds(uri)


class RowSet:
    """A set of row numbers, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Add a row."""
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 4096 - len(self._bits)))
        if not self._bits[place] >> (number & 7) & 1:
            self._bits[place] |= 1 << (number & 7)
            self.count += 1

    def count_without(self, other: "RowSet") -> int:
        """Return how many rows are in this set and not in another."""
        mine, others = (int.from_bytes(rows._bits, "little") for rows in (self, other))
        return (mine & ~others).bit_count()


@dataclass
class Earlier:
    """What earlier runs of this shard have left.

    :param done: rows with an output.
    :param failed: rows that have failed, and may be done meanwhile.
    :param parts: names of the files with outputs.
    :param failed_parts: names of the files with failed rows.
    :param sequence: of the last file.
    """

    done: RowSet = field(default_factory=RowSet)
    failed: RowSet = field(default_factory=RowSet)
    parts: list[str] = field(default_factory=list)
    failed_parts: list[str] = field(default_factory=list)
    sequence: int = 0

    def wanted(self, only_failed: bool) -> Callable[[int], bool]:
        """Return what tells whether a row is to be sent.

        :param only_failed: only those that have failed; by default those never sent too.
        """
        done, failed = self.done, self.failed
        return (lambda row: row in failed and row not in done) if only_failed else (lambda row: row not in done)


@dataclass(frozen=True, slots=True)
class Found:
    """What earlier runs of all shards have left, as far as names tell.

    :param shards: shards that are complete.
    :param parts: files with outputs.
    """

    shards: int
    parts: int


class OutputFolder:
    """Reads and writes the parts of one shard of a job."""

    def __init__(self, job: BatchJob, fingerprint: str) -> None:
        self._folder = StorageFolder(path_text("output_path", job.output_path))
        self._job = job
        self.fingerprint = fingerprint
        self._shard = f"{job.shard:05d}-of-{job.num_shards:05d}"
        # Those that earlier runs have begun, of this job.
        self._shards: list[str] = []
        self._run = uuid4().hex[:6]
        self._manifest_name = manifest_name(job.shard, job.num_shards)

    @consequence("Nothing was sent.")
    def claim(self) -> None:
        """Make the folder this job's.

        :raises BasetenInputError: it belongs to another job.
        :raises BasetenResultStoreError: it can't be written to.
        """
        if self._job.output_format == "parquet":
            require_pyarrow()
        self._folder.prepare()
        names = self._folder.names()
        for name in names:
            if name.startswith(".") and f"-{self._shard}-" in name and name.endswith(".part"):
                self._folder.remove(name)  # Of a run that was killed while it wrote.
        mine = f"_job-{self._shard}.json"
        owners = {name: self._owner(name) for name in names if _JOB.fullmatch(name)}
        self._shards = [name.removeprefix("_job-")[:-5] for name, owner in owners.items() if owner == self.fingerprint]
        foreign = [name for name, owner in owners.items() if owner != self.fingerprint]
        if foreign and not self._job.overwrite:
            whose = "a job with another input or other options" if owners[foreign[0]] else "a job whose file is damaged"
            raise BasetenInputError(
                f"output_path {self._folder.uri} belongs to {whose} ({foreign[0]}): name another folder, or give "
                "overwrite=True to replace what is there."
            )
        if foreign:
            self._clear(names, all_of_mine=mine in foreign)
        if mine not in names or mine in foreign:
            self._folder.write(mine, json.dumps({"fingerprint": self.fingerprint}).encode())

    def _owner(self, name: str) -> str | None:
        """Return the fingerprint in a file that says whose a folder is, ``None`` if the file is damaged."""
        try:
            return str(json.loads(self._folder.read(name) or b"")["fingerprint"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def _clear(self, names: list[str], *, all_of_mine: bool) -> None:
        """Delete what is in the way; what another shard of the same number has, is left to that one."""
        for name in sorted(names, key=lambda name: bool(_JOB.fullmatch(name))):  # Whose it is, last.
            others = f"-of-{self._job.num_shards:05d}" not in name
            if _OWN.fullmatch(name) and (others or (all_of_mine and f"-{self._shard}" in name)):
                self._folder.remove(name)

    @consequence("Nothing was sent.")
    def manifest(self) -> Manifest | None:
        """Return the manifest of an earlier run of this job that was complete."""
        manifest = read_manifest(self._folder.read(self._manifest_name))
        return manifest if manifest is not None and manifest.fingerprint == self.fingerprint else None

    @consequence("Nothing was sent.")
    def found(self) -> Found:
        """Tell what earlier runs of all shards have left in the claimed folder; nothing of it is read."""
        names = self._folder.names()
        parts = [match for name in names if (match := _PART.fullmatch(name)) and match["kind"] == "part"]
        if self._job.num_shards == 1:
            complete = len({"_manifest.json"} & {*names})
        else:
            complete = len({f"_manifest-{shard}.json" for shard in self._shards} & {*names})
        return Found(complete, sum(f"{match['shard']}-of-{match['shards']}" in self._shards for match in parts))

    @consequence("Nothing was sent.")
    def earlier(self) -> Earlier:
        """Find out which rows earlier runs have done."""
        found = Earlier()
        files = []
        for name in self._folder.names():
            match = _PART.fullmatch(name)
            if match and f"{match['shard']}-of-{match['shards']}" == self._shard:
                files.append((int(match["sequence"]), match["kind"] == "part", name))
        files.sort()
        with ThreadPoolExecutor(8) as pool:
            numbers = pool.map(lambda file: self._numbers(file[2]), files)
            for (sequence, is_output, name), rows in zip(files, numbers, strict=True):
                if rows or not is_output:
                    (found.parts if is_output else found.failed_parts).append(name)
                found.sequence = sequence
                for row in rows:
                    (found.done if is_output else found.failed).add(row)
        return found

    def _numbers(self, name: str) -> "array[int]":
        """Return the numbers of the rows in a part.

        :raises BasetenResultStoreError: it is damaged.
        """
        with self._folder.open(name) as file:
            try:
                numbers = _numbers_of_parquet(file) if name.endswith(".parquet") else _numbers_of_lines(file)
                if numbers and max(numbers) >= _MOST_ROWS:
                    raise ValueError("a row has a number that is too large")
            except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
                raise BasetenResultStoreError(
                    f"{self._folder.uri_of(name)} of an earlier run is damaged ({type(error).__name__}: "
                    f"{error!s:.200}). Put a copy of it in its place, or delete it: its rows are then sent again."
                ) from error
        return numbers

    def write(self, sequence: int, outcomes: list[Outcome], *, failed: bool = False) -> str:
        """Write a part whole and return its name.

        :raises BasetenResultStoreError: it could not be written.
        """
        outcomes.sort()
        if self._job.output_format == "parquet" and not failed:
            body, suffix = to_parquet(outcomes, self._job), "parquet"
        else:
            body, suffix = _lines(outcomes, b"error" if failed else b"output"), "jsonl"
        name = f"{'_failed' if failed else 'part'}-{self._shard}-{sequence:06d}-{self._run}.{suffix}"
        with consequence("The rows in it are sent again by the next run: check the folder and its free space."):
            self._folder.write(name, body)
        return name

    def commit(self, manifest: Manifest, obsolete: list[str]) -> None:
        """Write the manifest, then delete what it has replaced.

        :raises BasetenResultStoreError: it could not be written, or an old file could not be deleted.
        """
        with consequence("No row is lost: the next run writes the manifest, and sends only rows without an output."):
            self._folder.write(self._manifest_name, manifest.as_json())
        with consequence("The job is complete, and its manifest is written: delete the file."):
            for name in obsolete:
                self._folder.remove(name)

    def uris(self, names: list[str]) -> list[str]:
        """Return the URIs of files."""
        return [self._folder.uri_of(name) for name in names]


def _lines(outcomes: list[Outcome], member: bytes) -> bytes:
    body = b"".join([b'{"row":%d%b,"%b":%b}\n' % (number, kept, member, text) for number, kept, text in outcomes])
    if not body.isascii():
        for end, escape in _LINE_ENDS:
            body = body.replace(end, escape)
    return body


def _numbers_of_lines(file: IO[bytes]) -> "array[int]":
    numbers = array("Q")
    for line in file:
        number, comma, _ = line.removeprefix(_LINE_START).partition(b",")
        if not (line.startswith(_LINE_START) and comma and number.isdigit() and line.endswith(b"}\n")):
            raise ValueError(f"line {len(numbers) + 1} is not a row's")
        numbers.append(int(number))
    return numbers


def _numbers_of_parquet(file: IO[bytes]) -> "array[int]":
    import pyarrow.parquet

    body = io.BytesIO(file.read())
    try:
        table = pyarrow.parquet.read_table(body, columns=["row"])
    except OSError as error:  # What pyarrow raises for damaged bytes too.
        raise ValueError(str(error)) from None
    return array("Q", table.column("row").to_pylist())
