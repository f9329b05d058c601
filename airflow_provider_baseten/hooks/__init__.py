"""Airflow connections to Baseten."""
