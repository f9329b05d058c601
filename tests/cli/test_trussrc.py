"""A connection made of the settings of Truss, given to ``airflow connections add``, and used from the database."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from airflow.sdk import Connection

from tests.cli.conftest import AIRFLOW, KEY, MODULE

OTHER = "wxyz5678.0th3r"


def section(name, **fields):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


@pytest.fixture
def trussrc(tmp_path):
    def write(*sections):
        path = tmp_path / ".trussrc"
        path.write_text("\n".join(sections))
        return ["connection-from-trussrc", "--file", str(path)]

    return write


def truss_remote(name="baseten", api_key=KEY, remote_url="https://app.baseten.co"):
    return section(name, remote_provider="baseten", api_key=api_key, remote_url=remote_url)


def read(text):
    connection = Connection.from_json(text, conn_id="from_truss")
    return connection.conn_type, connection.host, connection.password


@pytest.fixture(autouse=True)
def no_variables_of_truss(monkeypatch):
    for name in ("BASETEN_TRUSS_AUTH_REMOTE_URL", "BASETEN_TRUSS_AUTH_API_KEY", "USER_TRUSSRC_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_made_from_truss_and_used_from_the_database(run, baseten, trussrc, airflow_db, tmp_path):
    # A home of its own: `airflow` writes the key into it that encrypts what is in the database.
    with (
        closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"], "airflow.db"))) as database,
        closing(sqlite3.connect(tmp_path / "airflow.db")) as copy,
    ):
        database.backup(copy)
    here = {"program": AIRFLOW, "AIRFLOW_HOME": str(tmp_path)}
    command = trussrc(truss_remote("here", remote_url=baseten.url), truss_remote("there", OTHER))
    own = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    made = subprocess.run([*MODULE, *command, "--remote", "here"], env=own, capture_output=True, text=True, check=True)
    assert read(made.stdout) == ("baseten", baseten.url, KEY)
    add = [AIRFLOW[0], "connections", "add", "from_truss", "--conn-json", made.stdout]
    subprocess.run(add, env=own, capture_output=True, check=True)
    models = run("models", "--conn-id", "from_truss", **here)
    assert [model["id"] for model in models.output] == ["abc", "lines", "cold", "two"]


class TestHere:
    """In this process, for all else."""

    def test_the_one_remote_of_baseten(self, run_here, trussrc):
        done = run_here(*trussrc(truss_remote(api_key="100%.k3y")))
        assert (done.code, done.err) == (0, "")
        assert done.output == {"conn_type": "baseten", "port": 0, "password": "100%.k3y"}

    def test_where_truss_looks_for_it(self, run_here, trussrc, monkeypatch):
        monkeypatch.setenv("USER_TRUSSRC_PATH", trussrc(truss_remote())[-1])
        assert read(run_here("connection-from-trussrc").out) == ("baseten", None, KEY)

    @pytest.mark.parametrize(
        ("url", "host"), [("https://app.baseten.co", None), ("https://h.example.com/", "https://h.example.com")]
    )
    def test_variables_of_truss_come_before_its_file(self, run_here, trussrc, monkeypatch, url, host):
        command = trussrc(truss_remote("file", OTHER))
        monkeypatch.setenv("USER_TRUSSRC_PATH", command[-1])
        monkeypatch.setenv("BASETEN_TRUSS_AUTH_REMOTE_URL", url)
        monkeypatch.setenv("BASETEN_TRUSS_AUTH_API_KEY", KEY)
        assert read(run_here("connection-from-trussrc").out) == ("baseten", host, KEY)
        assert read(run_here(*command).out) == ("baseten", None, OTHER)
        refused = run_here("connection-from-trussrc", "--remote", "file")
        assert (refused.code, refused.out) == (2, "")
        assert "leave --remote out" in refused.err

    @pytest.mark.parametrize("name", ["BASETEN_TRUSS_AUTH_REMOTE_URL", "BASETEN_TRUSS_AUTH_API_KEY"])
    def test_one_variable_alone(self, run_here, monkeypatch, name):
        monkeypatch.setenv(name, "https://app.baseten.co")
        done = run_here("connection-from-trussrc")
        assert (done.code, done.out) == (2, "")
        assert "Set both" in done.err

    @pytest.mark.parametrize(
        ("sections", "arguments", "words"),
        [
            ([truss_remote("a"), truss_remote("b", OTHER)], [], "Give --remote: "),
            ([truss_remote("a")], ["--remote", "b"], "has no remote b, it has: a"),
            ([], [], "these remotes: none"),
            ([f"api_key = {KEY}"], [], "is not a file of sections"),
            ([section("a", remote_provider="baseten", auth_type="oauth")], [], "has no api_key"),
            ([section("a", remote_provider="other", api_key=KEY)], [], "does not have the remote_provider baseten"),
            ([truss_remote(remote_url="https://app.example.com")], [], "by hand"),
            ([truss_remote(remote_url=f"https://user:{KEY}@h.example.com")], [], "can't hold credentials"),
        ],
    )
    def test_what_makes_no_connection(self, run_here, trussrc, sections, arguments, words):
        done = run_here(*trussrc(*sections), *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
        assert KEY not in done.err

    def test_no_file(self, run_here, tmp_path):
        done = run_here("connection-from-trussrc", "--file", str(tmp_path / "none"))
        assert (done.code, done.err) == (2, f"Error: {tmp_path}/none can't be read: No such file or directory.\n")
