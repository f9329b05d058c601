"""Names of Airflow's API server that are private. Only code that runs in the API server imports this module.

The pages in Airflow's UI use these names for login, permissions and Airflow's tables. Each name was checked in Airflow
3.1.8, 3.2.2 and 3.3.2. If Airflow drops one of them, the import of this module fails and the pages respond with an
error; nothing else is affected.
"""

try:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
except ImportError as error:
    from airflow_provider_baseten.compat import unknown_airflow

    raise unknown_airflow("can't show its pages") from error

__all__ = [
    "DagAccessEntity",
    "DagRun",
    "TaskInstance",
    "XComModel",
    "create_session",
    "get_auth_manager",
    "get_user",
    "requires_access_dag",
]
