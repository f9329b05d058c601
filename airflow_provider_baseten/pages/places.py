"""URLs that the pages link to, relative to the pages themselves, so that they work below any path prefix."""

from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_baseten.pages.rows import TaskKey

# From a page to the root of Airflow's UI.
_AIRFLOW = "../../"


def task_page(key: TaskKey) -> str:
    """Return the URL of the page of a task."""
    fields = {"dag_id": key.dag_id, "run_id": key.run_id, "task_id": key.task_id, "map_index": key.map_index}
    return f"task?{urlencode(fields)}"


def airflow_task(key: TaskKey, try_number: int | None = None) -> str:
    """Return the URL of a task instance in Airflow's UI, which shows its log.

    :param try_number: attempt whose log is shown, by default the last.
    """
    mapped = f"/mapped/{key.map_index}" if key.map_index >= 0 else ""
    attempt = f"?try_number={try_number}" if try_number else ""
    run = f"dags/{_part(key.dag_id)}/runs/{_part(key.run_id)}"
    return f"{_AIRFLOW}{run}/tasks/{_part(key.task_id)}{mapped}{attempt}"


def web_page(url: str) -> str | None:
    """Return the URL of a record if it is one of the web; ``None`` if it has another scheme, such as ``javascript``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None


def _part(text: str) -> str:
    return quote(text, safe="")
