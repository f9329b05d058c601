"""Manifest of a bulk run: its result as a small JSON file, which is written last."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from airflow_provider_baseten.exceptions import BasetenResultLostError
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.storage_folder import StorageFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The result of a job or of one shard.

    :param fingerprint: fingerprint of input and options.
    :param complete: whether every row has an outcome; ``False`` when the run was stopped.
    :param rows: number of rows with an outcome.
    :param succeeded: number of rows with an output.
    :param failed: number of rows that have failed.
    :param sent: number of requests that this run has sent, including retries.
    :param outcomes: number of rows by outcome: ``success`` or the type of the error.
    :param parts: URIs of the files with outputs.
    :param failed_parts: URIs of the files with failed rows. Each line is JSON and holds the error of a row.
    :param seconds: duration of this run in seconds.
    :param rows_per_second: rate of this run.
    :param latency: seconds from request to response: ``p50``, ``p90``, ``p99``, ``max``; empty without responses.
    :param usage: number of tokens by kind, such as ``prompt_tokens``; empty if no response of this run names them.
    :param num_shards: number of shards of the job.
    :param shard: number of this shard; ``None`` in the merged manifest of all shards.
    """

    fingerprint: str
    complete: bool = True
    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    sent: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    failed_parts: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rows_per_second: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    num_shards: int = 1
    shard: int | None = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        return asdict(self)

    def as_json(self) -> bytes:
        """Return the manifest as JSON."""
        return json.dumps(self.as_dict()).encode()


def read_manifest(body: bytes | None) -> Manifest | None:
    """Return the manifest that a file contains, ``None`` if the file is missing, empty or damaged."""
    try:
        return msgspec.json.decode(body, type=Manifest) if body else None
    except (ValueError, msgspec.MsgspecError):  # MsgspecError is no ValueError before msgspec 0.21.
        return None


def manifest_name(shard: int, num_shards: int) -> str:
    """Return the name of a shard's manifest in the output folder."""
    return "_manifest.json" if num_shards == 1 else f"_manifest-{shard:05d}-of-{num_shards:05d}.json"


@consequence("The shards keep their manifests: merge them again, which sends nothing.")
def merge_manifests(output_path: str, num_shards: int) -> Manifest:
    """Write the merged manifest of all shards of a job, and return it. Merging may be repeated.

    :param output_path: output folder of the shards.
    :param num_shards: number of shards.
    :raises BasetenResultLostError: a shard is not complete, so it has no manifest; or the shards belong to different
        jobs.
    :raises BasetenResultStoreError: the folder can't be read or written.
    """
    folder = StorageFolder(output_path)
    bodies = [folder.read(manifest_name(shard, num_shards)) for shard in range(num_shards)]
    found = [read_manifest(body) for body in bodies]
    manifests = [manifest for manifest in found if manifest is not None]
    if missing := [shard for shard, manifest in enumerate(found) if manifest is None]:
        raise BasetenResultLostError(
            f"{output_path} has no manifest of shard {', '.join(map(str, missing[:20]))} of {num_shards}: run it first."
        )
    if len({manifest.fingerprint for manifest in manifests}) > 1:
        raise BasetenResultLostError(
            f"{output_path} has manifests of different jobs: run all shards with the same input and options."
        )
    merged = _merged(manifests)
    folder.write("_manifest.json", merged.as_json())
    return merged


def _merged(manifests: list[Manifest]) -> Manifest:
    if len(manifests) == 1:
        return manifests[0]
    latencies = [manifest.latency for manifest in manifests if manifest.latency]
    return Manifest(
        fingerprint=manifests[0].fingerprint,
        rows=sum(manifest.rows for manifest in manifests),
        succeeded=sum(manifest.succeeded for manifest in manifests),
        failed=sum(manifest.failed for manifest in manifests),
        sent=sum(manifest.sent for manifest in manifests),
        outcomes=_summed([manifest.outcomes for manifest in manifests]),
        parts=[uri for manifest in manifests for uri in manifest.parts],
        failed_parts=[uri for manifest in manifests for uri in manifest.failed_parts],
        seconds=max(manifest.seconds for manifest in manifests),
        rows_per_second=round(sum(manifest.rows_per_second for manifest in manifests), 1),
        # Percentiles can't be merged, so each one becomes the highest value of all shards.
        latency={key: max(latency.get(key, 0.0) for latency in latencies) for key in latencies[0]} if latencies else {},
        usage=_summed([manifest.usage for manifest in manifests]),
        num_shards=len(manifests),
        shard=None,
    )


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for key, number in count.items():
            total[key] = total.get(key, 0) + number
    return total
