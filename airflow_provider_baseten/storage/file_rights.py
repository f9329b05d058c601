"""Rights of the files and folders that this package makes on a local disk.

A new folder is its owner's alone. A folder that exists keeps its rights, and files in it get the same, without those to
execute and as far as the umask allows: a store that a group shares stays shared.
"""

import os
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o700


def make_folder(folder: Path, mode: int = OWNER_ONLY) -> None:
    """Make a folder, and those above it, unless they exist.

    :param mode: rights of the new ones, by default for their owner alone.
    :raises OSError: it can't be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode, exist_ok=True)


def mode_of(folder: Path) -> int:
    """Return the rights of a folder."""
    return folder.stat().st_mode & 0o777


def create(file: Path) -> BinaryIO:
    """Create a file that does not exist, with the rights of its folder, and open it to write.

    :raises FileExistsError: it exists.
    :raises OSError: it can't be created.
    """
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode_of(file.parent) & 0o666), "wb")
