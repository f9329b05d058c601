"""Idempotency: records of what a task instance has sent, so that a retry does not send, and pay for, the same request
again.
"""
