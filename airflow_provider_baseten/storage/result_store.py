"""Result store: the folder of files that workers, triggers and the webhook receiver share."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.api.webhook import Delivery
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import file_rights, files, references
from airflow_provider_baseten.storage.files import (
    PIECE_BYTES,
    create_remote,
    exists,
    exists_locally,
    is_local,
    listed,
    make_folder,
    reason,
    write,
)

# Above this one listing of an object store is cheaper than asking for each name.
_MOST_LOOKUPS = 32


# Folder of the store with the keys of references.
_KEYS = "keys"


FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class ResultStore:
    """The folder where webhook deliveries land, one file for each async request.

    The receiver writes them and workers and triggers read them, so all of these must see the same folder.

    :param uri: URI of the folder, by default ``[baseten] result_store``.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = (uri or default_store()).rstrip("/")

    def save(self, request_id: str, body: bytes) -> None:
        """Keep the body of a delivery; a second one of the same request changes nothing.

        :raises BasetenResultStoreError: it could not be written.
        """
        if not self.delivered([request_id]):
            self.write(_delivery_name(request_id), body)

    def load(self, request_id: str) -> Delivery | None:
        """Return what was delivered for a request, ``None`` if nothing was.

        :raises BasetenResultStoreError: it could not be read.
        """
        body = self.read(_delivery_name(request_id))
        try:
            return None if body is None else Delivery.parse(body)
        except ValueError as error:
            raise BasetenResultStoreError(
                f"The result of async request {request_id} in {self.uri} is damaged ({error})."
            ) from None

    def read(self, name: str) -> bytes | None:
        """Return the file of that name, ``None`` if there is none.

        :raises BasetenResultStoreError: it could not be read.
        """
        try:
            return files.object_path(f"{self.uri}/{name}").read_bytes()
        except FileNotFoundError:
            return None
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be read from {self.uri} ({reason(error)}).") from error

    def read_large(self, name: str) -> LargeBody:
        """Return the file of that name without holding it in memory.

        :raises BasetenResultStoreError: it is not there or could not be read.
        """
        body = LargeBody()
        try:
            path = files.object_path(f"{self.uri}/{name}")
            with path.fs.open(path.path, "rb") as file:
                while piece := file.read(PIECE_BYTES):
                    body.append(piece)
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be read from {self.uri} ({reason(error)}).") from error
        return body

    def write(self, name: str, body: bytes | LargeBody) -> None:
        """Write the file of that name whole.

        :raises BasetenResultStoreError: it could not be written.
        """
        write(f"{self.uri}/{name}", body, store=self.uri)

    def signing_keys(self, *, create: bool = False) -> list[bytes]:
        """Return the keys that references to outputs are signed with: any of them may sign.

        There is one, or, where several workers needed the first one at the same moment, one of each.

        :param create: make one if there is none.
        :raises BasetenResultStoreError: they can't be read, or the new one can't be written.
        """
        keys = [key for name in self._names(_KEYS) if (key := self.read(f"{_KEYS}/{name}")) is not None]
        for key in keys:
            if len(key) != references.KEY_BYTES:
                raise BasetenResultStoreError(f"A key in {self.uri}/{_KEYS} is damaged: delete it.")
        if not keys and create:
            keys = [references.new_key()]
            self.write(f"{_KEYS}/{uuid4().hex}", keys[0])
        return keys

    def _names(self, folder: str) -> list[str]:
        try:
            path = files.object_path(f"{self.uri}/{folder}")
            names = listed(path)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise BasetenResultStoreError(f"{self.uri}/{folder} can't be read ({reason(error)}).") from error
        return sorted(name for name in names if FILE_NAME.fullmatch(name))

    def create(self, name: str, body: bytes) -> bool:
        """Write the file of that name if there is none; return whether it was written.

        A storage that can't create a file only if there is none is looked into first, which two may do at once.

        :raises BasetenResultStoreError: it could not be written.
        """
        try:
            path = files.object_path(f"{self.uri}/{name}")
            if not is_local(path):
                return create_remote(path, body)
            target = Path(path.path)
            make_folder(target.parent, self.uri)
            try:
                with file_rights.create(target) as file:
                    file.write(body)
            except FileExistsError:
                return False
            return True
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be written to {self.uri} ({reason(error)}).") from error

    def remove(self, name: str) -> None:
        """Delete the file of that name if there is one.

        :raises BasetenResultStoreError: it could not be deleted.
        """
        try:
            path = files.object_path(f"{self.uri}/{name}")
            path.fs.rm_file(path.path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be deleted from {self.uri} ({reason(error)}).") from error

    def delivered(self, request_ids: Collection[str]) -> set[str]:
        """Return those of the requests whose result is there. Blocks; a trigger calls it in a thread.

        :raises BasetenResultStoreError: the store can't be read.
        """
        try:
            folder = files.object_path(self.uri)
            if is_local(folder):
                # With ten thousand waiting tasks a Path for each name costs three times as much.
                return {name for name in request_ids if exists_locally(f"{folder.path}/{_delivery_name(name)}")}
            if len(request_ids) > _MOST_LOOKUPS:
                return set(request_ids) & {name.removesuffix(".json") for name in listed(folder)}
            folder.fs.invalidate_cache(folder.path)
            return {name for name in request_ids if exists(folder / _delivery_name(name))}
        except BasetenResultStoreError:
            raise
        except FileNotFoundError:
            return set()
        except Exception as error:
            raise BasetenResultStoreError(f"The result store {self.uri} can't be read ({reason(error)}).") from error


def default_store() -> str:
    """Return ``[baseten] result_store``, by default a folder below ``AIRFLOW_HOME``."""
    from airflow_provider_baseten.compat import conf

    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()
    return conf.get("baseten", "result_store", fallback=None) or f"file://{home}/baseten/results"


def _delivery_name(request_id: str) -> str:
    if not FILE_NAME.fullmatch(request_id):
        raise BasetenResultStoreError(f"{request_id!r:.80} is not a request id, so nothing is stored under it.")
    return f"{request_id}.json"
