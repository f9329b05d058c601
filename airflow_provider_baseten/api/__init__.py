"""The Baseten contract as pure data: no I/O and no Airflow."""
