"""Checkpoints of training jobs: the folders that a job has written, and their files."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_baseten.emulator.training.jobs import TrainingJob


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """File of a checkpoint.

    :param path: path on this machine.
    :param name: path relative to the folder of the node.
    :param node_rank: number of the node.
    :param size: size in bytes.
    :param modified_at: time of the last change in seconds since the epoch.
    """

    path: Path
    name: str
    node_rank: int
    size: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Checkpoint: a folder in the checkpoint folder of the job, or the files beside such folders.

    :param name: name, which is the id of the checkpoint.
    :param files: its files.
    :param adapter_config: contents of ``adapter_config.json``, ``None`` for a full model.
    """

    name: str
    files: list[CheckpointFile]
    adapter_config: dict[str, Any] | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(file.size for file in self.files)

    @property
    def created_at(self) -> float:
        """Time of the last change in seconds since the epoch."""
        return max(file.modified_at for file in self.files)


def list_files(job: TrainingJob) -> list[CheckpointFile]:
    """Return the files in the checkpoint folders of a job, in the order of their names."""
    return sorted(_iterate(job), key=lambda file: (file.node_rank, file.name))


def list_checkpoints(job: TrainingJob) -> list[Checkpoint]:
    """Return the checkpoints of a job, the oldest first.

    Files that are not in a folder are a checkpoint with the name of their node, which is this emulator's choice.
    """
    files: dict[str, list[CheckpointFile]] = {}
    for file in list_files(job):
        name, slash, _ = file.name.partition("/")
        files.setdefault(name if slash else f"rank-{file.node_rank}", []).append(file)
    checkpoints = [Checkpoint(name, own, _read_adapter_config(own)) for name, own in files.items()]
    return sorted(checkpoints, key=lambda checkpoint: (checkpoint.created_at, checkpoint.name))


def load_checkpoint(job: TrainingJob, name: str | None, folder: Path) -> None:
    """Copy a checkpoint of a job into a folder.

    :param job: the job that has written the checkpoint.
    :param name: name of the checkpoint, ``None`` for the newest. Nothing is copied if there is none.
    :param folder: the target.
    """
    for checkpoint in list_checkpoints(job)[::-1]:
        if name in {None, checkpoint.name}:
            for file in checkpoint.files:
                target = folder / job.id / f"rank-{file.node_rank}" / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.path, target)
            return


def _iterate(job: TrainingJob) -> Iterator[CheckpointFile]:
    for rank in range(job.recipe.node_count):
        root = job.checkpoint_folder / f"rank-{rank}"
        for path in root.rglob("*"):
            # A file may vanish while it is listed, because the job is running.
            if path.is_file() and not path.is_symlink():
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                yield CheckpointFile(path, path.relative_to(root).as_posix(), rank, state.st_size, state.st_mtime)


def _read_adapter_config(files: list[CheckpointFile]) -> dict[str, Any] | None:
    for file in files:
        if file.path.name == "adapter_config.json":
            try:
                config = json.loads(file.path.read_bytes())
            except (OSError, ValueError):
                return None
            return config if isinstance(config, dict) else None
    return None
