"""Files and folders that only their owner can read, unless the folder was there before."""

import os
import stat

import pytest

from airflow_provider_baseten.storage import file_rights, files, result_store
from airflow_provider_baseten.storage.deliveries import Deliveries


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def store_something(folder):
    store = result_store.ResultStore(f"file://{folder}")
    Deliveries(store).save("r1", b"{}")
    store.write("outputs/r1.json", b"{}")
    store.signing_keys(create=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_new_stores_are_their_owners(tmp_path):
    files = store_something(tmp_path / "new" / "store")
    assert {mode(file) for file in files} == {0o600}
    folders = {tmp_path / "new", *(path for path in (tmp_path / "new").rglob("*") if path.is_dir())}
    assert {mode(folder) for folder in folders} == {0o700}


@pytest.mark.parametrize(
    ("umask", "rights", "of_folders", "of_files"),
    [
        (0o022, 0o755, 0o755, 0o644),
        (0o022, 0o750, 0o750, 0o640),
        (0o002, 0o770, 0o770, 0o660),
        (0o077, 0o755, 0o700, 0o600),
        (0o022, 0o777, 0o755, 0o644),
    ],
)
def test_a_store_that_was_there_keeps_its_rights_and_shares_them(tmp_path, umask, rights, of_folders, of_files):
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(rights)
    os.umask(umask)
    files = store_something(store)
    assert mode(store) == rights
    assert {mode(file) for file in files} == {of_files}
    assert {mode(folder) for folder in store.iterdir() if folder.is_dir()} == {of_folders}


def test_an_output_path_follows_the_same_rule(tmp_path):
    tmp_path.chmod(0o755)
    files.write(f"file://{tmp_path}/a/b/out.json", b"1")
    files.write(f"file://{tmp_path}/out.json", b"1")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/out.json", "out.json")] == [0o700, 0o700, 0o600, 0o644]


def test_a_file_that_is_written_again_keeps_to_the_rule(tmp_path):
    (tmp_path / "out.json").write_text("old")
    (tmp_path / "out.json").chmod(0o666)
    tmp_path.chmod(0o700)
    files.write(f"file://{tmp_path}/out.json", b"new")
    assert mode(tmp_path / "out.json") == 0o600


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        file_rights.make_folder(tmp_path / "taken" / "below")
