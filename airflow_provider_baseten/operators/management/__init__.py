"""Operators for deployments and training jobs."""
