"""Activity: what tasks do and have done, as records that the pages in Airflow's UI show."""
