"""Client: sends requests to Baseten; knows no Airflow."""
