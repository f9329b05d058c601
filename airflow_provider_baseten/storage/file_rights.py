"""Permissions of the files and folders that this package makes on a local disk.

A new folder is accessible to its owner only, unless the caller asks for the permissions of a folder above it. A folder
that exists keeps its permissions. A new file gets the permissions of its folder without the right to execute, as far as
the umask allows. So if a group has access to a folder, it also has access to the new files in it.
"""

import os
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o700


def make_folder(folder: Path, mode: int = OWNER_ONLY) -> None:
    """Make a folder, and each missing folder above it.

    :param mode: permissions of the new folders; by default only the owner of a folder can use it.
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


def create_file(file: Path) -> BinaryIO:
    """Create a file with the permissions of its folder, and open it to write.

    :raises FileExistsError: the file exists.
    :raises OSError: the file could not be created.
    """
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode_of(file.parent) & 0o666), "wb")
