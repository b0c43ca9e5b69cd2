"""A real browser, and one tab of it for the tests of a file."""

import shutil

import pytest

from tests.support.browsing import shows
from tests.support.needed import lacking
from tests.support.page_client import Client
from tests.support.patience import PATIENCE_S

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names of other sites that lead to this machine, as a hostile name server would say.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
]


def _missing(what):
    lacking(f"{what} is not installed; the page is tested in a real browser")


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright")
        raise
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        _missing("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE_S * 1000
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def tab(browser):
    """A tab of the browser, and the errors that are written to its console."""
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE_S * 1000)
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and tab.errors.append(message.text))
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The client of the next test. It starts while this test runs."""
    begun = [Client(tmp_path_factory.mktemp("client"))]
    yield begun
    begun.pop().kill()


@pytest.fixture
def client(begun, tmp_path_factory):
    client = begun.pop()
    begun.append(Client(tmp_path_factory.mktemp("client")))
    client.wait_ready()
    yield client
    client.kill()


@pytest.fixture
def page(tab, client):
    """The page, open and live. An error on its console fails the test."""
    tab.set_viewport_size({"width": 1100, "height": 800})
    # With motion, the page is drawn sixty times a second all the time.
    tab.emulate_media(reduced_motion="reduce")
    tab.errors.clear()
    tab.goto(f"http://127.0.0.1:{client.port}/")
    shows(tab, "#state", "live")
    yield tab
    tab.goto("about:blank")
    assert tab.errors == []
