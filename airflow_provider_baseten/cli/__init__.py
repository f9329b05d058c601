"""Command line ``airflow baseten``, which calls Baseten through an Airflow connection."""
