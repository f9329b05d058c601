"""Rows go in, each comes out once, and failures stay with their rows; against the emulator."""

import json
import os
import re
import threading
import time

import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.manifest import Manifest, merge_manifests
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenBatchError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenResultLostError,
    BasetenResultStoreError,
)
from tests.batch.conftest import KEY, lines_of, outputs_of, write_jsonl
from tests.ports import closed_port

ROWS = [{"id": f"r{index}", "text": f"t{index} ü\n"} for index in range(20)]


def echoes(rows):
    return {index: {"echo": row} for index, row in enumerate(rows)}


class TestInputs:
    def test_jsonl(self, run, tmp_path, baseten):
        manifest = run(input_path=write_jsonl(tmp_path / "in.jsonl", ROWS))
        assert outputs_of(manifest) == echoes(ROWS)
        assert (manifest.complete, manifest.rows, manifest.succeeded, manifest.failed) == (True, 20, 20, 0)
        assert manifest.outcomes == {"success": 20}
        assert manifest.sent == len(baseten.requests) == 20
        assert 0 < manifest.latency["p50"] <= manifest.latency["p99"] <= manifest.latency["max"]
        stored = json.loads((tmp_path / "out" / "_manifest.json").read_text())
        assert Manifest(**stored) == manifest

    def test_csv(self, run, tmp_path):
        (tmp_path / "in.csv").write_text('\ufeffid,text\n1,"a, b"\n\n2,"c\nd"\n')
        manifest = run(input_path=str(tmp_path / "in.csv"))
        assert outputs_of(manifest) == echoes([{"id": "1", "text": "a, b"}, {"id": "2", "text": "c\nd"}])

    def test_parquet(self, run, tmp_path):
        rows = [{"n": index, "x": None if index % 2 else 0.5, "list": [index]} for index in range(2500)]
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
        manifest = run(input_path=str(tmp_path / "in.parquet"))
        assert outputs_of(manifest) == echoes(rows)
        assert len(manifest.parts) == 3

    def test_folder_and_glob_in_the_order_of_names(self, run, tmp_path):
        for name, rows in {"b.jsonl": [3, 4], "a.jsonl": [1, 2], "sub/c.csv": [], "_old/d.jsonl": [9]}.items():
            write_jsonl(tmp_path / "in" / name, rows or ["h"])
        (tmp_path / "in" / "notes.txt").write_text("no rows")
        assert outputs_of(run(input_path=str(tmp_path / "in"))) == echoes([1, 2, 3, 4])
        glob = run(input_path=f"file://{tmp_path}/in/b*.jsonl", output_path=f"file://{tmp_path}/glob")
        assert outputs_of(glob) == echoes([3, 4])

    @pytest.mark.parametrize("make", [list, tuple, iter])
    def test_values(self, run, make):
        values = [1, "text", None, [], {"a": 1.5}]
        assert outputs_of(run(inputs=make(values))) == echoes(values)

    def test_no_values_are_no_work(self, run, baseten):
        assert run(inputs=[]).rows == 0
        assert not baseten.requests

    def test_object_storage(self, run, tmp_path):
        from airflow.sdk import ObjectStoragePath

        source = ObjectStoragePath("memory://bucket/in/rows.jsonl")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(b'{"a":1}\n{"a":2}\n')
        for input_path in ("memory://bucket/in/rows.jsonl", "memory://bucket/in", "memory://bucket/in/*.jsonl"):
            output = f"memory://bucket/out{len(input_path)}"
            manifest = run(input_path=input_path, output_path=output)
            (part,) = manifest.parts
            lines = [json.loads(line) for line in ObjectStoragePath(part).read_text().splitlines()]
            assert lines == [{"row": index, "output": {"echo": {"a": index + 1}}} for index in (0, 1)]
            assert run(input_path=input_path, output_path=output) == manifest

    def test_a_row_is_sent_as_it_stands_in_its_file(self, tmp_path, run):
        bodies = []

        async def app(scope, receive, send):
            bodies.append((await receive())["body"])
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
            )
            await send(
                {"type": "http.response.body", "body": b'{ "a" : 1.50,\n "b": 123456789012345678901234567890 }\n'}
            )

        text = '{ "n": 1.0,  "big": 123456789012345678901234567890 }'
        with Emulator(models={"raw": app}, api_key=KEY) as emulator:
            target = Target(model_id="raw")
            manifest = run(target=target, base_url=emulator.url, input_path=write_jsonl(tmp_path / "in.jsonl", [text]))
        assert bodies == [text.encode()]
        (part,) = manifest.parts
        expected = '{"row":0,"output":{ "a" : 1.50,  "b": 123456789012345678901234567890 }}\n'
        assert (tmp_path / "out" / part.rpartition("/")[2]).read_text() == expected


class TestShapeOfRows:
    def test_column_callable_and_kept_columns(self, run, tmp_path):
        path = write_jsonl(tmp_path / "in.jsonl", ROWS)
        column = run(input_path=path, model_input="text", id_column="id", output_path=f"{tmp_path}/column")
        assert lines_of(*column.parts)[3] == {"row": 3, "id": "r3", "output": {"echo": "t3 ü\n"}}
        made = run(
            input_path=path,
            model_input=lambda row: [row["id"]],
            output_filter=lambda output: output["echo"][0],
            keep_columns=["text"],
            output_path=f"{tmp_path}/made",
        )
        assert lines_of(*made.parts)[4] == {"row": 4, "text": "t4 ü\n", "output": "r4"}

    def test_callables_that_raise_fail_their_row(self, run):
        manifest = run(
            inputs=[1, 0, 3],
            model_input=lambda row: 1 / row,
            output_filter=lambda output: 1 / (output["echo"] - 1),
        )
        errors = {number: line["error"] for number, line in lines_of(*manifest.failed_parts).items()}
        assert errors[1]["type"] == "BasetenInputError"
        place = r"raised ZeroDivisionError in <lambda> \(test_engine\.py, line \d+\)"
        assert re.fullmatch(rf"model_input {place} for inputs\[1\]\.", errors[1]["message"])
        assert errors[0]["type"] == "BasetenResponseError"
        assert re.search(f"was not taken by output_filter, which {place}", errors[0]["message"])
        assert outputs_of(manifest).keys() == {2}

    def test_a_row_that_raises_fails_alone(self, run):
        class Broken(dict):
            def __getitem__(self, name):
                raise ValueError("private-text")

        manifest = run(inputs=[{"a": 1}, Broken(a=2)], model_input="a")
        [error] = [line["error"] for line in lines_of(*manifest.failed_parts).values()]
        assert re.fullmatch(
            r"inputs\[1\] can't be turned into a request: reading it raised ValueError in __getitem__ "
            r"\(test_engine\.py, line \d+\)\. Use rows of plain values\.",
            error["message"],
        )

    def test_rows_in_one_request(self, run, model):
        joined = run(inputs=list(range(10)), rows_per_request=4, split_output=lambda answer: answer["echo"])
        assert outputs_of(joined) == dict(enumerate(range(10)))
        assert sorted(model.seen) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    def test_an_answer_with_too_few_outputs_fails_its_rows(self, run):
        manifest = run(inputs=[1, 2, 3, 4], rows_per_request=2, split_output=lambda answer: answer["echo"][:1])
        assert manifest.outcomes == {"BasetenResponseError": 4}

    def test_parquet_output(self, run, tmp_path):
        manifest = run(inputs=ROWS, id_column="id", model_input="text", output_format="parquet")
        table = pyarrow.parquet.read_table(manifest.parts[0])
        assert table.column_names == ["row", "id", "output"]
        assert sorted(table.column("id").to_pylist()) == sorted(row["id"] for row in ROWS)
        assert json.loads(table.column("output")[0].as_py()) == {"echo": "t0 ü\n"}
        assert run(inputs=ROWS, id_column="id", model_input="text", output_format="parquet") == manifest

    def test_chain(self, run):
        manifest = run(target=Target(chain_id="chain"), inputs=[{"a": 1}, 5])
        assert outputs_of(manifest) == {0: {"echo": {"a": 1}}}
        assert "a chain takes" in lines_of(*manifest.failed_parts)[1]["error"]["message"]

    def test_text_answer(self, run, tmp_path):
        def stream(model_input):
            yield "a\n"
            yield "b"

        with Emulator(models={"text": stream}, api_key=KEY) as emulator:
            assert outputs_of(run(target=Target(model_id="text"), base_url=emulator.url, inputs=[1])) == {0: "a\nb"}


class TestFailures:
    def test_a_failed_row_carries_its_error_and_fails_no_other(self, run, model, baseten):
        model.broken = lambda row: row["id"] == "r5"
        manifest = run(inputs=ROWS, keep_columns=["id"])
        assert (manifest.succeeded, manifest.failed) == (19, 1)
        assert manifest.outcomes == {"success": 19, "BasetenModelError": 1}
        (line,) = lines_of(*manifest.failed_parts).values()
        request = next(request for request in baseten.requests if request.status == 500)
        assert (line["row"], line["id"]) == (5, "r5")
        error = line["error"]
        assert (error["type"], error["status"], error["request_id"]) == ("BasetenModelError", 500, request.request_id)
        assert sorted(outputs_of(manifest)) == [index for index in range(20) if index != 5]

    def test_what_can_be_repeated_is(self, run, baseten):
        baseten.inject(Fault(status=429, headers={"Retry-After": "0.2"}), Fault(status=503), Fault(status=529))
        started = time.monotonic()
        manifest = run(inputs=ROWS)
        assert time.monotonic() - started >= 0.2
        assert manifest.succeeded == 20
        assert manifest.sent == len(baseten.requests) == 23

    def test_a_row_that_may_have_run_is_repeated_only_if_allowed(self, run, baseten, tmp_path):
        baseten.inject(Fault(reset=True))
        once = run(inputs=[1, 2], max_concurrency=1)
        assert once.outcomes == {"BasetenUnavailableError": 1, "success": 1}
        assert len(baseten.requests) == 2
        baseten.inject(Fault(reset=True))
        assert run(inputs=[1], idempotent=True, output_path=str(tmp_path / "again")).succeeded == 1

    def test_rows_that_were_answered_and_have_all_failed_are_in_the_manifest(self, run, model):
        model.broken = lambda row: True
        assert run(inputs=[1, 2]).failed == 2

    def test_no_row_was_answered(self, run, tmp_path):
        with closed_port() as port, pytest.raises(BasetenBatchError) as raised:
            run(base_url=f"http://127.0.0.1:{port}", inputs=[1, 2])
        assert re.fullmatch(
            r"No row got a response: 2 of 2 rows have failed \(2 BasetenUnavailableError\); "
            r"see \S+/_failed-\S+\.jsonl\. "
            r"Row 0: predict of model echo .+",
            str(raised.value),
        )
        assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["failed"] == 2
        with closed_port() as port:
            assert run(base_url=f"http://127.0.0.1:{port}", inputs=[1, 2], max_failure_ratio=1.0).failed == 2
        # Of what an earlier run has done, all is there.
        assert run(inputs=[1, 2]).succeeded == 2

    def test_no_row_at_all(self, run, tmp_path):
        assert run(inputs=[]).rows == 0
        assert run(inputs=[1], num_shards=2, shard=1, output_path=str(tmp_path / "shard")).rows == 0

    def test_max_failed_rows_ends_the_run(self, run, model):
        model.broken = lambda row: True
        with pytest.raises(
            BasetenBatchError, match=r"max_failed_rows allows 3\. The last error is BasetenModelError: .*"
        ):
            run(inputs=list(range(500)), max_failed_rows=3)
        assert len(model.seen) < 100

    def test_max_failure_ratio_is_told_with_everything_written(self, run, model, tmp_path):
        model.broken = lambda row: row % 2 == 0
        with pytest.raises(BasetenBatchError, match="5 of 10 rows have failed"):
            run(inputs=list(range(10)), max_failure_ratio=0.4)
        assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["succeeded"] == 5

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [({"api_key": "wrong"}, BasetenAuthError), ({"target": "missing"}, BasetenNotFoundError)],
        ids=["key", "model"],
    )
    def test_what_no_row_survives_ends_the_run(self, run, baseten, arguments, error):
        if "target" in arguments:
            arguments = {"target": Target(model_id="missing")}
        with pytest.raises(error):
            run(inputs=list(range(1000)), **arguments)
        assert len(baseten.requests) <= 16

    def test_one_bad_row_does_not_take_its_request_with_it(self, run):
        async def app(scope, receive, send):
            rows = json.loads((await receive())["body"])
            status = 422 if "bad" in rows else 200
            await send(
                {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
            )
            await send({"type": "http.response.body", "body": json.dumps(rows).encode()})

        with Emulator(models={"strict": app}, api_key=KEY) as emulator:
            target = Target(model_id="strict")
            manifest = run(target=target, base_url=emulator.url, inputs=["a", "b", "bad", "c"], rows_per_request=4)
        assert outputs_of(manifest) == {0: "a", 1: "b", 3: "c"}
        assert lines_of(*manifest.failed_parts)[2]["error"]["status"] == 422

    def test_a_row_that_breaks_the_model_or_the_joining_fails_alone(self, run, model):
        model.broken = lambda rows: 3 in rows
        arguments = {"rows_per_request": 4, "split_output": lambda answer: answer["echo"]}
        manifest = run(inputs=[1, 2, 3, 4, 0], join_inputs=lambda rows: [1 / row and row for row in rows], **arguments)
        assert outputs_of(manifest) == {0: 1, 1: 2, 3: 4}
        errors = {number: line["error"] for number, line in lines_of(*manifest.failed_parts).items()}
        assert errors[2]["type"] == "BasetenModelError"
        assert re.fullmatch(
            r"join_inputs raised ZeroDivisionError in <(listcomp|lambda)> \(test_engine\.py, line \d+\) for 1 rows\.",
            errors[4]["message"],
        )


class TestBadInput:
    def test_broken_lines_are_failed_rows_that_name_file_and_line(self, run, tmp_path):
        path = write_jsonl(tmp_path / "in.jsonl", ['{"a":1}', '{"a":', "", "[NaN]", '{"a":2}'])
        manifest = run(input_path=path)
        assert outputs_of(manifest) == {0: {"echo": {"a": 1}}, 3: {"echo": {"a": 2}}}
        errors = {number: line["error"] for number, line in lines_of(*manifest.failed_parts).items()}
        assert errors[1]["type"] == errors[2]["type"] == "BasetenInputError"
        assert errors[1]["message"].startswith(f"{path}, line 2 is not JSON")
        assert errors[2]["message"].startswith(f"{path}, line 4 is not JSON")

    def test_ragged_csv(self, run, tmp_path):
        (tmp_path / "in.csv").write_text("a,b\n1,2\n1,2,3\n4,5\n")
        manifest = run(input_path=str(tmp_path / "in.csv"))
        assert sorted(outputs_of(manifest)) == [0, 2]
        message = lines_of(*manifest.failed_parts)[1]["error"]["message"]
        assert message == f"{tmp_path}/in.csv, line 3 has 3 fields, its header has 2."

    def test_csv_that_is_broken_in_one_line(self, run, tmp_path):
        lines = [b"a", b'"x"y', b"caf\xe9", b"z" * 5_000_000, b"ok"]
        (tmp_path / "in.csv").write_bytes(b"\n".join(lines))
        manifest = run(input_path=str(tmp_path / "in.csv"), output_filter=lambda output: len(output["echo"]["a"]))
        assert outputs_of(manifest) == {2: 5_000_000, 3: 2}
        errors = {number: line["error"]["message"] for number, line in lines_of(*manifest.failed_parts).items()}
        assert errors[0].startswith(f"{tmp_path}/in.csv, line 2 is not CSV")
        assert "lone surrogate" in errors[1]

    def test_parquet_that_is_none(self, run, tmp_path, baseten):
        (tmp_path / "in.parquet").write_bytes(b"PAR1 not")
        with pytest.raises(BasetenInputError, match=r"in\.parquet is not a Parquet file"):
            run(input_path=str(tmp_path / "in.parquet"))
        assert not baseten.requests

    def test_large_row(self, run, tmp_path):
        path = write_jsonl(tmp_path / "in.jsonl", [{"text": "x" * 5_000_000}, {"text": "y"}])
        assert {number: len(output["echo"]["text"]) for number, output in outputs_of(run(input_path=path)).items()} == {
            0: 5_000_000,
            1: 1,
        }

    def test_repeated_ids_fail_all_but_the_first(self, run, tmp_path, model):
        ids = [*range(2000), 7]
        path = write_jsonl(tmp_path / "in.jsonl", [{"id": id_} for id_ in ids])
        manifest = run(input_path=path, id_column="id")
        assert (manifest.succeeded, manifest.failed) == (2000, 1)
        assert (
            "line 2001 repeats the id of an earlier row" in lines_of(*manifest.failed_parts)[2000]["error"]["message"]
        )
        assert len(model.seen) == 2000

    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_empty_file(self, run, tmp_path, content):
        (tmp_path / "in.jsonl").write_text(content)
        with pytest.raises(BasetenInputError, match=r"in\.jsonl holds no rows"):
            run(input_path=str(tmp_path / "in.jsonl"))

    @pytest.mark.parametrize("argument", ["model_input", "id_column", "keep_columns"])
    def test_missing_column(self, run, tmp_path, baseten, argument):
        path = write_jsonl(tmp_path / "in.jsonl", ROWS)
        value = ["txt"] if argument == "keep_columns" else "txt"
        with pytest.raises(BasetenInputError, match=r"in\.jsonl has no column 'txt': it has 'id', 'text'"):
            run(input_path=path, **{argument: value})
        assert not baseten.requests
        assert not (tmp_path / "out").exists()

    def test_a_column_that_single_rows_lack(self, run, tmp_path):
        path = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}, {}, {"text": "b"}])
        manifest = run(input_path=path, model_input="text")
        assert sorted(outputs_of(manifest)) == [0, 2]
        assert "line 2 has no column 'text'" in lines_of(*manifest.failed_parts)[1]["error"]["message"]

    @pytest.mark.parametrize("path", ["missing.jsonl", "missing", "none*.jsonl"])
    def test_no_file(self, run, tmp_path, path):
        with pytest.raises(BasetenInputError, match="input_path"):
            run(input_path=str(tmp_path / path))

    def test_output_that_can_not_be_written(self, run, tmp_path, baseten):
        (tmp_path / "out").write_text("a file")
        with pytest.raises(BasetenResultStoreError, match="Nothing was sent"):
            run(inputs=[1])
        assert not baseten.requests

    def test_nan_and_unknown_types_fail_their_row(self, run):
        manifest = run(inputs=[{"x": float("nan")}, {"x": object()}, {"x": None}])
        errors = {number: line["error"]["message"] for number, line in lines_of(*manifest.failed_parts).items()}
        assert "is nan" in errors[0]
        assert "is of type object" in errors[1]
        assert sorted(outputs_of(manifest)) == [2]


class TestLimits:
    def test_rate(self, run, baseten):
        run(inputs=list(range(60)), requests_per_second=100, max_concurrency=60)
        times = sorted(request.received_at for request in baseten.requests)
        assert times[-1] - times[0] > 0.45  # A tenth of a second's share at once, then one every hundredth.

    def test_concurrency(self, run, tmp_path):
        now, most, lock = [0], [0], threading.Lock()

        def slow(model_input):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= 1

        with Emulator(models={"slow": slow}, api_key=KEY) as emulator:
            run(target=Target(model_id="slow"), base_url=emulator.url, inputs=list(range(100)), max_concurrency=7)
        assert most[0] == 7


def test_the_cores_of_the_process_are_its_own_again_after_a_run(run):
    before = os.sched_getaffinity(0)
    during = []
    run(inputs=[1], model_input=lambda row: during.append(os.sched_getaffinity(0)))
    assert os.sched_getaffinity(0) == before
    assert during == [before]  # Functions of the user are not kept on one core.


class TestShards:
    def test_shards_share_the_rows_and_their_manifests_merge(self, run, tmp_path, baseten):
        path = write_jsonl(tmp_path / "in.jsonl", ROWS)
        out = str(tmp_path / "out")
        first = run(input_path=path, num_shards=3, shard=0)
        assert sorted(outputs_of(first)) == [0, 3, 6, 9, 12, 15, 18]
        with pytest.raises(BasetenResultLostError, match="no manifest of shard 1, 2 of 3"):
            merge_manifests(out, 3)
        for shard in (1, 2, 0):
            run(input_path=path, num_shards=3, shard=shard)
        merged = merge_manifests(out, 3)
        assert outputs_of(merged) == echoes(ROWS)
        assert (merged.rows, merged.succeeded, merged.num_shards, merged.shard) == (20, 20, 3, None)
        assert merge_manifests(out, 3) == merged
        assert len(baseten.requests) == 20

    def test_more_shards_than_rows(self, run):
        assert run(inputs=[1, 2], num_shards=4, shard=3).rows == 0

    def test_another_number_of_shards_is_another_job(self, run):
        run(inputs=ROWS, num_shards=2, shard=1)
        with pytest.raises(BasetenInputError, match="belongs to a job with another input"):
            run(inputs=ROWS, num_shards=4, shard=1)
        assert run(inputs=ROWS, num_shards=4, shard=1, overwrite=True).rows == 5
