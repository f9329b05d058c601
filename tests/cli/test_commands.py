"""``airflow baseten`` as its users run it."""

import json
import re
import signal
import subprocess
import sys
from argparse import Namespace
from decimal import Decimal

import pytest

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.cli import console
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.emulator import Fault
from tests.cli.conftest import AIRFLOW, KEY, MODULE, environment
from tools.airflow_api import wait_until

COMMANDS = {
    "async-predict",
    "cancel",
    "check",
    "connection-from-trussrc",
    "deployments",
    "emulator",
    "environments",
    "logs",
    "models",
    "predict",
    "promote",
    "relay",
    "scale",
    "status",
    "training",
    "wake",
}


class TestHelp:
    def test_the_group(self, run):
        done = run("--help", program=AIRFLOW)
        assert done.code == 0
        assert {line.split()[0] for line in done.out.splitlines() if line.startswith("    ")} >= COMMANDS
        assert "Exit codes" in done.out

    def test_every_argument_is_explained(self):
        from airflow.cli.cli_parser import ALL_COMMANDS_DICT

        group = ALL_COMMANDS_DICT["baseten"]
        assert {command.name for command in group.subcommands} == COMMANDS
        for command in group.subcommands:
            assert command.help
            for argument in command.args:
                assert argument.kwargs.get("help") or command.name == "emulator", (command.name, argument.flags)

    def test_the_emulators_own_command_line(self, run):
        done = run("emulator", "--help", program=AIRFLOW)
        assert done.code == 0
        assert "usage: airflow baseten emulator" in done.out
        assert "--truss ID=DIR" in done.out

    def test_definitions_load_nothing_heavy(self):
        """Every ``airflow`` command loads them."""
        name = "airflow_provider_baseten"
        code = f"import sys, {name}.cli.definition; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = set(done.stdout.splitlines()[-1].split())
        own = {module.removeprefix(name) for module in loaded if module.startswith(name)}
        definitions = {".cli", ".cli.arguments", ".cli.definition", ".cli.management_definition"}
        assert own <= {"", ".get_provider_info", *definitions, ".config", ".compat", ".exceptions"}
        assert not {"requests", "pyreqwest", "fastapi", "starlette", "openai"} & loaded

    def test_commands_load_only_what_calls_baseten(self):
        name = "airflow_provider_baseten"
        code = f"import sys, {name}.cli.inference, {name}.cli.management; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = set(done.stdout.splitlines()[-1].split())
        parts = ("batch", "operators", "sensors", "triggers", "decorators", "webhook", "emulator", "results", "ledger")
        assert not {module for module in loaded if module.startswith(tuple(f"{name}.{part}" for part in parts))}
        assert not {"fastapi", "starlette", "openai", "pyarrow", "numpy", "uvicorn"} & loaded


class TestPredict:
    def test_input_as_an_argument(self, run, baseten):
        value = {"text": "Grüße, 世界 🚀", "list": [1.5, None, True]}
        seen = len(baseten.requests)
        done = run(
            "predict", "--model-id", "abc", "--environment", "development", "-d", json.dumps(value), program=AIRFLOW
        )
        assert (done.code, done.err) == (0, "")
        assert done.output == value
        assert "Grüße, 世界 🚀" in done.out
        (request,) = baseten.requests[seen:]
        assert request.path == "/model-abc/development/predict"

    @pytest.mark.parametrize(
        "number", ["1.2345678901234567890123", "123456789012345678901234567890", "1E+400", "0.1", "-0.0", "9" * 5000]
    )
    def test_numbers_keep_every_digit(self, capsysbinary, number):
        text = f'{{"n":{number},"k":[{number}]}}'
        value = console.read_input(Namespace(data=text, file=None))
        sent = build_predict(Target(model_id="abc"), value).body
        response = Response(request=None, status=200, headers={"content-type": "application/json"}, body=text.encode())
        console.print_output(response.output())
        written = capsysbinary.readouterr().out
        assert written.decode() == f'{{\n  "n": {number},\n  "k": [\n    {number}\n  ]\n}}\n'
        assert sent.decode() == text

    @pytest.mark.parametrize("levels", [50, 600, 950])
    def test_deep_output(self, capsysbinary, levels):
        """Too deep for lines of their own, it is on one line."""
        value = Decimal("1E+400")
        for _ in range(levels):
            value = [value]
        console.print_output(value)
        written = capsysbinary.readouterr().out
        assert b"".join(written.split()) == b"[" * levels + b"1E+400" + b"]" * levels

    def test_output_that_has_no_bytes_stays_json(self, run_here, baseten):
        baseten.inject(Fault(target="abc", status=200, body={"half": "\ud800"}))
        done = run_here("predict", "--model-id", "abc", "-d", "1")
        assert (done.code, done.output) == (0, {"half": "\ud800"})

    def test_input_from_stdin_in_an_ascii_world(self, run):
        value = {"n": "ü" * 100_000}
        text = json.dumps(value, ensure_ascii=False).encode("utf-8-sig")
        done = run("predict", "--chain-id", "xyz", stdin=text, PYTHONIOENCODING="ascii", LC_ALL="C")
        assert (done.code, done.output) == (0, value)

    def test_input_from_a_file_and_a_stream_as_it_comes(self, run, run_here, tmp_path):
        (tmp_path / "input.json").write_text('{"lines": 3}')
        path = str(tmp_path / "input.json")
        assert run("predict", "--model-id", "lines", "-f", path, "--stream").out == "line 0 é\nline 1 é\nline 2 é\n"
        assert run_here("predict", "--model-id", "lines", "-f", path).output == "line 0 é\nline 1 é\nline 2 é\n"

    def test_who_stops_reading_hears_no_complaint(self, baseten, tmp_path):
        # More than a pipe holds.
        command = f"{' '.join(AIRFLOW)} predict --model-id lines --stream -d '{{\"lines\": 100000}}' | head -n 1"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            env=environment(baseten.url),
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "line 0 é\n", b"")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "stdin", "words"),
        [
            (["--model-id", "abc", "-d", '{"a": private'], b"", "--data is not JSON: Expecting value in line 1"),
            (["--model-id", "abc"], b"[NaN]", "stdin is not JSON: JSON has no NaN"),
            (["--model-id", "abc"], b"", "stdin is not JSON"),
            (["--model-id", "abc"], b"[" * 100_000, "nested too deeply"),
            (["--model-id", "abc"], b"\xff\xfe\x00", "stdin is not JSON"),
            (["--model-id", "abc", "-f", "/no/such/file"], b"", "/no/such/file can't be read: No such file"),
            (["--model-id", "abc", "-d", "1", "-f", "x"], b"", "at most one of --data and --file"),
            (["-d", "1"], b"", "exactly one of --model-id and --chain-id; neither is given."),
            (["-d", "1", "--model-id", "a", "--chain-id", "b"], b"", "of --model-id and --chain-id; both are given."),
            (
                ["-d", "1", "--model-id", "a", "--environment", "b", "--deployment-id", "c"],
                b"",
                "at most one of --environment and --deployment-id; both are given.",
            ),
            (
                ["-d", "1", "--model-id", "a", "--regional", "--deployment-id", "c"],
                b"",
                "at most one of --regional and --deployment-id",
            ),
            (
                ["-d", "1", "--model-id", "a", "--regional", "--environment", "development"],
                b"",
                "Error: --environment 'development' can't be regional",
            ),
            (["-d", "1", "--model-id", "a/b"], b"", "Error: --model-id 'a/b' is not valid: it takes letters"),
            (
                ["-d", "1", "--model-id", "model-abcd1234"],
                b"",
                "Error: --model-id 'model-abcd1234' is not valid: give the id alone, --model-id 'abcd1234'.",
            ),
            (["-d", "1", "--model-id", "chain-efgh5678"], b"", "give the id alone, --chain-id 'efgh5678'."),
            (["-d", "1", "--model-id", "a", "--conn-id", ""], b"", "Error: --conn-id '' is not the id of a connection"),
            (["-d", "1", "--model-id", "a", "--timeout", "1e12"], b"", "Error: --timeout 1000000000000.0 is longer"),
            (
                ["--chain-id", "xyz", "-d", "1"],
                b"",
                "Error: The input of a chain is an object with the arguments of run_remote",
            ),
            (["--model-id", "abc", "-d", "1", "--timeout", "-1"], b"", "not a positive number"),
        ],
    )
    def test_what_is_not_valid_is_not_sent(self, run_here, baseten, arguments, stdin, words):
        seen = len(baseten.requests)
        done = run_here("predict", *arguments, stdin=stdin)
        assert done.code == 2
        assert words in done.err
        assert "private" not in done.err
        assert done.out == ""
        assert len(baseten.requests) == seen

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["async-predict", "-d", "1"], "exactly one of --model-id and --chain-id"),
            (["async-predict", "--chain-id", "xyz", "-d", "1"], "Error: The input of a chain is an object"),
            (["async-predict", "--model-id", "abc", "-d", "1", "--priority", "3"], "Error: --priority 3 is not"),
            (
                ["async-predict", "--model-id", "abc", "-d", "1", "--max-time-in-queue-seconds", "1"],
                "Error: --max-time-in-queue-seconds 1 is not",
            ),
            (
                ["async-predict", "--model-id", "abc", "-d", "1", "--webhook-endpoint", "h"],
                "Error: --webhook-endpoint is not an absolute URL",
            ),
            (["status", "r1"], "exactly one of --model-id and --chain-id; neither is given."),
            (["status", "r 1", "--model-id", "abc"], "Error: REQUEST_ID 'r 1' is not valid"),
            (["cancel", "r1", "--model-id", "https://model-abc.api.baseten.co/"], "alone, --model-id 'abc'."),
            (["wake"], "exactly one of --model-id and --chain-id; neither is given."),
            (["deployments"], "exactly one of --model-id and --chain-id; neither is given."),
            (["deployments", "--model-id", "model-abc"], "give the id alone, --model-id 'abc'."),
            (["deployments", "--model-id", "a", "--deployment-id", "a/b"], "Error: --deployment-id 'a/b' is not valid"),
            (["models", "--model-id", "a/b"], "Error: --model-id 'a/b' is not valid"),
            (["environments"], "exactly one of --model-id and --chain-id; neither is given."),
            (["promote", "--deployment-id", "d"], "Give the --model-id."),
            (["scale", "--model-id", "abc"], "Give at least one setting, for example --min-replica 0."),
            (["logs", "--model-id", "abc", "--limit", "0"], "--limit 0 is not a whole number from 1 to 1000"),
            (["training", "logs"], "training logs needs --project-id and --job-id."),
            (["models", "--model-id", "a", "--name", "b"], "at most one of --model-id and --name; both are given."),
        ],
    )
    def test_options_are_named_as_on_the_command_line(self, run_here, baseten, arguments, words):
        seen = len(baseten.requests)
        done = run_here(*arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
        assert not re.search(r"\w_(id|input|endpoint|seconds)\b", done.err)
        assert len(baseten.requests) == seen

    def test_a_field_of_the_connection_keeps_its_name(self, run_here, monkeypatch):
        extra = {"webhook_endpoint": ["a"]}
        connection = {"conn_type": "baseten", "password": KEY, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps(connection))
        done = run_here(
            *("async-predict", "--model-id", "abc", "-d", "1"),
            *("--conn-id", "odd", "--webhook-endpoint", "https://a.example.com"),
        )
        assert done.code == 2
        assert "webhook_endpoint of connection 'odd' takes a text, not a list" in done.err

    def test_bad_json_is_one_sentence_in_airflow_too(self, run):
        done = run("predict", "--model-id", "abc", "-d", "{bad", program=AIRFLOW)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Error: The input from --data is not JSON:")
        assert done.err.count("\n") == 1

    def test_unknown_connection(self, run):
        done = run("models", "--conn-id", "nobody", program=AIRFLOW)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("Error: Connection 'nobody' does not exist")
        assert done.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["predict", "--model-id", "abc", "-d", "1", "--conn-id", "refused"], "The API key was refused"),
            (["predict", "--model-id", "nomodel", "-d", "1"], "returned 404"),
            (["models", "--conn-id", "refused"], "The API key was refused"),
            (["status", "r1", "--model-id", "abc"], "returned 404"),
            (["predict", "--model-id", "abc", "-d", "1", "--conn-id", "unreachable"], "can't be reached"),
        ],
    )
    def test_a_call_that_fails(self, run_here, arguments, words):
        done = run_here(*arguments)
        assert (done.code, done.out) == (1, "")
        assert words in done.err.splitlines()[-1]

    def test_an_answer_that_is_too_late(self, run_here, baseten):
        baseten.inject(Fault(target="abc", delay=30))
        done = run_here("predict", "--model-id", "abc", "-d", "1", "--timeout", "0.2")
        assert (done.code, done.out) == (1, "")
        assert "no response came within 0.2 s" in done.err

    def test_ctrl_c_ends_it_without_a_word_and_the_work_too(self, baseten):
        baseten.inject(Fault(target="abc", delay=60))
        seen = len(baseten.requests)
        command = [*MODULE, "predict", "--model-id", "abc", "-d", "1"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(baseten.url)
        ) as process:
            try:
                wait_until(lambda: len(baseten.requests) > seen, 60, "the request to arrive", every=0.05)
            finally:
                process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=30)
        assert (process.returncode, output) == (130, (b"", b""))
        wait_until(lambda: baseten.requests[seen].status == 499, 30, "the emulator to notice", every=0.05)

    def test_a_retry_is_announced_beside_the_output(self, run, baseten):
        baseten.inject(Fault(target="abc", status=503, headers={"Retry-After": "0"}))
        done = run("predict", "--model-id", "abc", "-d", "1")
        assert (done.code, done.output) == (0, 1)
        assert "Attempt 2 follows" in done.err


class TestAsync:
    def test_from_submission_to_the_end(self, run, run_here, baseten):
        baseten.hold()
        try:
            submitted = run("async-predict", "--model-id", "abc", "-d", '{"a": 1}', "--priority", "2", program=AIRFLOW)
            request_id = submitted.output["request_id"]
            named = [request_id, "--model-id", "abc"]
            assert run_here("status", *named).output["status"] == "QUEUED"
            assert run_here("cancel", *named).output == {"request_id": request_id, "canceled": True}
        finally:
            baseten.release()
        assert run_here("cancel", *named).output["canceled"] is False
        assert run_here("status", *named).output["status"] == "CANCELED"
        assert baseten.async_requests[request_id].priority == 2

    def test_bounds_are_checked_first(self, run_here):
        assert run_here("async-predict", "--model-id", "abc", "-d", "{}", "--priority", "3").code == 2


class TestManagement:
    def test_models_and_deployments(self, run, run_here):
        assert [model["id"] for model in run("models", program=AIRFLOW).output] == ["abc", "lines", "cold", "two"]
        assert [model["id"] for model in run_here("models", "--name", "cold one").output] == ["cold"]
        assert run_here("models", "--model-id", "abc").output["name"] == "abc"
        (deployment,) = run_here("deployments", "--model-id", "abc").output
        assert run_here("deployments", "--model-id", "abc", "--deployment-id", "production").output == deployment
        assert run_here("deployments", "--chain-id", "xyz").output[0]["chain_id"] == "xyz"
        assert run_here("models", "--model-id", "abc", "--name", "x").code == 2

    def test_environments_and_settings(self, run_here):
        names = [environment["name"] for environment in run_here("environments", "--model-id", "two").output]
        assert names == ["production", "staging"]
        of_staging = ["--model-id", "two", "--environment", "staging"]
        assert run_here("scale", *of_staging, "--max-replica", "4").output["status"] == "ACCEPTED"
        settings = run_here("environments", *of_staging).output["autoscaling_settings"]
        assert (settings["min_replica"], settings["max_replica"]) == (1, 4)
        assert run_here("scale", "--model-id", "two", "--deployment-id", "twod1", "--min-replica", "0").code == 0
        deployment = run_here("deployments", "--model-id", "two", "--deployment-id", "twod1").output
        assert deployment["autoscaling_settings"]["min_replica"] == 0
        assert run_here("environments", "--chain-id", "xyz").output[0]["name"] == "production"

    def test_promotion(self, run_here):
        done = run_here("promote", "--model-id", "two", "--deployment-id", "twod2", "--wait")
        assert (done.output["id"], done.output["is_production"]) == ("twod2", True)
        assert "The promotion of deployment twod2 of model two to production after" in done.err

    def test_logs_of_a_request(self, run_here, baseten):
        assert run_here("predict", "--model-id", "two", "-d", "1").code == 1
        request_id = baseten.requests[-1].request_id
        done = run_here("logs", "--model-id", "two", "--request-id", request_id)
        assert re.match(r"\d{4}-\d\d-\d\dT\S+ ERROR ", done.out)
        assert "no weights" in done.out
        assert run_here("predict", "--model-id", "two", "-d", "1").code == 1
        newest = run_here("logs", "--model-id", "two", "--limit", "1").out
        assert newest.count(" ERROR predict raised") == 1
        assert newest.split()[0] > done.out.split()[0]

    def test_training(self, run_here, baseten):
        credentials = Credentials(api_key=KEY, base_url=baseten.url)
        with Client(credentials) as client:
            project = client.management.ensure_training_project("p")
            spec = {"image": {"base_image": "python:3.11"}, "runtime": {"start_commands": ["seq 1200; sleep 600"]}}
            job = client.management.create_training_job(project.id, spec)
            named = ["--project-id", project.id, "--job-id", job.id]
            newest = {"direction": "desc", "limit": 1}
            wait_until(
                lambda: (
                    [line.message for line in client.management.get_training_logs(project.id, job.id, **newest)]
                    == ["1200"]
                ),
                30,
                "the last line",
            )
        assert [found["id"] for found in run_here("training", "jobs", "--project-id", project.id).output] == [job.id]
        shown = [int(line.split()[-1]) for line in run_here("training", "logs", *named).out.splitlines()]
        assert shown == [*range(201, 1201)]
        assert run_here("training", "checkpoints", *named).output == []
        assert run_here("training", "stop", *named).output["id"] == job.id
        wait_until(lambda: baseten.training_jobs[job.id].status == "TRAINING_JOB_STOPPED", 30, "the end of the job")

    def test_wake(self, run_here):
        def status():
            return run_here("deployments", "--model-id", "cold", "--deployment-id", "production").output["status"]

        assert status() == "SCALED_TO_ZERO"
        assert run_here("wake", "--model-id", "cold").output == {"woken": "model cold (environment production)"}
        assert status() == "WAKING_UP"


def test_emulator_without_what_it_needs():
    code = "import sys; sys.modules['uvicorn'] = None; from airflow_provider_baseten.cli.__main__ import main; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code} main(['emulator', '--help'])"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The emulator needs uvicorn, which is missing: pip install")


def test_emulator_runs_until_it_is_told_to_end(baseten):
    command = [*MODULE, "emulator", "--upstream", "abc=http://127.0.0.1:9", "--port", "0", "--api-key", KEY]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment("")
    ) as process:
        try:
            announced = process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert announced.startswith("Baseten emulator on http://127.0.0.1:")
    assert (process.returncode, errors) == (0, "")


TALKATIVE_BACKEND = """
import logging, sys, warnings
import structlog
from airflow.secrets import BaseSecretsBackend

class Talkative(BaseSecretsBackend):
    def get_connection(self, conn_id):
        warnings.warn("one warning")
        logging.getLogger("airflow.secrets").warning("another warning")
        structlog.get_logger("airflow.secrets").warning("a third warning")
        print("a fourth one")
"""


@pytest.mark.parametrize("program", [AIRFLOW, MODULE], ids=["airflow", "module"])
def test_what_libraries_say_is_not_among_the_output(run, tmp_path, program):
    (tmp_path / "talkative.py").write_text(TALKATIVE_BACKEND)
    talkative = {"PYTHONPATH": str(tmp_path), "AIRFLOW__SECRETS__BACKEND": "talkative.Talkative"}
    done = run("models", program=program, **talkative)
    assert [model["id"] for model in done.output] == ["abc", "lines", "cold", "two"]
    assert all(words in done.err for words in ("one warning", "another warning", "a third warning", "a fourth one"))
