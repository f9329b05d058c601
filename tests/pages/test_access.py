"""Who may see which page, and what a response has besides the page."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.pages import data

pytestmark = pytest.mark.airflow

RUN = data.Task("", "", None).run_id
MENU = "/baseten/ui/"


def task_url(dag_id: str, task_id: str, map_index: int | str = -1) -> str:
    fields = {"dag_id": dag_id, "run_id": RUN, "task_id": task_id, "map_index": map_index}
    return f"{MENU}task?{urlencode(fields)}"


class StubAuthManager:
    """An auth manager whose users are named by their tokens, with the DAGs that each may read."""

    users = {"anna": {"catalogue", "support_tickets"}, "boris": set(), "carla": {"catalogue"}}  # noqa: RUF012
    # Carla may see DAGs, but no task instances.
    without_task_instances = {"carla"}  # noqa: RUF012

    async def get_user_from_token(self, token: str) -> Any:
        from jwt import InvalidTokenError

        if token not in self.users:
            raise InvalidTokenError
        return SimpleNamespace(name=token)

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: Any) -> bool:
        assert (method, access_entity.value) == ("GET", "TASK_INSTANCE")
        may = user.name not in self.without_task_instances
        return may and (details.id is None or details.id in self.users[user.name])

    def get_authorized_dag_ids(self, *, user: Any, method: str) -> set[str]:
        assert method == "GET"
        return set(self.users[user.name])


@pytest.fixture
def client(monkeypatch, store) -> Iterator[Any]:
    """A client of the pages, mounted as Airflow does it."""
    from airflow.api_fastapi.core_api import security
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from airflow_provider_baseten.pages import access
    from airflow_provider_baseten.plugins.baseten import BasetenPlugin

    for module in (security, access):
        monkeypatch.setattr(module, "get_auth_manager", StubAuthManager)
    app = FastAPI()
    for entry in BasetenPlugin.fastapi_apps:
        app.mount(entry["url_prefix"], entry["app"])
    store(data.running(time.time()))
    with TestClient(app, follow_redirects=False) as client:
        yield client


def get(client: Any, url: str, user: str | None = None, **headers: str) -> Any:
    return client.get(url, headers=headers | ({"Authorization": f"Bearer {user}"} if user else {}))


class TestLogin:
    @pytest.mark.parametrize("url", [MENU, task_url("catalogue", "classify", 0)])
    def test_none(self, client, url):
        response = get(client, url)
        assert response.status_code == 401
        assert "You are not logged in to Airflow." in response.text
        assert "catalogue" not in response.text

    def test_a_browser_is_led_to_airflow_s_login(self, client):
        response = get(client, task_url("catalogue", "classify"), **{"Sec-Fetch-Dest": "document"})
        assert response.status_code == 303
        assert response.headers["location"].startswith(
            "../../api/v2/auth/login?next=%2Fbaseten%2Fui%2Ftask%3Fdag_id%3Dcatalogue"
        )

    def test_a_frame_of_airflow_s_ui_is_not(self, client):
        assert get(client, MENU, **{"Sec-Fetch-Dest": "iframe"}).status_code == 401

    def test_a_cookie_of_the_ui_is_enough(self, client):
        client.cookies.set("_token", "anna")
        assert get(client, MENU).status_code == 200

    def test_a_forged_token(self, client):
        assert get(client, MENU, "nobody").status_code == 403


class TestPermissions:
    def test_the_menu_page_shows_the_dags_that_the_user_may_read(self, client):
        response = get(client, MENU, "anna")
        assert response.status_code == 200
        assert "catalogue" in response.text
        assert "product_embeddings" not in response.text
        assert "transcripts" not in response.text

    def test_a_user_without_the_permission(self, client):
        response = get(client, MENU, "carla")
        assert response.status_code == 403
        assert "You may not read task instances." in response.text
        assert "catalogue" not in response.text

    def test_the_menu_page_is_empty_while_there_is_no_dag_that_the_user_may_read(self, client):
        response = get(client, MENU, "boris")
        assert response.status_code == 200
        assert "No bulk job is running." in response.text
        for dag_id in ("catalogue", "support_tickets", "transcripts"):
            assert dag_id not in response.text

    def test_the_page_of_a_task(self, client):
        response = get(client, task_url("catalogue", "classify", 3), "anna")
        assert response.status_code == 200
        assert "4,100 of 25,000 rows" in response.text

    @pytest.mark.parametrize(
        ("user", "dag_id"),
        [("anna", "transcripts"), ("anna", "no_such_dag"), ("boris", "catalogue"), ("carla", "catalogue")],
    )
    def test_the_page_of_a_task_of_another_dag(self, client, user, dag_id):
        response = get(client, task_url(dag_id, "transcribe"), user)
        assert response.status_code == 403
        assert "You may not read the task instances of this DAG." in response.text
        assert "model abcd1234" not in response.text

    def test_two_dags_in_one_url(self, client):
        """The DAG that is checked is the one that is shown."""
        mine, other = "dag_id=support_tickets", "dag_id=transcripts"
        rest = f"run_id={RUN.replace('+', '%2B')}&task_id=transcribe"
        for order in (f"{mine}&{other}", f"{other}&{mine}"):
            response = get(client, f"{MENU}task?{order}&{rest}", "anna")
            assert response.status_code in {403, 404}
            assert "model abcd1234" not in response.text

    @pytest.mark.parametrize("dag_id", ["~", ""])
    def test_no_dag_shows_no_task(self, client, dag_id):
        assert get(client, task_url(dag_id, "classify"), "anna").status_code in {403, 404}

    def test_a_task_without_records(self, client, store):
        store([data.Task("catalogue", "plain", "running")])
        response = get(client, task_url("catalogue", "plain", "{MAP_INDEX}"), "anna")
        assert response.status_code == 200
        assert "This task has recorded nothing for Baseten." in response.text

    @pytest.mark.parametrize("map_index", ["9", "99999999999999999999", "-1", "²"])
    def test_a_task_instance_that_does_not_exist(self, client, map_index):
        response = get(client, task_url("catalogue", "classify", map_index), "anna")
        assert response.status_code == 404
        assert "There is no such task instance." in response.text


class TestResponse:
    @pytest.mark.parametrize(
        "url", [MENU, task_url("catalogue", "classify", 0), f"{MENU}no-such-page", f"{MENU}static/pages.js"]
    )
    @pytest.mark.parametrize("user", [None, "anna"])
    def test_headers(self, client, url, user):
        headers = get(client, url, user).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            **dict.fromkeys(("script-src", "style-src", "img-src", "connect-src", "frame-ancestors"), "'self'"),
            **dict.fromkeys(("base-uri", "form-action"), "'none'"),
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if "static" in url else "no-store")

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("url", [MENU, f"{MENU}task"])
    def test_nothing_can_be_sent(self, client, method, url):
        assert client.request(method, url, headers={"Authorization": "Bearer anna"}).status_code == 405

    def test_the_receiver_is_where_it_was(self, client):
        assert client.get("/baseten/health").status_code == 200
        assert client.get("/baseten/webhooks/baseten_default").status_code == 405

    def test_what_a_record_holds_is_text(self, client, store):
        attack = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onload='alert(3)'"
        now = time.time()
        records = [
            data.job(now, target=attack, page="javascript:alert(4)", output_path=attack),
            data.request(now, target=attack, page="javascript:alert(4)", statuses={attack: 1}, request_ids=[attack]),
            data.failure(now, attack, type=attack, request_id=attack, target=attack, page="JavaScript:alert(4)"),
            data.usage(now, model=attack, tokens={attack: 1}),
        ]
        store([data.Task("catalogue", "attack", "running", records)])
        for url in (MENU, task_url("catalogue", "attack")):
            html = get(client, url, "anna").text
            assert "&lt;script&gt;alert(1)" in html
            assert "<script>alert" not in html
            assert "<img" not in html
            assert '" onload' not in html
            assert "javascript:" not in html.lower()

    def test_runs_of_one_task_are_told_apart(self, client, store):
        now = time.time()
        records = [data.job(now), data.request(now), data.failure(now)]
        store([data.Task("catalogue", "classify", "running", records, run_id=f"run_{n}") for n in (1, 2)])
        html = get(client, MENU, "anna").text
        assert html.count('title="run_1"') == html.count('title="run_2"') == 3

    def test_other_xcoms_are_not_shown(self, client, store):
        task = data.Task("catalogue", "classify", "running", [data.job(time.time())])
        task.values = {"return_value": "an output", "usage": {"text": "an output"}}
        store([task])
        for url in (MENU, task_url("catalogue", "classify")):
            assert "an output" not in get(client, url, "anna").text
