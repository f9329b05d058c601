"""A Truss directory as it is, run in this process."""

import inspect
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.environment_variables import EnvironmentVariables
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.modules import ModuleSpace

logger = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
    "bundled_packages_dir": "packages",
    "data_dir": "data",
    "description": None,
    "environment_variables": {},
    "external_package_dirs": [],
    "model_class_filename": "model.py",
    "model_class_name": "Model",
    "model_framework": "custom",
    "model_metadata": {},
    "model_module_dir": "model",
    "model_name": None,
    "python_version": "py313",
    "requirements": [],
    "resources": {"accelerator": None, "cpu": "1", "memory": "2Gi", "use_gpu": False},
    "runtime": {"predict_concurrency": 1, "streaming_read_timeout": 60},
    "secrets": {},
    "system_packages": [],
}

# What changes what a model finds when it runs, and is not done here. Requirements are the user's to install.
_NOT_PROVIDED = (
    "base_image",
    "build_commands",
    "external_data",
    "model_cache",
    "system_packages",
    "training_checkpoints",
    "trt_llm",
    "weights",
)


class Truss:
    """An unmodified Truss directory.

    Its model runs in this process and environment: ``requirements`` must be installed here, system packages, base
    images and GPUs are not provided, and the working folder is not the Truss's own; what ``config.yaml`` asks for in
    vain is logged as a warning when it is loaded. ``environment_variables`` are seen by this model alone.

    :param directory: folder with ``config.yaml``.
    :param secrets: values of its secrets by name; others come from the environment variable ``TRUSS_SECRET_{name}`` or
        the default in ``config.yaml``.
    :param environment: name of the environment that the model is told, if it is in one.
    :raises EmulatorError: the folder is no Truss, or one that brings its own server.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        secrets: Mapping[str, str] | None = None,
        environment: str | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.config = _read_config(self.directory)
        self._secrets = Secrets(self.config["secrets"], secrets or {})
        self._variables = EnvironmentVariables(self.config["environment_variables"])
        self._environment = None if environment is None else {"name": environment}
        self._file = self.directory / self.config["model_module_dir"] / self.config["model_class_filename"]
        if not self._file.is_file():
            raise EmulatorError(self._why_no_model())
        self._space = ModuleSpace(self.directory, self.config["model_module_dir"], self._package_dirs())

    def container(self) -> Container:
        """Return the server for it."""
        runtime = self.config["runtime"]
        return Container(
            self.load,
            predict_concurrency=runtime["predict_concurrency"],
            streaming_read_timeout=runtime["streaming_read_timeout"],
            surroundings=self._variables.own,
        )

    def load(self) -> object:
        """Return the model, constructed and loaded."""
        if missing := _not_provided(self.config):
            logger.warning("%s: not provided here, as config.yaml asks: %s", self.directory, ", ".join(missing))
        with self._space.active(), self._variables.of_process():
            folder, stem = self._file.parent.name, self._file.stem
            # model/model.py is not the package `model`, which its other modules are imported from.
            module = self._space.load(f"{folder}.{stem}" if folder == stem else stem, self._file)
            model_class = getattr(module, self.config["model_class_name"])
            model = model_class(**self._constructor_arguments(model_class))
            if self._environment is not None and hasattr(model, "setup_environment"):
                model.setup_environment(self._environment)
            if hasattr(model, "load"):
                model.load()
            return model

    def _constructor_arguments(self, model_class: type) -> dict[str, Any]:
        offered = {
            "config": self.config,
            "data_dir": self.directory / self.config["data_dir"],
            "secrets": self._secrets,
            "lazy_data_resolver": _NothingToDownload(),
            "environment": self._environment,
        }
        parameters = inspect.signature(model_class).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return offered
        return {name: value for name, value in offered.items() if name in parameters}

    def _package_dirs(self) -> list[Path]:
        names = [self.config["bundled_packages_dir"], *self.config["external_package_dirs"]]
        return [(self.directory / name).resolve() for name in names if name]

    def _why_no_model(self) -> str:
        if self.config.get("docker_server"):
            return (
                f"Truss {self.directory} has a server of its own (docker_server): start that server and forward to it "
                "as an upstream."
            )
        return f"Truss {self.directory} has no {self._file.relative_to(self.directory)}, so there is no model to run."


class Secrets(Mapping[str, str]):
    """The secrets of a Truss: only those that ``config.yaml`` names.

    :param declared: name -> default value in ``config.yaml``.
    :param given: name -> value.
    """

    def __init__(self, declared: Mapping[str, str | None], given: Mapping[str, str]) -> None:
        self._declared = declared
        self._given = given

    def __getitem__(self, name: str) -> str:
        value = None
        if name in self._declared:
            value = self._given.get(name) or os.environ.get(f"TRUSS_SECRET_{name}") or self._declared[name]
        if not value:
            raise SecretNotFound(
                f"Secret '{name}' not found: name it under 'secrets' in config.yaml and give its value in the "
                f"environment variable TRUSS_SECRET_{name}."
            )
        return value

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("Secrets can be looked up, not iterated over.")

    def __len__(self) -> int:
        return len(self._declared)


class SecretNotFound(Exception):  # noqa: N818 - Truss calls it so.
    """A secret is not declared, or has no value."""


class _NothingToDownload:
    def block_until_download_complete(self, *args: Any, **kwargs: Any) -> None:
        """Weights are not downloaded here; what the model needs must be there."""


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")) or {}
    except OSError as exc:
        raise EmulatorError(f"{directory} is not a Truss directory: it has no readable config.yaml.") from exc
    except yaml.YAMLError as exc:
        raise EmulatorError(f"{directory / 'config.yaml'} is not valid YAML.") from exc
    if not isinstance(config, dict):
        raise EmulatorError(f"{directory / 'config.yaml'} must be a mapping.")
    given = {name: value for name, value in config.items() if value is not None or name not in _DEFAULTS}
    for name, default in _DEFAULTS.items():
        if isinstance(default, dict | list) and not isinstance(given.get(name, default), type(default)):
            kind = "mapping" if isinstance(default, dict) else "list"
            raise EmulatorError(f"{name} in {directory / 'config.yaml'} must be a {kind}.")
    nested = {name: {**_DEFAULTS[name], **given.get(name, {})} for name in ("resources", "runtime")}
    return {**_DEFAULTS, **given, **nested}


def _not_provided(config: Mapping[str, Any]) -> list[str]:
    """Return what a configuration asks for in vain."""
    names = [name for name in _NOT_PROVIDED if config.get(name)]
    if config["resources"].get("use_gpu") or config["resources"].get("accelerator"):
        names.append("resources.accelerator")
    transport = config["runtime"].get("transport")
    kind = transport.get("kind", "http") if isinstance(transport, Mapping) else transport or "http"
    if kind != "http" or config["runtime"].get("is_websocket_endpoint"):
        names.append("runtime.transport")
    here = f"py{sys.version_info.major}{sys.version_info.minor}"
    if config["python_version"] not in {here, _DEFAULTS["python_version"]}:
        names.append(f"python_version {config['python_version']} (this is {here})")
    return names
