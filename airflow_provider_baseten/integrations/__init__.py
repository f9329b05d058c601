"""Integrations with other Airflow providers."""
