"""FastAPI app of the pages.

All routes are GET and change nothing. The pages are made on the server, with the data in place; the script of the pages
only fetches them again. The app serves its stylesheet and its script itself, so that the pages work without internet.
"""

import re
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.status import HTTP_401_UNAUTHORIZED, HTTP_404_NOT_FOUND

from airflow_provider_baseten.compat.server import create_session
from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.access import readable_dags, require_dag
from airflow_provider_baseten.pages.overview import read_overview
from airflow_provider_baseten.pages.queries import Queries, task_records
from airflow_provider_baseten.pages.rows import TaskKey
from airflow_provider_baseten.pages.task_view import make_task_view

_HERE = Path(__file__).parent

# Seconds after which the script fetches a page again, while something runs or waits, and otherwise.
_REFRESH_ACTIVE = 5
_REFRESH_IDLE = 30

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["count"] = words.count
_templates.filters["moment"] = words.moment


def create_pages() -> FastAPI:
    """Return the app."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_api_route("/", show_overview, response_class=HTMLResponse)
    app.add_api_route("/task", show_task, response_class=HTMLResponse)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    app.add_exception_handler(HTTPException, _show_error)
    app.add_middleware(_SecurityHeaders)
    return app


def show_overview(dag_ids: Annotated[frozenset[str], Depends(readable_dags)]) -> HTMLResponse:
    """Return the menu page."""
    now = time.time()
    with create_session() as session:
        page = read_overview(Queries(session, dag_ids, now), now)
    return _page("overview.html", page)


def show_task(
    dag_id: Annotated[str, Depends(require_dag)], run_id: str = "", task_id: str = "", map_index: str = "-1"
) -> HTMLResponse:
    """Return the page of a task.

    :param map_index: number of a mapped task instance. Any other text means a task that is not mapped, because
        Airflow's UI leaves a placeholder in the URL then.
    """
    key = TaskKey(dag_id, run_id, task_id, int(map_index) if re.fullmatch("[0-9]{1,9}", map_index) else -1)
    with create_session() as session:
        task, values = task_records(session, key)
    if task is None:
        raise HTTPException(HTTP_404_NOT_FOUND, "There is no such task instance.")
    return _page("task.html", make_task_view(task, values, time.time()))


def _page(template: str, page: Any) -> HTMLResponse:
    refresh = _REFRESH_ACTIVE if page.is_active else _REFRESH_IDLE
    return HTMLResponse(_render(template, page=page, refresh=refresh))


def _render(template: str, **context: Any) -> str:
    """Return a page.

    Jinja's own ``render`` keeps the thousands of pieces of a page as ``Markup`` until it joins them. Unlike a ``str``,
    each is an object for Python's garbage collector, a full collection of which takes longer in the API server than the
    rest of a request.
    """
    return "".join(map(str, _templates.get_template(template).generate(context)))


async def _show_error(request: Request, error: Any) -> Response:
    """Respond with a sentence, or lead a browser that opens a page without a login to Airflow's login."""
    if error.status_code == HTTP_401_UNAUTHORIZED:
        if request.headers.get("sec-fetch-dest") == "document":
            page = f"{request.url.path}?{request.url.query}".removesuffix("?")
            return RedirectResponse(f"../../api/v2/auth/login?{urlencode({'next': page})}", 303)
        message = "You are not logged in to Airflow."
    else:
        message = str(error.detail)
    html = _render("message.html", message=message, refresh=0)
    return HTMLResponse(html, error.status_code)


class _SecurityHeaders:
    """Middleware that adds headers to each response."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(_HEADERS)
                is_static = "etag" in headers
                headers["Cache-Control"] = "no-cache" if is_static else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)
