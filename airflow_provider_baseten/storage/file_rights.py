"""Permissions of the files and folders that this package makes on a local disk.

A new folder belongs to its owner alone. A folder that exists keeps its permissions, and new files in it get the same
permissions, without the right to execute and as far as the umask allows: a store that a group shares stays shared.
"""

import os
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o700


def make_folder(folder: Path, mode: int = OWNER_ONLY) -> None:
    """Make a folder, and those above it, unless they exist.

    :param mode: permissions of the new folders, by default for their owner alone.
    :raises OSError: the folder could not be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode, exist_ok=True)


def mode_of(folder: Path) -> int:
    """Return the permissions of a folder."""
    return folder.stat().st_mode & 0o777


def create(file: Path) -> BinaryIO:
    """Create a file with the permissions of its folder, and open it to write.

    :raises FileExistsError: the file exists.
    :raises OSError: the file could not be created.
    """
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode_of(file.parent) & 0o666), "wb")
