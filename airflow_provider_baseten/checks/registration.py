"""Registration of this package with Airflow: the provider with its connection type, and the plugin."""

from dataclasses import dataclass
from importlib.metadata import entry_points

from airflow_provider_baseten.checks.result import CheckResult, failed, ok, skipped

_PACKAGE = "airflow-provider-baseten"
_REINSTALL = f"Install {_PACKAGE} again into the environment of this process, and restart Airflow."


@dataclass(frozen=True, slots=True)
class Registration:
    """What Airflow in this process knows of this package.

    :param connection_types: connection types of the provider; ``None`` if Airflow does not know the provider.
    :param plugin_is_loaded: whether Airflow has loaded the plugin.
    :param plugin_error: error of loading the plugin; empty if there is none.
    :param unknown: why nothing is known, as in a version of Airflow that this package was not checked on.
    """

    connection_types: tuple[str, ...] | None
    plugin_is_loaded: bool
    plugin_error: str = ""
    unknown: str = ""


def observe_registration() -> Registration:
    """Return what Airflow in this process knows of this package. This loads all plugins, as the API server does."""
    try:
        from airflow_provider_baseten.compat import ProvidersManager, get_plugin_info
    except ImportError as error:
        return Registration(None, plugin_is_loaded=False, unknown=str(error))

    provider = ProvidersManager().providers.get(_PACKAGE)  # type: ignore[no-untyped-call]
    types = provider.data.get("connection-types", []) if provider else []
    is_loaded = any(plugin.get("name") == "baseten" for plugin in get_plugin_info(["name"]))
    return Registration(
        connection_types=tuple(entry["connection-type"] for entry in types) if provider else None,
        plugin_is_loaded=is_loaded,
        plugin_error="" if is_loaded else _plugin_error(),
    )


def judge_provider(registration: Registration) -> CheckResult:
    """Judge whether Airflow knows the provider and its connection type."""
    if registration.unknown:
        return skipped("provider", registration.unknown)
    if registration.connection_types is None:
        return failed("provider", f"Airflow does not know the provider {_PACKAGE}.", _REINSTALL)
    if "baseten" not in registration.connection_types:
        return failed("provider", f"Airflow knows {_PACKAGE}, but not its connection type baseten.", _REINSTALL)
    return ok("provider", f"Airflow knows the provider {_PACKAGE} and the connection type baseten.")


def judge_plugin(registration: Registration) -> CheckResult:
    """Judge whether Airflow has loaded the plugin."""
    if registration.unknown:
        return skipped("plugin", registration.unknown)
    if registration.plugin_is_loaded:
        return ok("plugin", "Airflow has loaded the plugin baseten in this process.")
    if registration.plugin_error:
        return failed(
            "plugin",
            f"Airflow could not load the plugin baseten: {registration.plugin_error}",
            "Correct that: without the plugin, the API server has no webhook receiver.",
        )
    return failed("plugin", "Airflow has not loaded the plugin baseten.", _REINSTALL)


def _plugin_error() -> str:
    """Load the plugin as Airflow does, and return the error; empty if there is none."""
    try:
        for entry_point in entry_points(group="airflow.plugins", name="baseten"):
            entry_point.load().on_load()
    except Exception as error:
        return f"{error}"
    return ""
