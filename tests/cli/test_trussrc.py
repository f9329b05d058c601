"""A connection made from what Truss knows, in a real database of Airflow, and used from there."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import AIRFLOW, KEY

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


@pytest.fixture
def stored(airflow_db):
    from airflow.models import Connection
    from airflow.utils.session import create_session

    def find(conn_id):
        with create_session() as session:
            found = session.query(Connection).filter_by(conn_id=conn_id).one_or_none()
            return found and (found.conn_type, found.host, found.password)

    return find


def test_made_from_truss_and_used_from_the_database(run, baseten, trussrc, airflow_db, tmp_path):
    # A home of its own: `airflow` writes the key into it that encrypts what is in the database.
    with (
        closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"], "airflow.db"))) as database,
        closing(sqlite3.connect(tmp_path / "airflow.db")) as copy,
    ):
        database.backup(copy)
    here = {"program": AIRFLOW, "AIRFLOW_HOME": str(tmp_path)}
    command = trussrc(truss_remote("here", remote_url=baseten.url), truss_remote("there", OTHER))
    done = run(*command, "--conn-id", "from_truss", "--remote", "here", **here)
    assert (done.code, done.err) == (0, "")
    assert "Connection from_truss was made from remote here" in done.out
    models = run("models", "--conn-id", "from_truss", **here)
    assert [model["id"] for model in models.output] == ["abc", "lines", "cold"]


class TestHere:
    """In this process, for all else."""

    def test_the_one_remote_of_baseten(self, run_here, trussrc, stored):
        command = trussrc(truss_remote(api_key="100%.k3y"))
        assert run_here(*command, "--conn-id", "plain").code == 0
        assert stored("plain") == ("baseten", None, "100%.k3y")

    def test_where_truss_looks_for_it(self, run_here, trussrc, stored, monkeypatch):
        path = trussrc(truss_remote())[-1]
        monkeypatch.setenv("USER_TRUSSRC_PATH", path)
        assert run_here("connection-from-trussrc", "--conn-id", "elsewhere").code == 0
        assert stored("elsewhere") == ("baseten", None, KEY)

    def test_an_existing_connection_is_replaced_only_on_demand(self, run_here, trussrc, stored):
        assert run_here(*trussrc(truss_remote()), "--conn-id", "twice").code == 0
        again = [*trussrc(truss_remote(api_key=OTHER)), "--conn-id", "twice"]
        refused = run_here(*again)
        assert (refused.code, refused.err) == (1, "Error: Connection twice exists already: --overwrite replaces it.\n")
        assert stored("twice")[2] == KEY
        assert run_here(*again, "--overwrite").code == 0
        assert stored("twice")[2] == OTHER

    @pytest.mark.parametrize(
        ("sections", "arguments", "words"),
        [
            ([truss_remote("a"), truss_remote("b", OTHER)], [], "Give --remote: "),
            ([truss_remote("a")], ["--remote", "b"], "has no remote b, it has: a"),
            ([], [], "these remotes: none"),
            ([f"api_key = {KEY}"], [], "is not a file of sections"),
            ([section("a", remote_provider="baseten", auth_type="oauth")], [], "has no api_key"),
            ([section("a", remote_provider="other", api_key=KEY)], [], "not one of Baseten"),
            ([truss_remote(remote_url="https://app.example.com")], [], "by hand"),
            ([truss_remote(remote_url=f"https://user:{KEY}@h.example.com")], [], "can't hold credentials"),
        ],
    )
    def test_what_makes_no_connection(self, run_here, trussrc, stored, sections, arguments, words):
        done = run_here(*trussrc(*sections), "--conn-id", "never", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
        assert KEY not in done.err
        assert stored("never") is None

    def test_no_file(self, run_here, tmp_path):
        done = run_here("connection-from-trussrc", "--file", str(tmp_path / "none"))
        assert (done.code, done.err) == (2, f"Error: {tmp_path}/none can't be read: No such file or directory.\n")

    def test_no_database(self, run_here, trussrc, monkeypatch):
        from airflow.utils import session
        from sqlalchemy.exc import OperationalError

        def down():
            raise OperationalError("SELECT secret", {}, Exception("no such table"))

        monkeypatch.setattr(session, "create_session", down)
        done = run_here(*trussrc(truss_remote()))
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "is it there and migrated?" in done.err
