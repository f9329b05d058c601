"""Serves Truss directories with Truss's own model server, without Docker, until standard input closes.

Runs with the Python of `.venv-truss`: `python serve.py WORK_DIR TRUSS_DIR...`. Every directory gets its own server
process on 127.0.0.1 and a free port; one line of JSON on standard output maps directory names to ports.

`requirements.txt` is what the server, Truss's configuration and its chains import, and no more. numpy is 2.x, which
the server's `constraints.txt` allows: 1.x has no wheels for Python 3.13.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import traceback
import types
from pathlib import Path

SHARED_MODULES = (
    "fastapi",
    "msgpack_numpy",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "prometheus_client",
    "uvicorn",
    "uvloop",
)


def truss_package() -> Path:
    """Makes `truss.base` importable without `truss/__init__.py`, which wants the command line's many dependencies."""
    spec = importlib.util.find_spec("truss")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("truss is not installed in this environment: build .venv-truss from requirements.txt")
    package = types.ModuleType("truss")
    package.__path__ = list(spec.submodule_search_locations)
    package.__version__ = importlib.metadata.version("truss")
    sys.modules["truss"] = package
    return Path(package.__path__[0])


def assemble(package: Path, truss_dir: Path, app: Path) -> Path:
    """Lays out `/app` as Truss's image builder does: server, shared code, model, data and the verbose configuration."""
    import yaml
    from truss.base.truss_config import TrussConfig

    config = TrussConfig.from_yaml(truss_dir / "config.yaml")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package / "templates" / "server", app, ignore=ignore)
    shutil.copytree(package / "templates" / "shared", app / "_truss_shared", ignore=ignore)
    parts = {"model": config.model_module_dir, "data": config.data_dir, "packages": config.bundled_packages_dir}
    for name, folder in parts.items():
        if (truss_dir / folder).is_dir():
            shutil.copytree(truss_dir / folder, app / name, ignore=ignore)
    (app / "config.yaml").write_text(yaml.dump(config.to_dict(verbose=True)))
    return app


def serve(app: Path, listener: socket.socket) -> None:
    """Runs the server as its `main.py` does, but on the given loopback socket."""
    os.chdir(app)
    sys.path.insert(0, str(app))
    sys.path.append(str(app / "packages"))  # /packages in the image
    import uvicorn
    from _truss_shared import log_config
    from truss_server import WS_MAX_MSG_SZ_BYTES, TrussServer

    server = TrussServer(listener.getsockname()[1], "config.yaml")
    config = uvicorn.Config(
        server.create_application(),
        http="h11",
        loop="uvloop",
        timeout_graceful_shutdown=1,
        log_config=log_config.make_log_config("INFO"),
        ws_max_size=WS_MAX_MSG_SZ_BYTES,
    )
    server._server = uvicorn.Server(config)
    server._server.run(sockets=[listener])


def main() -> None:
    work_dir, *truss_dirs = map(Path, sys.argv[1:])
    package = truss_package()
    apps = [assemble(package, truss_dir.resolve(), work_dir.resolve() / truss_dir.name) for truss_dir in truss_dirs]
    for module in SHARED_MODULES:  # once, before the forks, so that every server starts in milliseconds
        importlib.import_module(module)
    ports, children = {}, []
    try:
        for app in apps:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ports[app.name] = listener.getsockname()[1]
                children.append(fork(app, listener))
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def fork(app: Path, listener: socket.socket) -> int:
    """Starts the server of one application in its own process and returns the process id."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        serve(app, listener)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    main()
