"""``dag.test()`` with a connection that only Airflow's database knows."""

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenAsyncPredictOperator, BasetenPredictOperator
from airflow_provider_baseten.emulator import Emulator

KEY = "abcd1234.s3cr3t"


@pytest.fixture
def database_connection(airflow_db):
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        fields = {"conn_id": "only_database", "conn_type": "baseten", "host": emulator.url, "password": KEY}
        with create_session() as session:
            session.add(Connection(**fields))
        yield fields["conn_id"]
        with create_session() as session:
            session.query(Connection).filter_by(conn_id=fields["conn_id"]).delete()


@pytest.mark.parametrize("deferrable", [False, True])
def test_predict(database_connection, run_dag, deferrable):
    with DAG(f"database_predict_{deferrable}") as dag:
        BasetenPredictOperator(
            task_id="echo",
            model_id="echo",
            model_input={"a": 1},
            baseten_conn_id=database_connection,
            deferrable=deferrable,
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("echo") == {"a": 1}


@pytest.mark.parametrize("deferrable", [False, True])
def test_async_predict(database_connection, run_dag, deferrable):
    with DAG(f"database_async_{deferrable}") as dag:
        BasetenAsyncPredictOperator(
            task_id="echo",
            model_id="echo",
            model_input={"a": 1},
            baseten_conn_id=database_connection,
            deferrable=deferrable,
            timeout=30,
            poll_interval=1,
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("echo")["status"] == "SUCCEEDED"
