"""Truss directory: a model in Baseten's packaging format. The emulator runs the model in this process."""

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

# Options that the emulator ignores although they can affect the running model. `requirements` is not in the list,
# because the user installs the requirements.
_UNSUPPORTED_OPTIONS = (
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
    """Model in a Truss directory. The emulator runs the model without building an image.

    The model runs in this process. ``requirements`` must be installed in this Python environment. System packages, base
    images and GPUs are not provided, and the working directory is not changed. Unsupported options of ``config.yaml``
    are logged as a warning when the model is loaded. ``environment_variables`` are set for this model only.

    :param directory: directory that contains ``config.yaml``.
    :param secrets: values of secrets by name. The value of any other secret is read from the environment variable
        ``TRUSS_SECRET_{name}``. If this variable is not set, the default in ``config.yaml`` is used.
    :param environment: name of the environment to pass to the model, if any.
    :raises EmulatorError: the directory is not a Truss, or the Truss has its own server.
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
            raise EmulatorError(self._explain_missing_model())
        self._space = ModuleSpace(self.directory, self.config["model_module_dir"], self._package_dirs())

    def container(self) -> Container:
        """Return the ASGI app that loads the model and serves it."""
        runtime = self.config["runtime"]
        return Container(
            self.load,
            predict_concurrency=runtime["predict_concurrency"],
            streaming_read_timeout=runtime["streaming_read_timeout"],
            request_context=self._variables.set_in_context,
        )

    def load(self) -> object:
        """Construct and load the model."""
        if unsupported := _list_unsupported(self.config):
            logger.warning("%s: the emulator ignores in config.yaml: %s", self.directory, ", ".join(unsupported))
        with self._space.active(), self._variables.set_in_process():
            folder, stem = self._file.parent.name, self._file.stem
            # If the file has the name of its folder, as in model/model.py, the module is named `model.model`. The name
            # `model` stays free for the folder, so that the file can import the folder's other modules, for example
            # `model.helper`.
            module = self._space.load(f"{folder}.{stem}" if folder == stem else stem, self._file)
            model_class = getattr(module, self.config["model_class_name"])
            model = model_class(**self._constructor_arguments(model_class))
            if self._environment is not None and hasattr(model, "setup_environment"):
                model.setup_environment(self._environment)
            if hasattr(model, "load"):
                model.load()
            return model

    def _constructor_arguments(self, model_class: type) -> dict[str, Any]:
        available = {
            "config": self.config,
            "data_dir": self.directory / self.config["data_dir"],
            "secrets": self._secrets,
            "lazy_data_resolver": _NoDownloads(),
            "environment": self._environment,
        }
        parameters = inspect.signature(model_class).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return available
        return {name: value for name, value in available.items() if name in parameters}

    def _package_dirs(self) -> list[Path]:
        names = [self.config["bundled_packages_dir"], *self.config["external_package_dirs"]]
        return [(self.directory / name).resolve() for name in names if name]

    def _explain_missing_model(self) -> str:
        if self.config.get("docker_server"):
            return (
                f"Truss {self.directory} has its own server (docker_server): start that server, and serve it as an "
                "upstream."
            )
        return f"Truss {self.directory} has no {self._file.relative_to(self.directory)}, so there is no model to run."


class Secrets(Mapping[str, str]):
    """Secrets that ``config.yaml`` of a Truss declares.

    :param declared: name -> default value in ``config.yaml``.
    :param values: name -> value that takes precedence over the environment variable ``TRUSS_SECRET_{name}`` and the
        default.
    """

    def __init__(self, declared: Mapping[str, str | None], values: Mapping[str, str]) -> None:
        self._declared = declared
        self._values = values

    def __getitem__(self, name: str) -> str:
        value = None
        if name in self._declared:
            value = self._values.get(name) or os.environ.get(f"TRUSS_SECRET_{name}") or self._declared[name]
        if not value:
            raise SecretNotFound(
                f"Secret '{name}' not found: declare it under 'secrets' in config.yaml, and set its value in the "
                f"environment variable TRUSS_SECRET_{name}."
            )
        return value

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("Secrets can be looked up by name only.")

    def __len__(self) -> int:
        return len(self._declared)


class SecretNotFound(Exception):  # noqa: N818 - Truss uses this name.
    """The secret is not declared, or has no value."""


class _NoDownloads:
    def block_until_download_complete(self, *args: Any, **kwargs: Any) -> None:
        """Return at once, because the emulator downloads no weights."""


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")) or {}
    except OSError as exc:
        raise EmulatorError(f"{directory} is not a Truss directory: it has no readable config.yaml.") from exc
    except yaml.YAMLError as exc:
        raise EmulatorError(f"{directory / 'config.yaml'} is not valid YAML.") from exc
    if not isinstance(config, dict):
        raise EmulatorError(f"{directory / 'config.yaml'} must be a mapping.")
    options = {name: value for name, value in config.items() if value is not None or name not in _DEFAULTS}
    for name, default in _DEFAULTS.items():
        if isinstance(default, dict | list) and not isinstance(options.get(name, default), type(default)):
            expected = "mapping" if isinstance(default, dict) else "list"
            raise EmulatorError(f"{name} in {directory / 'config.yaml'} must be a {expected}.")
    nested = {name: {**_DEFAULTS[name], **options.get(name, {})} for name in ("resources", "runtime")}
    return {**_DEFAULTS, **options, **nested}


def _list_unsupported(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the options that a configuration sets but the emulator ignores."""
    names = [name for name in _UNSUPPORTED_OPTIONS if config.get(name)]
    if config["resources"].get("use_gpu") or config["resources"].get("accelerator"):
        names.append("resources.accelerator")
    transport = config["runtime"].get("transport")
    kind = transport.get("kind", "http") if isinstance(transport, Mapping) else transport or "http"
    if kind != "http" or config["runtime"].get("is_websocket_endpoint"):
        names.append("runtime.transport")
    running = f"py{sys.version_info.major}{sys.version_info.minor}"
    if config["python_version"] not in {running, _DEFAULTS["python_version"]}:
        names.append(f"python_version {config['python_version']} (this is {running})")
    return names
