"""Waiting for async requests, blocking and in the triggerer."""
