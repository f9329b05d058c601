"""The result store as it is: one that lists what it listed before, and one that does not answer."""

from itertools import count

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.result_store import ResultStore

IDS = [f"r{number}" for number in range(100)]

_numbers = count()


class Bucket(MemoryFileSystem):
    """An object store whose client remembers listings, as that of S3 does, and which may be away."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.listings: dict[str, list[dict[str, object]]] = {}

    def info(self, path, **kwargs):
        self._reach()
        listing = self.listings.get(self._parent(path))
        if listing is None:
            return super().info(path, **kwargs)
        for found in listing:
            if found["name"] == path:
                return found
        raise FileNotFoundError(path)

    def ls(self, path, detail=True, **kwargs):
        self._reach()
        if path not in self.listings:
            self.listings[path] = super().ls(path, detail=True, **kwargs)
        return self.listings[path] if detail else [found["name"] for found in self.listings[path]]

    def rm_file(self, path):
        self._reach()
        super().rm_file(path)

    def mkdir(self, path, create_parents=True, **kwargs):
        """Do nothing: object stores have no folders."""

    def invalidate_cache(self, path=None):
        self.listings.pop(path, None)

    def _reach(self):
        if self.away:
            raise ConnectionError("no route to host")


@pytest.fixture
def bucket():
    bucket = Bucket()
    # Airflow attaches one file system to a connection id, for as long as the process runs.
    name = f"listed{next(_numbers)}"
    attach("memory", conn_id=name, fs=bucket)
    bucket.uri = f"memory://{name}@{name}/results"
    return bucket


@pytest.fixture
def receiver(bucket):
    """Return the same store as another process sees it."""
    name = bucket.uri.removeprefix("memory://").partition("@")[0]
    attach("memory", conn_id=f"{name}_elsewhere", fs=Bucket())
    return ResultStore(bucket.uri.replace(f"{name}@", f"{name}_elsewhere@"))


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_what_is_delivered_later_is_found(bucket, receiver, number):
    reader = ResultStore(bucket.uri)
    receiver.save("r0", b'{"request_id": "r0", "data": 1}')
    assert reader.delivered(IDS) == {"r0"}
    receiver.save("r1", b'{"request_id": "r1", "data": 2}')
    assert reader.delivered(IDS[1 : number + 1]) == {"r1"}
    assert reader.load("r1").data == 2


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_store_in_which_there_is_nothing_yet_can_be_looked_into(bucket, number):
    assert ResultStore(bucket.uri).delivered(IDS[:number]) == set()


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_store_that_is_away_is_not_an_empty_one(bucket, number):
    bucket.away = True
    with pytest.raises(BasetenResultStoreError, match="no route to host"):
        ResultStore(bucket.uri).delivered(IDS[:number])


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_local_store_that_does_not_answer_is_not_an_empty_one(tmp_path, number):
    (tmp_path / "store").symlink_to("store")  # The system answers an error that is not "there is no such file".
    with pytest.raises(BasetenResultStoreError, match="can't be read"):
        ResultStore(f"file://{tmp_path}/store").delivered(IDS[:number])


def test_a_file_is_not_created_over_one_that_nobody_could_look_for(bucket, monkeypatch):
    store = ResultStore(bucket.uri)
    monkeypatch.setattr(bucket, "_open", refusing_exclusive(bucket._open))
    assert store.create("calls/c/claim", b"first")
    assert not store.create("calls/c/claim", b"second")
    bucket.away = True
    with pytest.raises(BasetenResultStoreError, match="no route to host"):
        store.create("calls/c/claim", b"third")
    with pytest.raises(BasetenResultStoreError, match="no route to host"):
        store.remove("calls/c/claim")
    bucket.away = False
    assert store.read("calls/c/claim") == b"first"
    store.remove("calls/c/claim")
    store.remove("calls/c/claim")
    assert store.read("calls/c/claim") is None


def refusing_exclusive(real):
    def opened(path, mode="rb", **kwargs):
        if "x" in mode:
            raise NotImplementedError
        return real(path, mode=mode, **kwargs)

    return opened
