"""Stored outputs: written whole, read back as they were, or a clear error."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_baseten.api import truss_msgpack
from airflow_provider_baseten.api.http import MSGPACK, Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenOutputError, BasetenResultLostError, BasetenResultStoreError
from airflow_provider_baseten.storage import files, outputs, result_store, write_retries
from tests.awkward_values import AWKWARD, PLAIN, random_value, same

FIELDS = {"uri", "bytes", "request_id", "format", "baseten_conn_id", "signature"}


@pytest.fixture(autouse=True)
def _places(tmp_path, connect, monkeypatch):
    connect(password="k.s", extra={"result_store": f"file://{tmp_path}/store"})
    monkeypatch.setattr(write_retries, "WORKER_SECONDS", 0.0)


@pytest.fixture
def deliver(tmp_path):
    def call(value, request_id="r1", **arguments):
        places = {
            "output_path": None,
            "result_store": f"file://{tmp_path}/store",
            "baseten_conn_id": "baseten_default",
        }
        output = value if isinstance(value, outputs.Output) else outputs.Output.of_value(value)
        return outputs.save_output(output, request_id, **places | arguments)

    return call


def answered(body, content_type="application/json"):
    """What an operator stores of an answer with this body."""
    request = Request(method="POST", host="model-m", path="/predict", subject="predict of model m")
    headers = {"content-type": content_type, "x-baseten-request-id": "r1"}
    response = Response(request=request, status=200, headers=headers, body=body)
    return outputs.Output.of_response(response, response.output())


@pytest.mark.parametrize("value", [{"a": [1, None]}, "grüße", b"\x00\xff", "", b"", None, [], {}])
@pytest.mark.parametrize("store", ["memory://bucket/results", "file://{folder}", "{folder}"])
def test_what_is_stored_is_read_back(tmp_path, deliver, value, store):
    reference = deliver(value, output_path=store.format(folder=tmp_path) + "/")
    assert outputs.read_output(reference) == value


@pytest.mark.parametrize("unit", ["Y", "D", "s", "us", "ns", "as"])
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
def test_dates_of_numpy_do_not_become_numbers(deliver, kind, unit):
    for value in np.array([1, 2, "NaT"], f"{kind}[{unit}]"), np.array(3, f"{kind}[{unit}]")[()]:
        request = Request(
            method="POST", host="model-m", path="/predict", subject="predict", headers={"Content-Type": MSGPACK}
        )
        answer = Response(
            request=request, status=200, headers={"content-type": MSGPACK}, body=truss_msgpack.pack([value])
        )
        output = outputs.predict_output_of(answer)
        assert not outputs.xcom_holds(output)
        [found] = outputs.read_output(deliver(output))
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "path",
    ["a#b/c#d.json", "a?b/c?d.json", "a%20b/100%.json", "a b/c d.json", "v1.2/out", "a.json/ü", "x@y/a+b&c=d.json"],
)
@pytest.mark.parametrize("root", ["memory://buck.et", "file://{folder}", "{folder}"])
def test_special_characters_in_paths(tmp_path, deliver, path, root):
    uri = f"{root.format(folder=tmp_path)}/{path}"
    files.check_writable(uri)
    reference = deliver({"a": 1}, output_path=uri)
    assert reference["uri"] == uri
    assert outputs.read_output(reference) == {"a": 1}
    if not uri.startswith("memory:"):
        assert json.loads((tmp_path / path).read_bytes()) == {"a": 1}


@pytest.mark.parametrize("place", ["st#re", "a?b", "100%", "a b", "v1.2"])
def test_special_characters_in_the_name_of_the_store(tmp_path, deliver, connect, place):
    store = f"file://{tmp_path}/{place}"
    connect(password="k.s", extra={"result_store": store})
    reference = deliver({"score": float("inf")}, result_store=store)
    assert Path(reference["uri"].removeprefix("file://")).parent == tmp_path / place / "outputs"
    assert outputs.read_output(reference) == {"score": float("inf")}


class TestGate:
    """What XCom can't hold as it is goes to a file, whatever its size."""

    @pytest.mark.parametrize("value", PLAIN, ids=repr)
    def test_plain_values_are_returned(self, deliver, value):
        assert same(deliver(value), value)

    @pytest.mark.parametrize("body", AWKWARD, ids=repr)
    def test_awkward_answers_are_stored_as_they_came_and_read_back(self, tmp_path, deliver, body):
        output = answered(body)
        places = {"output_path": None, "result_store": f"file://{tmp_path}/store", "baseten_conn_id": "baseten_default"}
        reference = json.loads(json.dumps(outputs.save_output(output, "r1", **places), allow_nan=False))
        assert reference.keys() == FIELDS
        assert (tmp_path / "store" / "outputs" / "r1.json").read_bytes() == body
        assert same(outputs.read_output(reference), output.value)

    @pytest.mark.parametrize(
        "value",
        [float("nan"), [float("-inf")], {"k": "a\0b"}, ["\ud83d"], {"\udc00": 1}, Decimal("0.1234567890123456789012")],
        ids=repr,
    )
    def test_awkward_values_that_were_made_are_stored_and_read_back(self, deliver, value):
        assert same(outputs.read_output(deliver(value)), value)

    def test_what_looks_like_a_reference_is_stored_too(self, deliver):
        copied = deliver({"a": 1}, output_path="memory://x/y.json")
        assert outputs.read_output(deliver(copied)) == copied

    def test_a_text_is_mended(self, deliver):
        assert deliver("cut \ud83d") == "cut \ufffd"
        assert deliver("\ud83d" + "\ude00") == "😀"

    @pytest.mark.parametrize("value", [object(), {1, 2}, [{"a": {b"x"}}], {"a": b"bytes"}, {(1, 2): 3}], ids=repr)
    def test_a_value_without_a_form_is_a_typed_error(self, deliver, value):
        with pytest.raises(BasetenOutputError, match="is neither bytes nor text, and has no form in JSON"):
            deliver(value)

    def test_a_value_that_holds_itself_is_a_typed_error(self, deliver):
        value = []
        value.append(value)
        with pytest.raises(BasetenOutputError, match="has no form in JSON"):
            deliver(value)

    def test_size_decides_as_before(self, deliver, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "10")
        assert deliver("x" * 10) == "x" * 10
        assert deliver("x" * 11)["format"] == "text"


class TestReferences:
    """Only what this package made is opened."""

    def test_reference_survives_xcom(self, deliver, tmp_path):
        reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/")
        assert reference.keys() == FIELDS
        assert outputs.read_output(json.loads(json.dumps(reference))) == {"a": 1}

    @pytest.mark.parametrize(
        "value",
        [
            None,
            1,
            "text",
            [1],
            {"uri": "file:///etc/passwd"},
            {"uri": "file:///etc/passwd", "bytes": 1, "request_id": "r1"},
            {"uri": "file:///etc/passwd", "bytes": 1, "request_id": "r1", "signature": "0" * 64},
        ],
    )
    def test_what_is_no_reference_is_returned_as_it_came(self, value):
        assert outputs.read_output(value) is value

    @pytest.mark.parametrize(
        "change",
        [
            {"uri": "file:///etc/hostname"},
            {"uri": "http://127.0.0.1:1/"},
            {"bytes": 2},
            {"request_id": "r2"},
            {"request_id": None},
            {"format": "bytes"},
            {"format": "pickle"},
            {"baseten_conn_id": "other"},
            {"baseten_conn_id": "no_such_connection"},
            {"baseten_conn_id": "../../x"},
            {"baseten_conn_id": None},
            {"baseten_conn_id": ["baseten_default"]},
            {"signature": ""},
            {"signature": "0" * 64},
            {"signature": "ü\ud83d"},
            {"signature": None},
            {"bytes": True},
            {"bytes": 10**5000},
            {"uri": ["file:///etc/hostname"]},
        ],
        ids=lambda change: f"{next(iter(change))}-{type(next(iter(change.values()))).__name__}",
    )
    def test_forged_references_are_never_opened(self, deliver, connect, monkeypatch, tmp_path, change):
        connect("other", password="k.s", extra={"result_store": f"file://{tmp_path}/other"})
        reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/out.json")
        opened = []
        reach = files.locate
        monkeypatch.setattr(files, "locate", lambda uri: opened.append(uri) or reach(uri))
        with pytest.raises(BasetenResultStoreError, match="does not have a signature of the result store"):
            outputs.read_output(reference | change)
        assert all(str(uri).startswith(f"file://{tmp_path}") or "/baseten/results/" in str(uri) for uri in opened)
        assert all("/keys" in str(uri) for uri in opened)

    def test_a_key_of_another_store_does_not_sign(self, deliver, connect, tmp_path):
        connect("other", password="k.s", extra={"result_store": f"file://{tmp_path}/other"})
        reference = deliver(1, output_path=f"file://{tmp_path}/a", result_store=f"file://{tmp_path}/elsewhere")
        with pytest.raises(BasetenResultStoreError, match="with several machines name shared storage"):
            outputs.read_output(reference)

    def test_reading_makes_no_key(self, tmp_path):
        forged = dict.fromkeys(FIELDS, "x") | {"bytes": 1, "baseten_conn_id": "baseten_default"}
        with pytest.raises(BasetenResultStoreError):
            outputs.read_output(forged)
        assert not (tmp_path / "store").exists()

    @pytest.mark.parametrize("store", ["memory://race", "file://{folder}/race"])
    def test_workers_that_need_the_first_key_at_once_read_each_other(self, connect, tmp_path, deliver, store):
        uri = store.format(folder=tmp_path)
        connect(password="k.s", extra={"result_store": uri})
        with ThreadPoolExecutor(8) as workers:
            found = list(
                workers.map(lambda n: deliver([n], f"r{n}", output_path=f"{uri}/", result_store=uri), range(16))
            )
        assert [outputs.read_output(reference) for reference in found] == [[n] for n in range(16)]
        before = result_store.ResultStore(uri).signing_keys()
        assert result_store.ResultStore(uri).signing_keys(create=True) == before

    def test_a_damaged_key_is_named(self, deliver, tmp_path):
        reference = deliver(1, output_path=f"file://{tmp_path}/a")
        [key] = (tmp_path / "store" / "keys").iterdir()
        key.write_bytes(b"")
        with pytest.raises(BasetenResultStoreError, match=rf"key file://.*/keys/{key.name} is damaged.* or delete it"):
            outputs.read_output(reference)

    def test_default_connection_may_be_missing(self, deliver, monkeypatch, tmp_path, airflow_db):
        monkeypatch.delenv("AIRFLOW_CONN_BASETEN_DEFAULT")
        monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", f"file://{tmp_path}/configured")
        reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/", result_store=None)
        assert outputs.read_output(reference) == {"a": 1}


class TestReadingBack:
    """The reference says how bytes are read, and what is not that is a typed error."""

    @pytest.mark.parametrize("value", ["Hello", b"\x89PNG\xff", {"a": 1}, None])
    @pytest.mark.parametrize("name", ["out.json", "out.txt", "out.msgpack", "out", "out.json.gz"])
    def test_the_suffix_of_a_path_does_not_matter(self, deliver, tmp_path, value, name):
        assert outputs.read_output(deliver(value, output_path=f"file://{tmp_path}/{name}")) == value

    def test_lost_file_is_named(self, deliver, tmp_path):
        reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/out.json")
        (tmp_path / "out.json").unlink()
        with pytest.raises(
            BasetenResultStoreError, match=r"output of request r1 is not available: file://.*/out\.json does not exist"
        ):
            outputs.read_output(reference)

    def test_lost_file_of_an_output_without_an_id_is_named(self, deliver, tmp_path):
        reference = deliver({"a": 1}, None, output_path=f"file://{tmp_path}/out.json")
        (tmp_path / "out.json").unlink()
        with pytest.raises(
            BasetenResultStoreError, match=r"^The output of an earlier task is not available: file://.*/out\.json does"
        ):
            outputs.read_output(reference)

    @pytest.mark.parametrize("left", [b"", b'{"a"', b'{"a": 12}', b'{"b": 1}x'])
    def test_a_file_that_was_cut_or_written_again_is_named(self, deliver, tmp_path, left):
        reference = deliver({"a": 1}, output_path=f"file://{tmp_path}/out.json")
        (tmp_path / "out.json").write_bytes(left)
        with pytest.raises(BasetenResultStoreError, match=r"had 7 bytes, but file://.*/out\.json has"):
            outputs.read_output(reference)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("r.json", b""),
            ("r.json", b'{"a": 1'),
            ("r.json", b"\x89PNG\xff\xfe"),
            ("r.json", b"[" * 100_000),
            ("r.json", b"1e999999999999999999999"),
            ("r.JSON", b"oops"),
            ("r.txt", b"\xff\xfe\xfa"),
        ],
    )
    def test_a_broken_file_of_a_model_is_named(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            BasetenResultStoreError, match=rf"output of request r1 in file://.*/{name} \([\d,]+ bytes\) is"
        ):
            stored(tmp_path / name)

    def test_files_of_a_model_are_read_by_their_suffix(self, tmp_path):
        contents = {"a.json": b'{"a": NaN}', "b.txt": b"text", "c.png": b"\x89PNG", "d.json": b"[1]", "e.txt": b"a\0b"}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        assert stored(tmp_path / "b.txt") == "text"
        assert stored(tmp_path / "d.json") == [1]
        for name, value in {"a.json": {"a": float("nan")}, "c.png": b"\x89PNG", "e.txt": "a\0b"}.items():
            reference = stored(tmp_path / name)
            assert reference.keys() == FIELDS
            assert same(outputs.read_output(reference), value)

    def test_nothing_is_a_lost_result(self, tmp_path):
        with pytest.raises(BasetenResultLostError, match="stored nothing at"):
            stored(tmp_path / "r.json")


def stored(path):
    store = f"file://{path.parent}/store"
    return outputs.stored_output(f"file://{path}", "r1", result_store=store, baseten_conn_id="baseten_default")


@pytest.mark.parametrize("request_id", ["../../escape", "a/b", "", None, "x" * 200, "a\nb"])
def test_id_of_a_strange_server_is_no_file_name(tmp_path, deliver, request_id):
    reference = deliver({"a": 1}, request_id, output_path=f"file://{tmp_path}/in/")
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "in"]
    assert reference["request_id"] == request_id


class TestWriting:
    def test_failed_write_leaves_the_old_file_and_no_part(self, tmp_path, monkeypatch):
        (tmp_path / "out.json").write_text("old")
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(BasetenResultStoreError, match=r"^3 bytes could not be written to file://.*No space left"):
            files.write(f"file://{tmp_path}/out.json", b"new")
        assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
        assert (tmp_path / "out.json").read_text() == "old"

    def test_a_paid_output_is_tried_for_a_while_and_then_named(self, deliver, tmp_path, monkeypatch):
        waits = []
        monkeypatch.setattr(time, "sleep", waits.append)
        monkeypatch.setattr(write_retries, "WORKER_SECONDS", 60.0)
        clock = count(0, 10)
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(
            BasetenResultStoreError, match=r"Request r1 got a response, but .* 7 bytes .*No space"
        ) as caught:
            deliver({"a": 1}, output_path=f"file://{tmp_path}/out.json")
        assert len(waits) > 3
        assert caught.value.request_id == "r1"

    def test_a_store_that_comes_back_gets_the_output(self, deliver, tmp_path, monkeypatch):
        rest = iter([full, full])
        replace = Path.replace
        monkeypatch.setattr(write_retries, "WORKER_SECONDS", 60.0)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

        def sometimes(self, target):
            return next(rest, replace)(self, target)

        monkeypatch.setattr(Path, "replace", sometimes)
        assert outputs.read_output(deliver(b"\xff")) == b"\xff"

    def test_folder_in_the_place_of_the_file(self, tmp_path):
        with pytest.raises(BasetenResultStoreError, match="is a folder: end it with '/'"):
            files.check_writable(f"file://{tmp_path}")

    @pytest.mark.parametrize("uri", ["file:///proc/no/such/x", "/proc/x", "nosuch://x/y", "file:///etc/hostname/x"])
    def test_an_unusable_place_is_found_before_anything_is_sent(self, uri):
        with pytest.raises(BasetenResultStoreError, match="is not usable"):
            files.check_writable(uri)

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\ud800b"])
    def test_a_name_that_no_file_can_have_is_found_before_anything_is_sent(self, tmp_path, name):
        with pytest.raises(BasetenResultStoreError, match="is not usable"):
            files.check_writable(f"{tmp_path}/{name}")


def full(self, target):
    raise OSError(28, "No space left on device")


def test_random_values_come_back_from_a_file(deliver, tmp_path):
    seed = 20_261_127
    chance = random.Random(seed)
    for number in range(300):
        value = json.loads(json.dumps(random_value(chance)))  # Joins halves of characters.
        reference = deliver(value, f"r{number}", output_path=f"file://{tmp_path}/")
        assert same(outputs.read_output(reference), value), f"seed {seed}, value {number}: {value!r}"
