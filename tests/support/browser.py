"""A real browser, without a network. `make test-pages` installs what it needs; without that these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Open = Callable[..., Any]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")  # it keeps an event loop running, which tests of other modules start themselves
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Opens a page; at the end none may have had an error or asked for what is not there."""
    errors: list[str] = []

    def open_page(address: str, width: int = 1100, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    assert errors == []


@pytest.fixture
def violations() -> Callable[[Any], list[str]]:
    """What axe finds wrong: names, roles, contrast, keyboard."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")

    def find(page: Any) -> list[str]:
        response = axe.Axe().run(page).response
        return [f"{found['id']}: {found['nodes'][0]['html']}" for found in response["violations"]]

    return find
