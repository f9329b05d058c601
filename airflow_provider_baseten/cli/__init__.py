"""``airflow baseten``: Baseten from the command line, through an Airflow connection."""
