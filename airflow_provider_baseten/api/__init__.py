"""Requests, responses and errors of Baseten's APIs as plain values, without network access and without Airflow."""
