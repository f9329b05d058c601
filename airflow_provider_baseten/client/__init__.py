"""Client that sends requests to Baseten, without use of Airflow."""
