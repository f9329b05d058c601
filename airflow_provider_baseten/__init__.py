"""Model inference on Baseten from Apache Airflow."""
