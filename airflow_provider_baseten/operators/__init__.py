"""Operators that call Baseten."""
