"""Folder of files at any URI, such as the output folder of a bulk run or the result store."""

from contextlib import AbstractContextManager
from typing import IO

from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.arguments import check_no_password
from airflow_provider_baseten.storage import files


class StorageFolder:
    """A folder at a local path or URI. Its files are named by their path relative to the folder.

    :param uri: local path or URI.
    :raises BasetenInputError: there is a password in the URI.
    :raises BasetenResultStoreError: a file or the folder could not be read or written. Every method may raise it.
    """

    def __init__(self, uri: str) -> None:
        check_no_password("The URI of the folder", uri)
        self.uri = uri.rstrip("/")

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in the folder."""
        return f"{self.uri}/{name}"

    def holds(self, uri: str) -> bool:
        """Return whether a file is directly in the folder.

        :param uri: local path or URI of the file. The file need not exist.
        """
        mine, other = files.local_path(self.uri), files.local_path(uri)
        if mine is None or other is None:
            return uri.rpartition("/")[0] == self.uri
        return other.parent.absolute() == mine.absolute()

    def prepare(self, name: str = "output_path") -> None:
        """Make the folder, and check that files can be written to it.

        :param name: name of the argument that holds the folder's URI, for the message.
        """
        files.check_writable(f"{self.uri}/", name)

    def names(self) -> list[str]:
        """Return the names of the files in the folder, sorted; none if the folder does not exist."""
        return files.names_in(self.uri)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, ``None`` if there is no such file."""
        return files.read(self.uri_of(name))

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read it.

        :raises FileNotFoundError: there is no such file.
        """
        return files.opened(self.uri_of(name))

    def write(self, name: str, body: bytes | LargeBody) -> None:
        """Write a file, so that a reader sees all of it or nothing."""
        files.write(self.uri_of(name), body, root=self.uri)

    def remove(self, name: str) -> None:
        """Delete a file if it exists."""
        files.remove(self.uri_of(name))
