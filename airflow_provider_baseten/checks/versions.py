"""Versions of this package, of Airflow and Python, and of the libraries that the package uses."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.version import InvalidVersion

from airflow_provider_baseten.checks.result import CheckResult, failed, ok

_PACKAGE = "airflow-provider-baseten"
_NAME = "versions"


@dataclass(frozen=True, slots=True)
class Versions:
    """What is installed.

    :param package: version of this package; ``None`` if it is imported from files that were not installed.
    :param airflow: version of Airflow.
    :param python: version of Python.
    :param unmet: requirements of this package that the environment does not meet, with the version that is installed.
    :param extras: libraries of each extra with their versions, or ``None`` in place of a version if the library is
        missing or has another version than the extra needs.
    """

    package: str | None
    airflow: str
    python: str
    unmet: tuple[str, ...]
    extras: Mapping[str, Mapping[str, str | None]]


def observe_versions() -> Versions:
    """Return what is installed."""
    package = _version(_PACKAGE)
    requirements = [Requirement(text) for text in requires(_PACKAGE) or []] if package else []
    return Versions(
        package=package,
        airflow=_version("apache-airflow-core") or "unknown",
        python=platform.python_version(),
        unmet=tuple(_unmet(requirements)),
        extras=_extras(requirements) if package else {},
    )


def judge_versions(versions: Versions) -> CheckResult:
    """Judge whether the versions fit together, and name the extras."""
    if versions.package is None:
        return failed(
            _NAME,
            f"{_PACKAGE} is not installed, only copied: Airflow {versions.airflow} finds neither provider nor plugin.",
            f"Install it with 'pip install {_PACKAGE}' and Airflow's constraints file.",
        )
    found = f"{_PACKAGE} {versions.package}, Airflow {versions.airflow}, Python {versions.python}"
    if versions.unmet:
        return failed(
            _NAME,
            f"{found}. {_PACKAGE} needs other versions of: {'; '.join(versions.unmet)}.",
            f"Install it with 'pip install {_PACKAGE}=={versions.package}' and Airflow's constraints file, and look at "
            "'pip check'.",
        )
    whole = {extra: libraries for extra, libraries in versions.extras.items() if None not in libraries.values()}
    installed = [f"{extra} ({', '.join(f'{k} {v}' for k, v in whole[extra].items())})" for extra in sorted(whole)]
    missing = sorted(versions.extras.keys() - whole.keys())
    return ok(
        _NAME,
        f"{found}. Extras: {', '.join(installed) or 'none'}; not installed: {', '.join(missing) or 'none'}.",
    )


def _unmet(requirements: list[Requirement]) -> Iterator[str]:
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            installed = _version(requirement.name)
            if not _fits(requirement, installed):
                wanted = f"{requirement.name}{requirement.specifier}"
                yield f"{wanted} ({f'{installed} is installed' if installed else 'not installed'})"


def _extras(requirements: list[Requirement]) -> dict[str, dict[str, str | None]]:
    extras: dict[str, dict[str, str | None]] = {name: {} for name in metadata(_PACKAGE).get_all("Provides-Extra") or []}
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            continue  # Every installation needs it.
        installed = _version(requirement.name)
        fits = _fits(requirement, installed)
        for extra, libraries in extras.items():
            if requirement.marker.evaluate({"extra": extra}):
                libraries[requirement.name] = installed if fits else None
    return extras


def _fits(requirement: Requirement, installed: str | None) -> bool:
    try:
        return installed is not None and requirement.specifier.contains(installed, prereleases=True)
    except InvalidVersion:  # The library was built with a version that pip does not accept.
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
