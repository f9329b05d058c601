"""A predict whose connection has a key that is refused."""

from airflow.sdk import dag

from airflow_provider_baseten.operators.predict import BasetenPredictOperator


@dag(schedule=None)
def refused() -> None:
    BasetenPredictOperator(
        task_id="predict",
        model_id="langid01",
        model_input={"text": "Tvar det med kaldt vann."},
        baseten_conn_id="refused",
    )


refused()
