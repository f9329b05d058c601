"""Modules of Truss directories, kept apart in this process because every directory has a module named ``model``."""

import builtins
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from airflow_provider_baseten.emulator.model_logs import model_print

_lock = threading.RLock()
_active: list["ModuleSpace"] = []


class ModuleSpace:
    """Modules of one Truss directory.

    The modules are in ``sys.modules`` only while the space is active. An import statement in one of the modules
    activates the space, even if the statement runs later, for example inside a function.

    :param root: folder that contains the ``model`` package.
    :param module_dir: name of that package.
    :param packages: folders whose modules can be imported as top-level modules.
    """

    def __init__(self, root: Path, module_dir: str, packages: Sequence[Path]) -> None:
        self._search = [str(root), *(str(folder) for folder in packages)]
        self._names = {Path(module_dir).parts[0], *_importable_names(packages)} - sys.stdlib_module_names
        self._modules: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import, "print": model_print}

    def load(self, name: str, path: Path) -> ModuleType:
        """Import a file as a module. This module space must be active.

        :param name: name of the module.
        :param path: the file.
        """
        spec = spec_from_file_location(name, path, loader=_Loader(name, str(path), self._builtins))
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be imported")
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @contextmanager
    def active(self) -> Iterator[None]:
        """Activate the space during the block, so that its modules can be imported. One space is active at a time."""
        with _lock:
            if _active and _active[-1] is self:
                yield
                return
            hidden = self._take_from_sys()
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self)
            _active.append(self)
            try:
                yield
            finally:
                _active.pop()
                sys.meta_path.remove(self)
                self._modules = self._take_from_sys()
                sys.modules.update(hidden)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of this directory. Python calls this method while the space is in ``sys.meta_path``."""
        if not self._owns(name):
            return None
        spec = PathFinder.find_spec(name, self._search if path is None else path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path, self._builtins)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the name of this parameter in the built-in __import__.
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and not self._owns(name):
            return builtins.__import__(name, globals, locals, fromlist, level)
        with self.active():
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _owns(self, name: str) -> bool:
        return name.partition(".")[0] in self._names

    def _take_from_sys(self) -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if self._owns(name)}


class _Loader(SourceFileLoader):
    """Loader that makes the import statements of a module call :meth:`ModuleSpace._import`."""

    def __init__(self, name: str, path: str, module_builtins: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._builtins = module_builtins

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)


def _importable_names(folders: Sequence[Path]) -> set[str]:
    entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    return {entry.name.partition(".")[0] for entry in entries if entry.is_dir() or entry.suffix in {".py", ".so"}}
