"""The client's page in many tabs, hidden, behind a proxy, and with more videos than it holds."""

import contextlib
import http.client
import json
import re
import time
import uuid
from pathlib import Path

import pytest

from actors.client import events, handlers
from tests.support.browsing import has_rows, shows
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.reverse_proxy import reverse_proxy
from tests.support.served_client import Served

FOLDER = Path(handlers.__file__).parent / "page"
VIDEOS = [str(uuid.UUID(int=(number << 96) + 0xABC)) for number in range(1, 401)]
TABS = 10


def tell(port, totals):
    """Publish totals to the client, twenty at a time."""
    rows = [
        {"video_id": video_id, "plays": plays, "arrived_at_ns": time.time_ns()}
        for video_id, plays in totals.items()
    ]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        for start in range(0, len(rows), 20):
            body = {"batch": str(uuid.uuid4()), "trigger": "deadline", "videos": rows[start : start + 20]}
            connection.request("POST", "/plays", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()


@pytest.fixture
def client(tmp_path):
    with Served(tmp_path / "client") as client:
        yield client


def plays_of(video_id):
    return f'#rows tr[data-id="{video_id}"] td.plays'


def streams(client):
    """How many streams the client holds."""
    return client.client.streams.count()


def new_tab(context, address, path="/"):
    """A tab of the same browser, with the page."""
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE_S * 1000)
    tab.goto(f"http://{address}{path}")
    shows(tab, "#state", "live")
    return tab


# No window of a browser without a screen is hidden before it is closed, so the page is told that it is.
HIDE = """
    let hidden = false;
    const { get } = Object.getOwnPropertyDescriptor(Document.prototype, "hidden");
    Object.defineProperty(document, "hidden", { get: () => hidden || get.call(document) });
    window.hide = (is) => { hidden = is; document.dispatchEvent(new Event("visibilitychange")); };
"""


@pytest.mark.parametrize("workers", [True, False])
def test_a_hidden_tab_lets_its_stream_go_and_shows_the_newest_when_it_is_seen(browser, client, workers):
    with contextlib.closing(browser.new_context()) as context:
        context.add_init_script(HIDE + ("" if workers else "delete globalThis.SharedWorker;"))
        tab = new_tab(context, f"127.0.0.1:{client.port}")
        tell(client.port, {VIDEOS[0]: 5, VIDEOS[1]: 4})
        shows(tab, plays_of(VIDEOS[0]), "5")
        assert streams(client) == 1
        tab.evaluate("hide(true)")
        wait_until(lambda: streams(client) == 0, "the stream to be let go")
        tell(client.port, {VIDEOS[0]: 6, VIDEOS[2]: 1})
        tab.evaluate("hide(false)")
        shows(tab, plays_of(VIDEOS[0]), "6")
        shows(tab, plays_of(VIDEOS[1]), "4")
        shows(tab, plays_of(VIDEOS[2]), "1")
        shows(tab, "#state", "live")
        assert streams(client) == 1


def test_a_tab_whose_worker_says_nothing_opens_a_stream_of_its_own(browser, client):
    with contextlib.closing(browser.new_context()) as context:
        context.add_init_script(
            """globalThis.SharedWorker = class extends EventTarget {
                 port = Object.assign(new EventTarget(), { start() {}, postMessage() {} });
               };"""
        )
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE_S * 1000)
        tab.clock.install()
        tab.goto(f"http://127.0.0.1:{client.port}/")
        tab.clock.run_for(29_000)
        assert (tab.locator("#state").inner_text(), streams(client)) == ("connecting", 0)
        tab.clock.run_for(40_000)
        shows(tab, "#state", "live")
        wait_until(lambda: streams(client) == 1, "one stream")


def test_ten_tabs_work_side_by_side_and_share_one_stream(browser, client):
    with contextlib.closing(browser.new_context()) as context:
        context.add_init_script(HIDE)
        tabs = [new_tab(context, f"127.0.0.1:{client.port}") for _ in range(TABS)]
        tell(client.port, {VIDEOS[0]: 7})
        for tab in tabs:
            shows(tab, plays_of(VIDEOS[0]), "7")
        wait_until(lambda: streams(client) == 1, "one stream")
        for tab in tabs[1:-1]:
            tab.close()
        tabs[-1].evaluate("hide(true)")
        tell(client.port, {VIDEOS[0]: 8})
        shows(tabs[0], plays_of(VIDEOS[0]), "8")
        assert streams(client) == 1
        tabs[0].close()
        wait_until(lambda: streams(client) == 0, "the stream to be let go")
        tabs[-1].evaluate("hide(false)")
        shows(tabs[-1], plays_of(VIDEOS[0]), "8")


def test_the_rows_of_a_tab_stay_when_another_tab_comes(browser, client):
    with contextlib.closing(browser.new_context()) as context:
        tell(client.port, {VIDEOS[0]: 7, VIDEOS[1]: 6})
        tab = new_tab(context, f"127.0.0.1:{client.port}")
        has_rows(tab, 2)
        tab.evaluate("window.row = document.querySelector('#rows tr')")
        other = new_tab(context, f"127.0.0.1:{client.port}")
        tell(client.port, {VIDEOS[1]: 8})
        shows(other, plays_of(VIDEOS[1]), "8")
        shows(tab, plays_of(VIDEOS[1]), "8")
        assert tab.evaluate("row.isConnected && row.dataset.id") == VIDEOS[0]


def test_the_page_works_under_any_path_of_a_reverse_proxy(browser, client):
    tell(client.port, {VIDEOS[0]: 7})
    with (
        reverse_proxy("/playtally/", f"127.0.0.1:{client.port}") as address,
        contextlib.closing(browser.new_context()) as context,
    ):
        tab = new_tab(context, address, "/playtally/")
        shows(tab, plays_of(VIDEOS[0]), "7")
        tell(client.port, {VIDEOS[0]: 9})
        shows(tab, plays_of(VIDEOS[0]), "9")
        tell(client.port, {VIDEOS[0]: 3})  # a broken promise: the report is asked for
        has_rows(tab, 1, "#broken-rows")
        assert tab.evaluate("getComputedStyle(document.querySelector('.figures')).display") == "grid"
        assert tab.evaluate("document.querySelector('h1 img').naturalWidth") > 0
        for link in tab.locator("footer a").all():
            assert link.evaluate("one => one.href").startswith(f"http://{address}/playtally/")


def test_the_page_has_no_inline_script_and_only_relative_links():
    html = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", html) == []
    assert {"economy.css", "page.css", "page.js", "icon.svg", "totals", "report"} == set(
        re.findall(r'(?:href|src)="([^"]*)"', html)
    )
    scripts = "".join(file.read_text() for file in FOLDER.glob("*.js"))
    assert set(re.findall(r'(?:fetch|EventSource|SharedWorker)\(["`](\w*)', scripts)) == {
        "events",
        "report",
        "videos",
        "worker",
    }
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?://", scripts) == []
    served = {name for name, _ in handlers._PAGE_FILES.values()}
    assert served == {file.name for file in FOLDER.iterdir()}


def test_any_video_is_found_beyond_those_that_the_page_holds_in_every_form_of_its_guid(
    browser, client, monkeypatch
):
    monkeypatch.setattr(events, "VIDEOS_PER_EVENT_MAX", 50)
    tell(client.port, {video_id: 2000 - n for n, video_id in enumerate(VIDEOS)})
    with contextlib.closing(browser.new_context()) as context:
        tab = new_tab(context, f"127.0.0.1:{client.port}")
        has_rows(tab, 50)
        shows(tab, "#more", "The 50 with the most plays. 350 more: find one by the start of its GUID.")
        last = VIDEOS[-1]
        digits = last.replace("-", "")
        for sought in (last, last.upper(), digits, digits.upper()[:20], f"{{{last}}}", f" urn:uuid:{last}"):
            tab.locator("#filter").fill(sought)
            shows(tab, plays_of(last), "1,601")
            shows(tab, "#more", "1 video found")
            tab.locator("#filter").fill("")
            has_rows(tab, 51)
        tab.locator("#filter").fill("000001")
        shows(tab, "#more", "145 videos found")
        has_rows(tab, 145)
        tell(client.port, {last: 5000})
        shows(tab, plays_of(last), "5,000")
        tab.locator("#filter").fill("fffff")
        shows(tab, "#more", "No video starts with “fffff”.")
        tab.locator("#filter").fill("0000")
        shows(tab, "#more", "The 300 with the most plays. 100 more: find one by the start of its GUID.")
