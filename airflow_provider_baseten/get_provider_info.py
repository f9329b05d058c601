"""Provider info: the metadata of this package that Airflow reads."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airflow_provider_baseten import MODULES, config

_REPOSITORY = "https://github.com/airflow-provider-baseten/airflow-provider-baseten"
_ASSETS = "airflow_provider_baseten.lineage.assets"
_HOOK = "airflow_provider_baseten.hooks.baseten.BasetenHook"
_LLM_HOOK = "airflow_provider_baseten.integrations.common_ai_hook.BasetenLLMHook"


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata that Airflow reads at start-up."""
    return {
        "package-name": "airflow-provider-baseten",
        "name": "Baseten",
        "description": "Model inference on `Baseten <https://www.baseten.co/>`__.",
        "integrations": [
            {
                "integration-name": "Baseten",
                "external-doc-url": "https://docs.baseten.co/",
                "logo": f"{_REPOSITORY}/raw/main/airflow_provider_baseten/logo.svg",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "Baseten", "python-modules": ["airflow_provider_baseten.hooks.baseten"]}],
        "operators": [{"integration-name": "Baseten", "python-modules": _modules("operators")}],
        "sensors": [{"integration-name": "Baseten", "python-modules": _modules("sensors")}],
        "triggers": [
            {
                "integration-name": "Baseten",
                "python-modules": [
                    "airflow_provider_baseten.triggers.async_request",
                    "airflow_provider_baseten.triggers.predict",
                    "airflow_provider_baseten.triggers.result",
                ],
            }
        ],
        "task-decorators": [
            {"name": name, "class-name": f"airflow_provider_baseten.{module}.{name}"}
            for name, module in MODULES.items()
            if module.startswith("decorators.")
        ],
        "connection-types": [
            _connection_type("baseten", "Baseten", _HOOK, _CONN_FIELDS, FIELD_BEHAVIOUR),
            *_llm_connection_types(),
        ],
        "asset-uris": [
            {
                "schemes": ["baseten"],
                "handler": f"{_ASSETS}.sanitize_uri",
                "factory": f"{_ASSETS}.baseten_asset",
                "to_openlineage_converter": f"{_ASSETS}.convert_to_openlineage",
            }
        ],
        "extra-links": [
            "airflow_provider_baseten.links.BasetenLink",
            "airflow_provider_baseten.links.BasetenProgressLink",
        ],
        # Used by Airflow 3.2 and newer.
        "cli": ["airflow_provider_baseten.cli.definition.get_cli_commands"],
        "config": {
            config.SECTION: {
                "description": "Settings of the Baseten provider.",
                "options": {option.name: option.description_for_airflow() for option in config.OPTIONS},
            }
        },
    }


def _connection_type(
    conn_type: str, name: str, hook: str, fields: dict[str, Any], behaviour: dict[str, Any]
) -> dict[str, Any]:
    return {
        "hook-class-name": hook,
        "hook-name": name,
        "connection-type": conn_type,
        "conn-fields": fields,
        "ui-field-behaviour": {name.replace("_", "-"): value for name, value in behaviour.items()},
    }


def _llm_connection_types() -> list[dict[str, Any]]:
    """Return the connection type for the common AI provider, if that is installed in a version that can use it."""
    try:
        major = version("apache-airflow-providers-common-ai").partition(".")[0]
    except PackageNotFoundError:
        return []
    if major == "0":
        return []
    return [
        _connection_type(
            "pydanticai_baseten", "Pydantic AI (Baseten)", _LLM_HOOK, _LLM_CONN_FIELDS, LLM_FIELD_BEHAVIOUR
        )
    ]


def _modules(folder: str) -> list[str]:
    """Return the modules of a folder that define public names of this package."""
    names = {f"airflow_provider_baseten.{module}" for module in MODULES.values() if module.startswith(f"{folder}.")}
    return sorted(names)


# If a connection has no port, the Test button of Airflow 3.3 sends port 0. To Airflow's API, this 0 looks like a change
# of the saved port, so the API refuses the test. If the saved port is 0 too, the test works. Therefore the form asks
# the user to enter 0.
FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden_fields": ["schema", "login"],
    "relabeling": {"host": "Base URL", "port": "Port (0 if none)", "password": "API key"},
    "placeholders": {
        "host": "empty for Baseten's own hosts; http://127.0.0.1:8700 for an emulator",
        "port": "0 or a port; without one the Test button fails in Airflow 3.3",
        "password": "an API key of your Baseten workspace",
    },
}

_CONN_FIELDS = {
    "auth_scheme": {
        "label": "Authorization scheme",
        "description": "How the key is sent: Bearer, unless Baseten has given you other instructions.",
        "schema": {"type": ["string", "null"], "enum": ["Bearer", "Api-Key"], "default": "Bearer"},
    },
    "management_api_key": {
        "label": "Management API key",
        "description": "Key for the management API, if the API key above may only call models. The Test button in the "
        "list of connections calls this API; the button needs a Port, 0 if none, and [core] test_connection = Enabled "
        "in Airflow's configuration. To test without the button: airflow baseten models --conn-id ID.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "management_url": {
        "label": "Management URL",
        "description": "URL of the management API. By default the base URL, or else https://api.baseten.co.",
        "schema": {"type": ["string", "null"]},
    },
    "result_store": {
        "label": "Result store",
        "description": "Folder for webhook deliveries and for outputs that are too large for XCom, for example "
        "s3://aws_default@bucket/results.",
        "schema": {"type": ["string", "null"]},
    },
    "webhook_endpoint": {
        "label": "Webhook endpoint",
        "description": "URL to which Baseten delivers async results, for example "
        "https://airflow.example.com/baseten/webhooks/baseten_default.",
        "schema": {"type": ["string", "null"]},
    },
    "webhook_secrets": {
        "label": "Webhook secrets",
        "description": "Secrets that Baseten signs deliveries with, separated by commas while they are rotated.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "allow_unsigned_webhooks": {
        "label": "Allow unsigned webhooks",
        "description": "Accept deliveries without a signature. Anyone who reaches the receiver can then forge results.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "log_error_details": {
        "label": "Quote the server's errors",
        "description": "Whether errors and logs quote the error message of the server.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
}

LLM_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden_fields": FIELD_BEHAVIOUR["hidden_fields"],
    "relabeling": FIELD_BEHAVIOUR["relabeling"],
    "placeholders": FIELD_BEHAVIOUR["placeholders"]
    | {"extra": '{"model": "deepseek-ai/DeepSeek-V4-Pro"} or {"model": "abcd1234@staging"}'},
}

_LLM_CONN_FIELDS = {
    "model": {
        "label": "Model",
        "description": "Slug of a Model API, such as deepseek-ai/DeepSeek-V4-Pro, or id of a model with an "
        "OpenAI-compatible server: abcd1234, or abcd1234@staging for another environment than production.",
        "schema": {"type": ["string", "null"]},
    },
    "fallback_conn_ids": {
        "label": "Fallback connections",
        "description": "Ids of the connections that are tried, in this order, if a request to Baseten fails.",
        "schema": {"type": ["array", "null"], "items": {"type": "string"}},
    },
    "cost_per_million_input_tokens": {
        "label": "Price of a million input tokens (USD)",
        "description": "Only for cost_limit: the price of a model for which Baseten names none, for example of a "
        "dedicated deployment. Give both prices or neither.",
        "schema": {"type": ["number", "null"], "minimum": 0},
    },
    "cost_per_million_output_tokens": {
        "label": "Price of a million output tokens (USD)",
        "description": "Only for cost_limit, see above.",
        "schema": {"type": ["number", "null"], "minimum": 0},
    },
    **{name: _CONN_FIELDS[name] for name in ("auth_scheme", "management_url", "log_error_details")},
    "management_api_key": {
        "label": "Management API key",
        "description": "Key for the management API, if the API key above may only call models. It reads the prices for "
        "cost_limit. The Test button calls this API too, and needs a Port, 0 if none, and [core] test_connection = "
        "Enabled in Airflow's configuration.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}
