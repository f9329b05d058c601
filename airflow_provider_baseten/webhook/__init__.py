"""Webhook receiver for the results of async requests."""

#: Path prefix of the receiver's routes, both in Airflow's API server and in the standalone receiver.
PREFIX = "/baseten"
