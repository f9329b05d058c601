"""Access to the pages: Airflow's own login, and Airflow's own permission to read task instances.

The rules are those of Airflow's list of task instances:

1. Without a valid login, which is the UI's cookie or a bearer token, the response is 401.
2. A user without the permission to read task instances gets 403.
3. The menu page shows the DAGs that the user may read. While there is none, it is empty.
4. The page of a task needs the permission for its DAG. Otherwise the response is 403.
"""

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from airflow_provider_baseten.compat.server import DagAccessEntity, get_auth_manager, get_user, requires_access_dag

# Takes the DAG from `dag_id` of the URL's query. Without this parameter, it checks the permission for any DAG.
_check_task_instances = requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE)


def require_dag(request: Request, user: Annotated[Any, Depends(get_user)]) -> str:
    """Return the id of the DAG that the URL names, if the user may read its task instances.

    :raises HTTPException: 401 without a login, 403 without the permission.
    """
    try:
        _check_task_instances(request, user)
    except HTTPException as error:
        raise HTTPException(error.status_code, "You may not read the task instances of this DAG.") from None
    return request.query_params.get("dag_id", "")


def readable_dags(request: Request, user: Annotated[Any, Depends(get_user)]) -> frozenset[str]:
    """Return the ids of the DAGs whose task instances the user may read.

    :raises HTTPException: 401 without a login, 403 without the permission.
    """
    try:
        _check_task_instances(request, user)
    except HTTPException as error:
        raise HTTPException(error.status_code, "You may not read task instances.") from None
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
