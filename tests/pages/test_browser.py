"""The pages in Chromium, alone and in the frame of Airflow's UI, on a real API server."""

import time
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import chromium
from tests.pages import data
from tools.airflow_api import loopback_session

pytestmark = [pytest.mark.airflow, pytest.mark.browser, pytest.mark.processes]

MENU = "/baseten/ui/"
RUN = data.Task("", "", None).run_id.replace("+", "%2B")
SCENES = {
    "running": data.running,
    "failed": data.failed,
    "nothing": lambda now: [data.Task("without_records", "t", "success")],
    "long names": data.long_names,
    "many": lambda now: data.waiting(now, tasks=300, jobs=30),
}
DARK, LIGHT = "rgb(17, 20, 24)", "rgb(255, 255, 255)"
# How far the page has moved since it was loaded.
WATCH_SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


class Tab:
    """A browser whose user is logged in."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, path: str) -> None:
        self.browser.get(f"{self.url}{path}")

    def open_in_airflow(self, theme: str = "light") -> None:
        """Open the menu page in the frame of Airflow's UI."""
        self.open("/")
        self.browser.execute_script(f"localStorage.setItem('theme', '{theme}')")
        self.open("/plugin/baseten")
        self.browser.switch_to.frame(self.find("iframe[title=Baseten]"))
        self.find("#updated")

    def find(self, css: str) -> WebElement:
        return self.until(lambda: self.browser.find_elements(By.CSS_SELECTOR, css), css)[0]

    def link(self, text: str) -> WebElement:
        return self.until(lambda: self.browser.find_elements(By.LINK_TEXT, text), text)[0]

    def until(self, condition, what: str):
        return WebDriverWait(self.browser, 60).until(lambda _: condition(), f"waited for {what}")

    def run(self, script: str):
        return self.browser.execute_script(script)

    @property
    def text(self) -> str:
        return self.find("main").text

    @property
    def background(self) -> str:
        return self.run("return getComputedStyle(document.body).backgroundColor")

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture(scope="module")
def logged_in(api_server, tmp_path_factory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        tab = Tab(browser, api_server.url)
        tab.open(MENU)
        for name in ("username", "password"):
            tab.find(f"input[name={name}]").send_keys("admin")
        tab.find("button[type=submit]").click()
        # The login leads back to the page that was opened without it.
        tab.until(lambda: browser.current_url == f"{api_server.url}{MENU}", "the page after the login")
        yield tab


@pytest.fixture
def tab(logged_in, store) -> Iterator[Tab]:
    yield logged_in
    logged_in.browser.switch_to.default_content()
    logged_in.prefer("light")
    complaints = [entry for entry in logged_in.browser.get_log("browser") if "Content Security" in entry["message"]]
    assert not complaints


@pytest.fixture
def show(store):
    def show(scene: str) -> None:
        store(SCENES[scene](time.time()))

    return show


def test_what_runs_is_seen_at_a_glance(tab, show):
    show("running")
    tab.open(MENU)
    tiles = [tile.text.split("\n")[:2] for tile in tab.browser.find_elements(By.CLASS_NAME, "tile")]
    assert tiles[:3] == [["2", "bulk jobs running"], ["7", "async requests waiting"], ["2", "failed tasks in 24 hours"]]
    assert "63%" in tab.text
    assert "63,250 of 100,000 rows" in tab.text
    # The job and its charts are visible without scrolling.
    bottom = tab.run("return document.querySelectorAll('.card')[1].getBoundingClientRect().bottom")
    assert bottom < 900


def test_a_failed_job_does_not_vanish(tab, show):
    show("failed")
    tab.open(MENU)
    assert "No bulk job is running." in tab.text
    assert tab.find("#jobs .state.bad").text == "failed"
    assert "No row of the run succeeded" in tab.text


def test_each_section_says_that_it_is_empty(tab, show):
    show("nothing")
    tab.open(MENU)
    for sentence in (
        "No bulk job is running.",
        "No task waits for an async request.",
        "No task has failed.",
        "No task has succeeded in the last 7 days.",
    ):
        assert sentence in tab.text


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("where", ["alone", "in Airflow"])
def test_nothing_is_wider_than_the_page(tab, show, scene, where):
    show(scene)
    tab.open(MENU) if where == "alone" else tab.open_in_airflow()
    root = "document.documentElement"
    assert tab.run(f"return {root}.scrollWidth <= {root}.clientWidth")
    wide = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    assert tab.run(f"return {wide}.map(e => e.outerHTML.slice(0, 80))") == []


def test_long_names_break_lines_and_short_words_do_not(tab, show):
    show("long names")
    tab.open(MENU)
    heights = tab.run("return [...document.querySelectorAll('td a[data-airflow], th')].map(e => e.offsetHeight)")
    assert max(heights) < 40
    tab.find(".card h3 a").click()
    root = "document.documentElement"
    tab.until(lambda: "Bulk job" in tab.text, "the page of the task")
    assert tab.run(f"return {root}.scrollWidth <= {root}.clientWidth")


def test_a_refresh_moves_nothing_and_keeps_the_focus(tab, show):
    show("running")
    tab.open(MENU)
    tab.run(WATCH_SHIFTS)
    tab.run("window.focused = document.querySelectorAll('#requests a')[4]; focused.focus(); scrollTo(0, 200)")
    for rows in (64_750, 66_250):
        replace_job(data.job(time.time(), rows))
        tab.until(lambda rows=rows: f"{rows:,} of 100,000 rows" in tab.text, "an update")
    assert tab.run("return window.focused === document.activeElement && document.activeElement.tagName") == "A"
    assert tab.run("return scrollY") == 200
    assert tab.run("return window.shift") < 0.01


def test_a_refresh_leaves_older_failures_unfolded(tab, store):
    tasks = [data.Task("d", f"t{n}", "failed", [data.failure(time.time() - n)]) for n in range(5)]
    store(tasks)
    tab.open(MENU)
    assert "2 older failures" in tab.text
    tab.run("document.querySelector('details').open = true; document.body.dataset.refresh = '1'")
    before = tab.find("#updated").text
    tab.run("refresh()")
    tab.until(lambda: tab.find("#updated").text != before, "an update")
    assert tab.run("return document.querySelector('details').open")


def test_a_task_that_has_failed_without_an_error_says_so(tab, store):
    store([data.Task("d", "t", "failed", [data.job(time.time())])])
    tab.open(f"{MENU}task?dag_id=d&run_id={RUN}&task_id=t")
    assert "has recorded no error" in tab.text


def replace_job(record) -> None:
    """Write a record as a running task does."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        job = update(XComModel).where(XComModel.dag_id == "product_embeddings", XComModel.key == record.key)
        session.execute(job.values(value=data.plain(record)))


def test_a_page_that_is_not_updated_says_since_when(tab, show):
    show("running")
    tab.open(MENU)
    shown = tab.find("#updated time").text
    network = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.browser.execute_cdp_cmd("Network.enable", {})
    tab.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    tab.until(lambda: tab.find("#updated").text.startswith("Not updated since"), "the sentence")
    since = tab.find("#updated").text.split()[3]
    assert since[:6] == shown[:6] or since > shown
    tab.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network | {"offline": False})
    tab.until(lambda: tab.find("#updated").text.startswith("Updated"), "an update")


class TestTheme:
    def test_of_airflow_s_ui(self, tab, show):
        show("running")
        tab.prefer("light")
        tab.open_in_airflow("dark")
        tab.until(lambda: tab.background == DARK, "dark colours")
        tab.run("parent.document.documentElement.classList.replace('dark', 'light')")
        tab.until(lambda: tab.background == LIGHT, "light colours")

    def test_light_in_a_browser_that_prefers_dark(self, tab, show):
        show("running")
        tab.prefer("dark")
        tab.open_in_airflow("light")
        tab.until(lambda: tab.background == LIGHT, "light colours")

    @pytest.mark.parametrize(("scheme", "background"), [("dark", DARK), ("light", LIGHT)])
    def test_of_the_browser_if_the_page_is_alone(self, tab, show, scheme, background):
        show("running")
        tab.prefer(scheme)
        tab.open(MENU)
        assert tab.background == background


class TestLinks:
    def test_the_menu_of_airflow_has_the_page(self, tab, show):
        show("nothing")
        tab.open("/")
        tab.find("a[href$='/plugin/baseten']").click()
        tab.browser.switch_to.frame(tab.find("iframe[title=Baseten]"))
        tab.until(lambda: "No bulk job is running." in tab.text, "the page")

    def test_a_task_opens_in_the_frame_and_its_log_outside(self, tab, show):
        show("running")
        tab.open_in_airflow()
        tab.link("transcripts · transcribe").click()
        tab.until(lambda: "status seen" in tab.text, "the page of the task")
        tab.link("log").click()
        tab.browser.switch_to.default_content()
        path = f"/dags/transcripts/runs/{RUN.replace(':', '%3A')}/tasks/transcribe"
        tab.until(lambda: tab.run("return location.pathname").replace("+", "%2B").replace(":", "%3A") == path, path)

    def test_the_page_of_a_model_opens_in_a_tab(self, tab, store):
        page = f"{tab.url}/baseten/health"
        store([data.Task("d", "t", "running", [data.job(time.time(), page=page)])])
        tab.open_in_airflow()
        tab.link(data.MODEL).click()
        tab.until(lambda: len(tab.browser.window_handles) == 2, "a second tab")
        first, second = tab.browser.window_handles
        tab.browser.switch_to.window(second)
        tab.until(lambda: tab.browser.current_url == page, "the page of the model")
        tab.browser.close()
        tab.browser.switch_to.window(first)

    def test_a_task_that_is_mapped(self, tab, show):
        show("running")
        tab.open(f"{MENU}task?dag_id=catalogue&run_id={RUN}&task_id=classify&map_index=3")
        assert "4,100 of 25,000 rows" in tab.text
        tab.link("Baseten").click()
        tab.until(lambda: tab.browser.current_url == f"{tab.url}{MENU}", "the menu page")


@pytest.mark.parametrize("user", ["admin", "viewer"])
def test_each_role_of_airflow_s_simple_auth_manager_may_read_the_pages(api_server, show, user):
    show("running")
    session = loopback_session()
    assert session.get(f"{api_server.url}{MENU}", timeout=30).status_code == 401
    login = {"username": user, "password": user}
    token = session.post(f"{api_server.url}/auth/token", json=login, timeout=30).json()["access_token"]
    response = session.get(f"{api_server.url}{MENU}", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert response.status_code == 200
    assert "product_embeddings" in response.text
    assert session.get(f"{api_server.url}/baseten/health", timeout=30).json()["status"] in {"ok", "degraded"}
