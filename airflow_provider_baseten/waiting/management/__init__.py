"""Waits for what the management API reports: deployments, promotions, settings and training jobs."""
