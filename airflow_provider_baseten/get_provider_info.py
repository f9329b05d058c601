"""What Airflow learns about this package."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata that Airflow reads at start-up."""
    return {
        "package-name": "airflow-provider-baseten",
        "name": "Baseten",
        "description": "Model inference on Baseten.",
    }
