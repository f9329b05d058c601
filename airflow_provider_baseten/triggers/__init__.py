"""Triggers of deferred tasks. They run in the triggerer."""
