"""Large outputs go from the wire to their file without being held in memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenResponseError
from airflow_provider_baseten.storage import encoding, files, outputs
from tests.scripted_server import ScriptedServer

MEGABYTE = 1 << 20
SIZE = 300

# Prints the XCom and the peak of the memory that its own process has taken.
TASK = """
import json, sys
from pathlib import Path
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow_provider_baseten.operators.{module} import {operator}

class TaskInstance:
    dag_id, run_id, task_id, map_index, max_tries, try_number = "d", "r", "t", -1, 0, 1
    def xcom_push(self, key, value): pass

ExecutorSafeguard.test_mode = True
task = {operator}(task_id="t", **json.loads(sys.argv[1]))
got = task.execute({{"ti": TaskInstance()}})
# Not getrusage, which counts what the process that started this one had taken.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps([got, int(peak.split()[1])]))
"""


def large_answer(megabytes, content_type):
    """Send JSON or text of this size, made while it is sent."""
    piece = b'"' + b"x" * (MEGABYTE - 3) + b'",'
    length = megabytes * MEGABYTE + 1 if content_type == "application/json" else megabytes * MEGABYTE

    def behave(connection):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n"
        connection.sendall(f"{head}X-Baseten-Request-Id: r1\r\nConnection: close\r\n\r\n".encode())
        if content_type != "application/json":
            for _ in range(megabytes):
                connection.sendall(piece)
            return
        connection.sendall(b"[")
        for _ in range(megabytes - 1):
            connection.sendall(piece)
        connection.sendall(piece[:-1] + b"]")

    return behave


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        ("predict.BasetenPredictOperator", {"model_input": 1, "output_path": "out.json"}),
        ("sync_route.BasetenSyncRouteOperator", {"route": "r"}),
    ],
)
@pytest.mark.processes
def test_an_answer_of_300_megabytes_takes_little_memory(connect, tmp_path, operator, arguments):
    content_type = "text/plain" if "route" in arguments else "application/json"
    if "output_path" in arguments:
        arguments = arguments | {"output_path": f"file://{tmp_path}/{arguments['output_path']}"}
    module, _, name = operator.partition(".")
    with ScriptedServer(large_answer(SIZE, content_type)) as server:
        connect(host=server.url, password="k.s", extra={"result_store": f"file://{tmp_path}/store"})
        code = TASK.format(module=module, operator=name)
        argument = json.dumps({"model_id": "m"} | arguments)
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    reference, peak_kilobytes = json.loads(done.stdout.splitlines()[-1])
    path = Path(reference["uri"].removeprefix("file://"))
    assert path.stat().st_size == reference["bytes"] >= SIZE * MEGABYTE
    assert reference["format"] == ("text" if content_type == "text/plain" else "json")
    assert peak_kilobytes < 200 * 1024


def large(body, content_type="application/json"):
    kept = LargeBody()
    kept.append(body)
    request = Request(method="POST", host="model-m", path="/predict", subject="predict of model m")
    headers = {"content-type": content_type, "x-baseten-request-id": "r1"}
    return Response(request=request, status=200, headers=headers, body=b"", large=kept)


def pad(begin, end):
    return begin + b"1," * 200_000 + end


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (pad(b"\xef\xbb\xbf [", b"1]\n "), "application/json", "json"),
        (pad(b'{"a": [', b"1]}"), "application/problem+json", "json"),
        (pad(b'"', b'"'), "application/json", "json"),
        (pad(b"", "ü".encode()), "text/plain", "text"),
        (pad(b"", b"\xff"), "text/plain", "bytes"),
        (pad(b"", b"\xff"), "image/png", "bytes"),
    ],
)
def test_a_large_output_is_read_back(connect, tmp_path, body, content_type, expected):
    store = f"file://{tmp_path}"
    connect(password="k.s", extra={"result_store": store})
    output = outputs.output_of(large(body, content_type))
    places = {"output_path": None, "result_store": store, "baseten_conn_id": "baseten_default"}
    reference = outputs.save_output(output, "r1", **places)
    assert reference["format"] == expected
    [path] = (tmp_path / "outputs").iterdir()
    assert path.read_bytes() == body
    value = outputs.read_output(reference)
    assert value == (body if expected == "bytes" else encoding.decode_output(body, expected))


@pytest.mark.parametrize("body", [pad(b"[", b"1,"), pad(b'{"a": [', b"1]"), pad(b"", b"x"), pad(b"<html>", b"</html>")])
def test_a_large_answer_that_is_cut_is_refused(body):
    with pytest.raises(BasetenResponseError, match="does not begin and end as JSON"):
        outputs.output_of(large(body))


def test_what_may_go_to_xcom_is_decoded(monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__XCOM_MAX_BYTES", "10000000")
    assert outputs.output_of(large(pad(b"[", b"1]"))).value == [1] * 200_001


def test_an_object_store_gets_it_in_pieces():
    body = pad(b"[", b"1]")
    kept = large(body).large
    files.write("memory://large/a/out.json", kept)
    assert files.object_path("memory://large/a/out.json").read_bytes() == body
