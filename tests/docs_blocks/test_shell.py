"""The shell blocks of each page of the documentation run in bash, one after the other, as they stand there.

Servers run until the end of the page. A function of the shell adds a free port to the commands that start one.
"""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from airflow.sdk import Connection

from airflow_provider_baseten.hooks.connection import BasetenConnection
from tests.docs_blocks.collect import ROOT, blocks
from tests.docs_blocks.world import DOCUMENTED, KEY, World, shell_environment

pytestmark = pytest.mark.processes

SHELL = [block for block in blocks() if block.language in {"bash", "shell", "sh"}]
PAGES = list(dict.fromkeys(block.page for block in SHELL))

PREAMBLE = r"""
set -eu
trap 'while read -r pid; do kill "$pid"; wait "$pid" || test $? -eq 143; done < servers' EXIT
touch servers

serve() {
    "$@" --port "$FREE_PORT" > server.log 2>&1 &
    until (: < "/dev/tcp/127.0.0.1/$FREE_PORT") 2> /dev/null; do
        kill -0 $! || { cat server.log >&2; return 1; }
        sleep 0.1
    done
    echo $! >> servers
}
python() {
    case "$*" in
        "-m airflow_provider_baseten.emulator "* | "-m airflow_provider_baseten.webhook "*) serve command python "$@" ;;
        *) command python "$@" ;;
    esac
}
aws() {
    command python -m tests.docs_blocks.aws "$@"
}
airflow() {
    case "$*" in
        "baseten emulator --help") command airflow "$@" ;;
        "baseten emulator "*) serve command airflow "$@" ;;
        "baseten relay "*) command airflow "$@" --once ;;  # Once is enough, and ends.
        standalone) command airflow standalone --help ;;  # Tests of the demo start it.
        *) command airflow "$@" ;;
    esac
}
"""


@pytest.fixture(scope="module")
def home(around: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody with an Airflow and with keys of Truss."""
    home = tmp_path_factory.mktemp("home")
    (home / "airflow" / "dags").mkdir(parents=True)
    remote = {"remote_provider": "baseten", "remote_url": around.url, "api_key": KEY}
    (home / ".trussrc").write_text("\n".join(["[baseten]", *(f"{name} = {value}" for name, value in remote.items())]))
    environment = os.environ | shell_environment(home)
    subprocess.run(["airflow", "db", "migrate"], env=environment, check=True, capture_output=True, timeout=120)
    (home / "airflow" / "airflow.cfg").unlink(missing_ok=True)  # It names this folder.
    return home


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_runs(page: str, around: World, home: Path, outside: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    own_home = shutil.copytree(home, tmp_path / "home")
    folder = shutil.copytree(around.folder, tmp_path / "folder")
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    for block in blocks():
        if block.page == page and block.language == "python" and "@dag" in block.text:
            (own_home / "airflow" / "dags" / f"block_{block.line}.py").write_text(around.pasted(block.text))
    script = [PREAMBLE]
    for block in SHELL:
        if block.page == page:
            text = block.text.replace(DOCUMENTED, f"http://127.0.0.1:{port}")
            script += [f"echo '# {block.name}' >&2", "set -a", text, "set +a"]
    script.append("env -0 > variables")
    # Connections are those that the blocks make.
    around_it = {name: value for name, value in around.environment.items() if name != "AIRFLOW_CONN_BASETEN_DEFAULT"}
    environment = os.environ | around_it | outside | shell_environment(own_home) | {"FREE_PORT": str(port)}
    command = ["bash", "-c", "\n".join(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not provide the extra" not in done.stderr
    _read_connections(folder / "variables")


def _read_connections(variables: Path) -> None:
    """Read the connections that blocks have put into the environment."""
    for variable in variables.read_text().split("\0"):
        name, _, value = variable.partition("=")
        if name.startswith("AIRFLOW_CONN_"):
            conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
            read = Connection.from_json if value.startswith("{") else Connection.from_uri
            given = read(value, conn_id)
            assert given.conn_type != "baseten" or BasetenConnection.from_airflow(given).api_key, name
