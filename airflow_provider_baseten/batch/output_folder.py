"""Output folder of a job: the job that owns it, the results of previous runs, and new parts."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.batch.formats import PART_FORMATS
from airflow_provider_baseten.batch.formats.jsonl_parts import encode_failed
from airflow_provider_baseten.batch.manifest import Manifest, manifest_name, read_manifest
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.previous_runs import PreviousRuns
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.storage_folder import StorageFolder

_PART = re.compile(
    r"(?P<kind>part|_failed)-(?P<shard>\d{5})-of-(?P<shards>\d{5})-(?P<sequence>\d{6,})-[0-9a-f]{6}\.\w+"
)
_JOB = re.compile(r"_job-(?P<shard>\d{5})-of-(?P<shards>\d{5})\.json")
_OWN = re.compile(r"(part|_failed|_job)-\d{5}-of-\d{5}\b.*|_manifest(-\d{5}-of-\d{5})?\.json")

# Upper bound of row numbers. No job has so many rows, so a part with a larger row number is damaged.
_MAX_ROWS = 1 << 34

# A row of a part file: its number, the columns copied from the input, and the row's output or failure record.
PartRow = tuple[int, bytes, bytes]


def is_part(uri: str, folder: StorageFolder) -> bool:
    """Return whether a file is a part in an output folder.

    :param uri: local path or URI of the file.
    """
    return bool(_PART.fullmatch(uri.rpartition("/")[2])) and folder.holds(uri)


@dataclass(frozen=True, slots=True)
class FolderContents:
    """Counts of the results of previous runs, for all shards together. File names alone give these numbers.

    :param complete_shards: number of complete shards.
    :param parts: number of files with outputs.
    """

    complete_shards: int
    parts: int


class OutputFolder:
    """The output folder of a job, as one shard of the job reads it and writes to it."""

    def __init__(self, plan: BatchPlan, fingerprint: str) -> None:
        job = plan.job
        self._folder = StorageFolder(path_text("output_path", job.output_path))
        self._plan = plan
        self._job = job
        self.fingerprint = fingerprint
        self._shard = f"{job.shard:05d}-of-{job.num_shards:05d}"
        # Shards of this job that earlier runs have begun. Each is in the form used in file names, for example
        # "00000-of-00004".
        self._shards: list[str] = []
        self._run = uuid4().hex[:6]
        self._manifest_name = manifest_name(job.shard, job.num_shards)

    @consequence("Nothing was sent.")
    def claim(self) -> None:
        """Make this job the owner of the folder. If the job has ``overwrite``, delete the files of another job.

        :raises BasetenInputError: the folder belongs to another job, and ``overwrite`` is ``False``.
        :raises BasetenResultStoreError: the folder can't be written to.
        """
        self._plan.part_format.check()
        self._folder.prepare()
        names = self._folder.names()
        for name in names:
            if name.startswith(".") and f"-{self._shard}-" in name and name.endswith(".part"):
                self._folder.remove(name)  # A run was killed while it wrote this file.
        mine = f"_job-{self._shard}.json"
        owners = {name: self._owner(name) for name in names if _JOB.fullmatch(name)}
        self._shards = [name.removeprefix("_job-")[:-5] for name, owner in owners.items() if owner == self.fingerprint]
        foreign = [name for name, owner in owners.items() if owner != self.fingerprint]
        if foreign and not self._job.overwrite:
            owner = "a job with another input or other options" if owners[foreign[0]] else "a job whose file is damaged"
            raise BasetenInputError(
                f"output_path {self._folder.uri} belongs to {owner} ({foreign[0]}): name another folder, or give "
                "overwrite=True to replace what is there."
            )
        if foreign:
            self._clear(names, all_of_mine=mine in foreign)
        if mine not in names or mine in foreign:
            self._folder.write(mine, json.dumps({"fingerprint": self.fingerprint}).encode())

    def _owner(self, name: str) -> str | None:
        """Return the fingerprint of the job that wrote an ownership file; ``None`` if the file is damaged."""
        try:
            return str(json.loads(self._folder.read(name) or b"")["fingerprint"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def _clear(self, names: list[str], *, all_of_mine: bool) -> None:
        """Delete the files of other jobs.

        If another job has a different number of shards, all of its files are deleted. If it has the same number of
        shards, only its files with this shard's number are deleted. Each other shard deletes the files with its number.

        :param names: names of all files in the folder.
        :param all_of_mine: whether the files with this shard's number belong to another job, and are deleted too.
        """
        # Ownership files are deleted last. If this process dies before it has deleted all files, the next run can still
        # see which job wrote the rest.
        for name in sorted(names, key=lambda name: bool(_JOB.fullmatch(name))):
            others = f"-of-{self._job.num_shards:05d}" not in name
            if _OWN.fullmatch(name) and (others or (all_of_mine and f"-{self._shard}" in name)):
                self._folder.remove(name)

    @consequence("Nothing was sent.")
    def manifest(self) -> Manifest | None:
        """Return the manifest of a complete previous run of this job, ``None`` if there is none."""
        manifest = read_manifest(self._folder.read(self._manifest_name))
        return manifest if manifest is not None and manifest.fingerprint == self.fingerprint else None

    @consequence("Nothing was sent.")
    def contents(self) -> FolderContents:
        """Count the results of previous runs by file names, without reading the files. Call :meth:`claim` first."""
        names = self._folder.names()
        parts = [match for name in names if (match := _PART.fullmatch(name)) and match["kind"] == "part"]
        if self._job.num_shards == 1:
            complete = len({"_manifest.json"} & {*names})
        else:
            complete = len({f"_manifest-{shard}.json" for shard in self._shards} & {*names})
        return FolderContents(
            complete, sum(f"{match['shard']}-of-{match['shards']}" in self._shards for match in parts)
        )

    @consequence("Nothing was sent.")
    def previous_runs(self) -> PreviousRuns:
        """Return the results of this shard's previous runs, read from its parts."""
        found = PreviousRuns()
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

    def _numbers(self, name: str) -> Sequence[int]:
        """Return the numbers of the rows in a part.

        :raises BasetenResultStoreError: the part is damaged.
        """
        with self._folder.open(name) as file:
            try:
                numbers = PART_FORMATS[name.rpartition(".")[2]].row_numbers(file)
                if numbers and max(numbers) >= _MAX_ROWS:
                    raise ValueError("a row number is too large")
            except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
                raise BasetenResultStoreError(
                    f"{self._folder.uri_of(name)} of a previous run is damaged ({type(error).__name__}: "
                    f"{error!s:.200}). Put a copy of it in its place, or delete it: its rows are "
                    "then sent again."
                ) from error
        return numbers

    def write(self, sequence: int, rows: list[PartRow], *, failed: bool = False) -> str:
        """Write a part and return its file name. A reader sees the complete file or none.

        :param sequence: number of the part.
        :param failed: whether the rows have failed.
        :raises BasetenResultStoreError: the part could not be written.
        """
        rows.sort()
        plan = self._plan
        if failed:
            kind, suffix, body = "_failed", "jsonl", encode_failed(rows)
        else:
            kind, suffix = "part", plan.job.output_format
            body = plan.part_format.encode(rows, plan.kept_columns, plan.packs_vectors)
        name = f"{kind}-{self._shard}-{sequence:06d}-{self._run}.{suffix}"
        with consequence("The rows in it are sent again by the next run: check the folder and its free space."):
            self._folder.write(name, body)
        return name

    def commit(self, manifest: Manifest, obsolete: list[str]) -> None:
        """Write the manifest, then delete the ``obsolete`` files."""
        with consequence("No row is lost: the next run writes the manifest, and sends only rows without an output."):
            self._folder.write(self._manifest_name, manifest.as_json())
        with consequence("The job is complete, and its manifest is written: delete the file."):
            for name in obsolete:
                self._folder.remove(name)

    def uris(self, names: list[str]) -> list[str]:
        """Return the URIs of files."""
        return [self._folder.uri_of(name) for name in names]
