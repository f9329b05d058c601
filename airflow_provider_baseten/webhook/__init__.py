"""Webhook receiver for the results of async requests."""

#: Path below which the receiver's routes are, in Airflow's API server and standalone.
PREFIX = "/baseten"
