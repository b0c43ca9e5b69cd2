"""The form for the token, in a real browser: once signed in, the pages live; the cookie is out of reach."""

import pytest

from tests.support.accessible import barriers
from tests.support.browsing import shows
from tests.support.services import UNHURRIED, open_service, wait_caught_up

TOKENS = {"admin": "a-token-for-those-who-run-it", "client": "a-token-for-those-who-read"}
PLAY = b'{"video_id": "00000000-0000-4000-8000-000000000001"}'


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files with the tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    for name, token in TOKENS.items():
        (folder / name).write_text(token)
    return {name: folder / name for name in TOKENS}


@pytest.fixture(scope="module")
def service(files, tmp_path_factory):
    settings = [f"{name}.token_file={file}" for name, file in files.items()]
    with open_service("embedded", tmp_path_factory.mktemp("service"), *UNHURRIED, *settings) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)
        yield service


@pytest.fixture
def page(browser):
    """A tab of a browser that knows nothing yet. Errors of its pages fail the test."""
    context = browser.new_context()
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert errors == []


def sign_in(page, token):
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()


def address(service, name):
    return f"http://{service.address(f'{name}_address')}/"


@pytest.mark.parametrize("name", TOKENS)
def test_the_token_is_asked_for_once_and_the_page_lives(page, service, name):
    answer = page.goto(address(service, name))
    assert answer.status == 401
    sign_in(page, TOKENS["client" if name == "admin" else "admin"])
    shows(page, "#wrong", "This is not the token.")
    assert page.url.endswith("/session")
    sign_in(page, f" {TOKENS[name]} ")
    shows(page, "#state", "live")
    assert page.url == address(service, name)
    page.reload()
    shows(page, "#state", "live")
    assert page.evaluate("document.cookie") == ""
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
    assert TOKENS[name] not in cookie["value"]


def test_both_pages_of_one_host_keep_their_sessions(page, service):
    for name, token in TOKENS.items():
        page.goto(address(service, name))
        sign_in(page, token)
        shows(page, "#state", "live")
    assert page.goto(address(service, "admin")).status == 200
    assert len(page.context.cookies()) == 2


def test_the_form_works_without_scripts_and_by_keyboard_alone(browser, service):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(address(service, "client"))
        page.keyboard.type(TOKENS["client"])  # the field has the focus
        page.keyboard.press("Enter")
        page.wait_for_url(address(service, "client"))
        assert page.locator("h1").inner_text().strip() == "playtally"
        assert page.locator("form").count() == 0
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_the_form_fits_and_can_be_read(browser, service, scheme, width):
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 700})
    try:
        page = context.new_page()
        page.goto(address(service, "admin"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground, ink = (
            page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert (sum(numbers(ground)) > sum(numbers(ink))) == (scheme == "light")
        assert barriers(page) == []
    finally:
        context.close()


def numbers(colour):
    return [int(one) for one in colour.removeprefix("rgb(").removesuffix(")").split(",")]


@pytest.mark.parametrize("name", TOKENS)
def test_a_page_whose_session_ends_shows_the_form(page, service, files, name):
    page.goto(address(service, name))
    sign_in(page, TOKENS[name])
    shows(page, "#state", "live")
    files[name].write_text("another-token-for-a-while")
    try:
        page.get_by_label("Token").wait_for()
    finally:
        files[name].write_text(TOKENS[name])
