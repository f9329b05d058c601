"""The result store as it is: one that lists what it listed before, and one that does not answer."""

import subprocess
import sys
from itertools import count

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.storage.storage_folder import StorageFolder

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
    Deliveries(receiver).save("r0", b'{"request_id": "r0", "data": 1}')
    assert Deliveries(reader).delivered(IDS) == {"r0"}
    Deliveries(receiver).save("r1", b'{"request_id": "r1", "data": 2}')
    assert Deliveries(reader).delivered(IDS[1 : number + 1]) == {"r1"}
    assert Deliveries(reader).load("r1").data == 2


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_store_in_which_there_is_nothing_yet_can_be_looked_into(bucket, number):
    assert Deliveries(ResultStore(bucket.uri)).delivered(IDS[:number]) == set()


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_store_that_is_away_is_not_an_empty_one(bucket, number):
    bucket.away = True
    with pytest.raises(BasetenResultStoreError, match="no route to host"):
        Deliveries(ResultStore(bucket.uri)).delivered(IDS[:number])


@pytest.mark.parametrize("number", [1, len(IDS)])
def test_a_local_store_that_does_not_answer_is_not_an_empty_one(tmp_path, number):
    (tmp_path / "store").symlink_to("store")  # The system answers an error that is not "there is no such file".
    with pytest.raises(BasetenResultStoreError, match="could not be read"):
        Deliveries(ResultStore(f"file://{tmp_path}/store")).delivered(IDS[:number])


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


@pytest.mark.processes
def test_local_files_need_no_airflow(tmp_path):
    code = f"""
import sys
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.storage.storage_folder import StorageFolder

store = ResultStore("file://{tmp_path}/store")
Deliveries(store).save("r1", b'{{"request_id": "r1", "data": 1}}')
assert Deliveries(store).delivered(["r1", "r2"]) == {{"r1"}}
assert store.create("claim", b"x") and not store.create("claim", b"y")
store.signing_keys(create=True)
folder = StorageFolder("{tmp_path}/out")
folder.prepare()
folder.write("a.txt", b"a")
with folder.open("a.txt") as file:
    assert file.read() == b"a"
assert folder.names() == ["a.txt"] and files.size_of(folder.uri_of("a.txt")) == 1
folder.remove("a.txt")
assert folder.read("a.txt") is None
assert not [name for name in sys.modules if name.partition(".")[0] in ("airflow", "fsspec")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("root", ["{folder}", "file://{folder}", "memory://whole"])
class TestWholeFiles:
    def test_operations(self, tmp_path, root):
        folder = StorageFolder(f"{root.format(folder=tmp_path)}/f/")
        assert (folder.names(), folder.read("a"), files.size_of(folder.uri_of("a"))) == ([], None, None)
        folder.write("a", b"1")
        folder.write("a", b"22")
        folder.write("b", b"")
        assert (folder.names(), folder.read("a"), files.size_of(folder.uri_of("a"))) == (["a", "b"], b"22", 2)
        assert files.read_large(folder.uri_of("a")).size == 2
        assert files.existing(folder.uri, {"a", "c"}) == {"a"}
        folder.remove("a")
        folder.remove("a")
        assert folder.names() == ["b"]

    def test_a_file_that_is_not_there_is_not_opened(self, tmp_path, root):
        with (
            pytest.raises(FileNotFoundError),
            StorageFolder(root.format(folder=tmp_path)).open("no"),
        ):
            pass
        with pytest.raises(BasetenResultStoreError, match=r"/no could not be read \(FileNotFoundError"):
            files.read_large(f"{root.format(folder=tmp_path)}/no")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (files.read, "{uri} could not be read (NotADirectoryError"),
        (lambda uri: files.write(uri, b"123"), "3 bytes could not be written to {uri} ("),
        (lambda uri: files.create(uri, b"123"), "{uri} could not be created ("),
        (files.remove, "{uri} could not be deleted ("),
        (files.size_of, "The size of {uri} could not be read ("),
        (files.names_in, "{uri} could not be read ("),
        (lambda uri: files.existing(uri, ["a"]), "{uri} could not be read ("),
    ],
)
def test_an_error_names_the_file_and_the_reason_and_no_consequence(tmp_path, call, words):
    (tmp_path / "taken").write_text("")
    uri = f"{tmp_path}/taken/x"
    with pytest.raises(BasetenResultStoreError) as caught:
        call(uri)
    assert str(caught.value).startswith(words.format(uri=uri))
    assert str(caught.value).endswith(").")


def test_the_caller_adds_the_consequence():
    error = BasetenResultStoreError("It could not be written.", request_id="r1")
    with pytest.raises(BasetenResultStoreError) as caught, files.consequence("Nothing was sent."):
        raise error
    assert caught.value is error
    assert str(error) == "It could not be written. Nothing was sent."
    assert error.request_id == "r1"


def test_a_damaged_result_is_named_with_its_request_and_what_to_do(tmp_path):
    store = ResultStore(f"file://{tmp_path}")
    store.write("r1.json", b"[")
    with pytest.raises(
        BasetenResultStoreError, match=rf"r1, file://{tmp_path}/r1\.json, is damaged .* clear the task"
    ) as caught:
        Deliveries(store).load("r1")
    assert (caught.value.request_id, caught.value.may_have_run) == ("r1", True)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ValueError("No filesystem registered for scheme s3"), ": install apache-airflow-providers-amazon[s3fs]"),
        (ImportError("Install s3fs to access S3"), ": install apache-airflow-providers-amazon[s3fs]"),
        (ImportError("Install with: pip install apache-airflow-providers-amazon[s3fs]"), ""),
        (ModuleNotFoundError("No module named 'sshfs'"), ": install apache-airflow-providers-sftp[sshfs]"),
        (PermissionError("gs://bucket/s3fs"), ""),
        (ValueError("Invalid endpoint: http://s3fs"), ""),
        (ValueError("embedded null byte in /data/paramiko/x"), ""),
        (ImportError("cannot import name 'S3FileSystem' from 's3fs'"), ""),
    ],
)
def test_an_error_names_the_package_of_the_storage(error, advice):
    assert files.reason(error) == f"{type(error).__name__}: {error}{advice}"
