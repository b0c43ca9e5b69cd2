"""What may be done from the operator's page, by whom, and how it asks before."""

import re

import pytest

from tests.support.accessible import barriers
from tests.support.browsing import is_seen_whole, shows, tells
from tests.support.services import PATIENT, UNHURRIED, open_service, wait_caught_up, wait_status

TOKEN = "a-token-for-those-who-run-it"
PLAY = b'{"video_id": "00000000-0000-4000-8000-000000000001"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that lets those who have the token act."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "token").write_text(TOKEN)
    settings = [f"admin.token_file={folder / 'token'}", "admin.actions=true"]
    with open_service("embedded", folder, *UNHURRIED, *PATIENT, *settings) as service:
        service.start()
        yield service


@pytest.fixture
def page(tab, service):
    """The page, signed in and live. An error on its console fails the test, except for refusals."""
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(f"http://{service.address('admin_address')}/")
    if tab.get_by_label("Token").count():
        tab.get_by_label("Token").fill(TOKEN)
        tab.get_by_role("button", name="Open").click()
    shows(tab, "#state", "live")
    yield tab
    tab.goto("about:blank")
    assert [text for text in tab.errors if not re.search(r"status of (401|409|400)", text)] == []
    tab.errors.clear()


def ask(page, button):
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_selector("#dialog[open]")


def confirm(page, button):
    page.locator("#dialog").get_by_role("button", name=button, exact=True).click()


def close(page):
    page.keyboard.press("Escape")
    page.wait_for_selector("#dialog:not([open])", state="attached")


def test_a_child_is_killed_from_the_page_and_comes_back(page, service):
    life = service.child("counter-0")["incarnation"]
    ask(page, "Act on counter-0")
    confirm(page, "Kill counter-0")
    tells(page, "#dialog-answer", "Done: sent SIGKILL to counter-0")
    close(page)
    wait_status(service, lambda _: service.child("counter-0")["incarnation"] == life + 1, "the next life")
    tells(page, "#timeline", "counter-0")
    tells(page, "#log-rows tr:first-child", "kill counter-0")
    cells = page.locator("#log-rows tr:first-child td").all_inner_texts()
    assert cells[2:] == ["done", "token (session)", "127.0.0.1"]


def test_nothing_is_done_until_it_is_confirmed(page, service):
    life = service.child("counter-1")["incarnation"]
    for leave in (lambda: page.keyboard.press("Escape"), lambda: confirm(page, "Cancel")):
        ask(page, "Act on counter-1")
        leave()
        page.wait_for_selector("#dialog:not([open])", state="attached")
    assert service.child("counter-1")["incarnation"] == life
    assert service.child("counter-1")["state"] == "running"


def test_a_terminated_child_stays_down_until_it_is_restarted(page, service):
    ask(page, "Act on consumer")
    page.get_by_label("Terminate it").check()
    confirm(page, "Terminate consumer")
    tells(page, "#dialog-answer", "Done: terminate consumer")
    close(page)
    wait_status(service, lambda _: service.child("consumer")["state"] == "stopped", "the consumer to be down")
    row = page.locator("#children-rows tr", has_text="consumer")
    row.locator("td[data-state=stopped]").wait_for()
    ask(page, "Act on consumer")
    assert page.locator("#dialog-choices input").evaluate_all("(all) => all.map((one) => one.value)") == [
        "restart",
        "terminate",
    ]
    confirm(page, "Restart consumer")
    tells(page, "#dialog-answer", "Done: restart consumer")
    close(page)
    row.locator("td[data-state=running]").wait_for()


def test_a_supervisor_is_no_process_to_kill(page):
    ask(page, "Act on counters")
    assert page.locator("#dialog-choices input").count() == 1
    close(page)


@pytest.mark.parametrize("what", ["consuming", "publishing"])
def test_a_pause_is_shown_and_ends_with_resume(page, service, what):
    ask(page, f"Pause {what}")
    confirm(page, f"Pause {what}")
    tells(page, "#dialog-answer", f"Done: {what} is paused")
    close(page)
    tells(page, "#paused", f"Paused by an action: {what}.")
    assert service.status()["paused"][what] is True
    ask(page, f"Resume {what}")
    confirm(page, f"Resume {what}")
    tells(page, "#dialog-answer", f"Done: {what} goes on")
    close(page)
    page.wait_for_selector("#paused", state="hidden")
    plays = service.status()["plays"]["counted"]
    service.queue.put("plays", PLAY)
    wait_caught_up(service, plays + 1)


def test_a_setting_is_changed_by_keyboard_alone_and_a_wrong_value_is_refused_in_words(page, service):
    page.get_by_role("button", name="Change publish.rate_max_per_s").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#dialog[open]")
    page.keyboard.type("-1")
    page.keyboard.press("Enter")
    tells(page, "#dialog-answer", "Refused (400): ")
    assert service.status()["set_while_running"] == {}
    page.locator("#dialog-value").fill("50")
    page.keyboard.press("Enter")
    tells(page, "#dialog-answer", "Done: publish.rate_max_per_s is 50")
    assert page.evaluate("document.activeElement.id") == "dialog-cancel"
    page.keyboard.press("Escape")
    assert service.status()["set_while_running"] == {"publish.rate_max_per_s": 50.0}
    button = page.get_by_role("button", name="Change publish.rate_max_per_s (now 50)")
    button.wait_for()
    assert button.evaluate("(one) => one === document.activeElement")


def test_the_keyboard_reaches_each_button_of_a_question_and_gets_out_of_it(page):
    page.get_by_role("button", name="Act on dispatcher").focus()
    page.keyboard.press("Space")
    page.wait_for_selector("#dialog[open]")
    seen = set()
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.closest('dialog') && document.activeElement.id"))
    assert {"dialog-cancel", "dialog-confirm"} <= seen
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.child") == "dispatcher"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_controls_and_questions(page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert barriers(page) == []
    for button in ("Act on nsqd", "Change publish.in_flight_max"):
        ask(page, button)
        assert barriers(page) == []
        close(page)


def test_a_question_fits_on_a_phone(page):
    is_seen_whole(page, 390, "#controls, #log, td, h2")
    ask(page, "Act on nsqd")
    is_seen_whole(page, 390, "#dialog, #dialog *")
    close(page)


def test_what_may_not_be_done_is_not_offered(tab, service, tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as other:
        other.start()
        tab.goto(f"http://{other.address('admin_address')}/")
        shows(tab, "#state", "live")
        assert not tab.locator("#controls").is_visible()
        assert tab.locator("#children-rows button").count() == 0
        assert not tab.locator("#act-column").is_visible()
        tab.goto("about:blank")
