"""Turns the chainlets of a module into Trusses, as `truss chains push` does, without sending them anywhere.

Runs with the Python of `.venv-truss`: `python generate.py MODULE_FILE CHAINLET...`; standard output gets one folder a
line.
"""

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "emulator" / "truth"))

from serve import truss_package


def main() -> None:
    source, *names = Path(sys.argv[1]), *sys.argv[2:]
    truss_package()
    from truss_chains import framework
    from truss_chains.deployment import code_gen

    sys.path.append(str(source.parent))
    module = importlib.import_module(source.stem)
    for name in names:
        descriptor = framework.get_descriptor(getattr(module, name))
        folder = code_gen.gen_truss_chainlet(source.parent, source.stem, descriptor, use_local_src=True)
        sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
