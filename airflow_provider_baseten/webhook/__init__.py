"""Receives the results of async requests that Baseten delivers."""
