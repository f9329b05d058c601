"""Sensors that wait for Baseten."""
