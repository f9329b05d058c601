"""Idempotency: records of what a task instance has sent, so that no attempt pays twice."""
