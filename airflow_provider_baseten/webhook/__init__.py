"""Webhook receiver for the results of async requests."""
