"""Result store: the folder of files that workers, triggers and the webhook receiver share."""

import os
import re
from pathlib import Path
from uuid import uuid4

from airflow_provider_baseten import config
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import files, references
from airflow_provider_baseten.storage.storage_folder import StorageFolder

# Folder in the store for the keys that sign references.
_KEYS = "keys"

FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class ResultStore(StorageFolder):
    """Folder for data that does not go through XCom, such as outputs, webhook deliveries and records of requests.

    The webhook receiver, workers and triggers write and read the files, so all of them must see the same folder.

    :param uri: URI of the folder, by default ``[baseten] result_store``.
    """

    def __init__(self, uri: str | None = None) -> None:
        super().__init__(uri or _default_store())

    def folder(self, name: str) -> StorageFolder:
        """Return a folder in the store.

        :param name: path of the folder, relative to the store.
        """
        return StorageFolder(self.uri_of(name))

    def read_large(self, name: str) -> LargeBody:
        """Return the content of a file without holding it in memory.

        :raises BasetenResultStoreError: there is no such file, or it could not be read.
        """
        return files.read_large(self.uri_of(name))

    def create(self, name: str, body: bytes) -> bool:
        """Write a file if there is no such file; return whether it was written.

        See :func:`~airflow_provider_baseten.storage.files.create`.
        """
        return files.create(self.uri_of(name), body, root=self.uri)

    def signing_keys(self, *, create: bool = False) -> list[bytes]:
        """Return the keys that references to outputs are signed with. A signature with any of the keys is valid.

        Usually there is one key. If several workers needed the first key at the same moment, each may have made one.

        :param create: whether to create a key if there is none.
        :raises BasetenResultStoreError: a key could not be read or is damaged, or the new one could not be written.
        """
        names = [name for name in files.names_in(self.uri_of(_KEYS)) if FILE_NAME.fullmatch(name)]
        found = {name: key for name in names if (key := self.read(f"{_KEYS}/{name}")) is not None}
        for name, key in found.items():
            if len(key) != references.KEY_BYTES:
                raise BasetenResultStoreError(
                    f"The key {self.uri_of(_KEYS)}/{name} is damaged. Put a copy of it in its place, or delete it. "
                    "References to outputs that were signed with it can then not be read any more: clear the tasks "
                    "that made these outputs."
                )
        keys = [*found.values()]
        if not keys and create:
            keys = [references.new_key()]
            self.write(f"{_KEYS}/{uuid4().hex}", keys[0])
        return keys


def _default_store() -> str:
    """Return ``[baseten] result_store``, by default a folder below ``AIRFLOW_HOME``."""
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()
    return config.RESULT_STORE.get() or f"file://{home}/baseten/results"
