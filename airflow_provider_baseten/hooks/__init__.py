"""Hook and Airflow connections."""
