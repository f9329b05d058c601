"""Pages in Airflow's UI: what tasks do now, what they have used, and what has failed."""

#: Path prefix of the pages in Airflow's API server.
UI_PREFIX = "/baseten/ui"
