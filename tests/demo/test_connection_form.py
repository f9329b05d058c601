"""The connection form and its test button, used in Airflow's UI with a headless Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from airflow_provider_baseten.emulator import Emulator
from tests.browser import chromium, lacks
from tests.demo.conftest import API_KEY, WRONG_KEY
from tools.airflow_stack import AirflowStack

pytestmark = pytest.mark.browser

OLDEST = Path(__file__).parents[2] / ".venv-oldest" / "bin"


class Page:
    """Airflow's UI in a browser, seen by a user who waits until what they look for appears."""

    def __init__(self, browser: webdriver.Chrome, airflow: AirflowStack) -> None:
        self.browser = browser
        browser.get(airflow.ui_url)
        self.find("input[name=username]").send_keys(airflow.username)
        self.find("input[name=password]").send_keys(airflow.password)
        self.find("button[type=submit]").click()

    def find(self, css: str) -> WebElement:
        return self._appears(By.CSS_SELECTOR, css)

    def button(self, text: str) -> WebElement:
        return self._appears(By.XPATH, f"//button[normalize-space()='{text}']")

    def open_connections(self) -> None:
        # Airflow 3.1 has no label.
        self._appears(By.XPATH, "//button[@aria-label='Admin' or normalize-space()='Admin']").click()
        self._appears(By.XPATH, "//a[normalize-space()='Connections']").click()

    def open_form(self) -> None:
        self.open_connections()
        self.button("Add Connection").click()
        connection_type = self.find("[role=dialog] [role=combobox]")
        connection_type.send_keys("Baseten", Keys.ENTER)
        self.find("[role=dialog] input[name=password]")

    def names(self) -> set[str | None]:
        fields = self.browser.find_elements(By.CSS_SELECTOR, "[role=dialog] :is(input, textarea)[name]")
        return {field.get_attribute("name") for field in fields}

    def label(self, text: str) -> WebElement:
        return self._appears(By.XPATH, f"//*[@role='dialog']//label[normalize-space()='{text}']")

    def test_connection(self, connection_id: str) -> tuple[str, str]:
        """Press the button in the connection's row; return the title and the text of the notice."""
        row = f"//tr[.//*[normalize-space()='{connection_id}']]"
        self._appears(By.XPATH, f"{row}//button[@aria-label='Test Connection']").click()
        # Another notice may still be there, that the connection was saved.
        title = "//*[@data-part='title'][starts-with(@id, 'toast')][starts-with(normalize-space(), 'Test Connection')]"
        found = self._appears(By.XPATH, title)
        text = self._appears(By.XPATH, f"{title}/ancestor::*[@data-part='root']//*[@data-part='description']")
        return found.text, text.text

    def _appears(self, by: str, what: str) -> WebElement:
        def visible(browser: webdriver.Chrome) -> WebElement | None:
            return next((element for element in browser.find_elements(by, what) if element.is_displayed()), None)

        element: WebElement = WebDriverWait(self.browser, 20).until(visible, f"{what} does not appear")
        return element


@pytest.fixture(scope="module", params=["newest", "oldest"])
def either_airflow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    """The Airflow of the other tests, and the oldest one."""
    if request.param == "newest":
        yield request.getfixturevalue("airflow")
        return
    if not (OLDEST / "airflow").exists():
        lacks(f"{OLDEST} is not there: make .venv-oldest/.ready")
    folder = tmp_path_factory.mktemp("oldest")
    (folder / "dags").mkdir()
    with AirflowStack(folder / "home", folder / "dags", programs=OLDEST) as stack:
        yield stack


@pytest.fixture
def page(either_airflow: AirflowStack, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path) as browser:
        yield Page(browser, either_airflow)


def test_the_form_asks_for_what_baseten_needs(page: Page) -> None:
    page.open_form()
    assert page.label("API key")
    assert page.label("Base URL")
    assert "API key" in str(page.find("input[name=password]").get_attribute("placeholder"))
    assert "http" in str(page.find("input[name=host]").get_attribute("placeholder"))
    assert page.label("Port (0 if none)")
    assert "Test" in str(page.find("input[name=port]").get_attribute("placeholder"))
    assert page.names().isdisjoint({"login", "schema"})


@pytest.mark.parametrize("either_airflow", ["newest"], indirect=True)  # Airflow 3.1 shows extras as JSON only.
def test_the_form_has_fields_for_the_extras(page: Page) -> None:
    page.open_form()
    page.button("Extra Fields").click()
    for label in ("Authorization scheme", "Management API key", "Management URL", "Result store"):
        assert page.label(label)
    assert page.find("input[name=element_management_api_key]").get_attribute("type") == "password"
    page.find("#element_auth_scheme [role=combobox]").send_keys(Keys.ARROW_DOWN)
    schemes = page.browser.find_elements(By.CSS_SELECTOR, "#element_auth_scheme [role=option]")
    assert [scheme.text for scheme in schemes] == ["Bearer", "Api-Key"]


@pytest.mark.parametrize(
    ("api_key", "port_apart", "title", "message"),
    [
        pytest.param(API_KEY, False, "Test Connection Successful", "accepted", id="right key"),
        pytest.param(API_KEY, True, "Test Connection Successful", "accepted", id="port in its own field"),
        pytest.param(WRONG_KEY, False, "Test Connection Failed", "refused", id="wrong key"),
    ],
)
def test_the_button_says_whether_the_key_works(
    page: Page, baseten: Emulator, *, api_key: str, port_apart: bool, title: str, message: str
) -> None:
    connection_id = f"ui_{message}_{port_apart}"
    host, _, port = baseten.url.rpartition(":") if port_apart else (baseten.url, "", "0")
    page.open_form()
    page.find("input[name=connection_id]").send_keys(connection_id)
    page.find("input[name=host]").send_keys(host)
    page.find("input[name=port]").send_keys(port)
    page.find("input[name=password]").send_keys(api_key)
    page.button("Save").click()
    seen = len(baseten.requests)

    shown_title, shown_text = page.test_connection(connection_id)

    assert shown_title == title
    assert message in shown_text
    assert baseten.url in shown_text
    assert api_key not in page.browser.page_source
    asked = baseten.requests[seen:]
    assert asked
    assert {request.method for request in asked} == {"GET"}


def test_what_is_missing_is_said_without_an_id_that_nobody_has_given(page: Page, baseten: Emulator) -> None:
    page.open_form()
    page.find("input[name=connection_id]").send_keys("ui_without_key")
    page.find("input[name=host]").send_keys(baseten.url)
    page.find("input[name=port]").send_keys("0")
    page.button("Save").click()

    title, text = page.test_connection("ui_without_key")

    assert title == "Test Connection Failed"
    assert text.startswith("The connection has no password (the API key)")
