"""Lineage: which models, files and assets a task has used."""
