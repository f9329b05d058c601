"""Metrics and spans of tasks, triggers and the webhook receiver, through Airflow's own metrics and traces."""
