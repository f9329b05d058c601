"""Constants that all HTTP connections of this package share."""

from importlib.metadata import version

# Seconds to wait for a connection.
CONNECT_TIMEOUT = 10.0

USER_AGENT = f"airflow-provider-baseten/{version('airflow-provider-baseten')}"
