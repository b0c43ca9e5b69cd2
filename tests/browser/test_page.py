"""The page in a real browser, shown by a real client process."""

import pathlib
import re
import socket
import uuid

import pytest

from actors.client.events import STREAMS_MAX
from tests.support.browsing import has_rows, is_seen_whole, shows
from tests.support.patience import PATIENCE_S

ROOT = pathlib.Path(__file__).parents[2]
FIGURES = "dt, .value, .note, td.plays, td.when, #state"
VIDEOS = [str(uuid.UUID(int=(number << 96) + 7)) for number in range(1, 401)]


def plays_of(video_id):
    return f'#rows tr[data-id="{video_id}"] td.plays'


def test_totals_appear_and_change_without_a_reload(page, client):
    page.evaluate("window.isTheSamePage = true")
    assert page.locator("#empty").inner_text().startswith("No plays yet")
    assert "python -m producer" in page.locator("#empty").inner_text()
    client.tell({VIDEOS[0]: 7, VIDEOS[1]: 1234})
    shows(page, plays_of(VIDEOS[1]), "1,234")
    shows(page, "#plays", "1,241")
    assert not page.locator("#empty").is_visible()
    client.tell({VIDEOS[0]: 9001})
    shows(page, plays_of(VIDEOS[0]), "9,001")
    shows(page, "#publishes", "2")
    # Sorted by plays again, and not marked as published at once any more.
    assert page.locator("#rows tr").first.get_attribute("data-id") == VIDEOS[0]
    assert page.locator("#rows tr.realtime").count() == 0
    assert page.evaluate("window.isTheSamePage") is True


def test_the_economy_is_shown_live(page, client):
    client.tell({VIDEOS[0]: 7, VIDEOS[1]: 1234, VIDEOS[2]: 1})
    shows(page, "#last-minute", "1 in the last minute")
    shows(page, "#width", "3.0")
    shows(page, "#plays-per-publish", "of 20; 1,242 plays in each")
    shows(page, "#saving", "99.91 %")
    client.tell({VIDEOS[0]: 9})
    shows(page, "#last-minute", "2 in the last minute")
    shows(page, "#width", "2.0")
    shows(page, "#plays-per-publish", "of 20; 622 plays in each")


def test_what_is_late_because_of_the_client_is_told_apart(page, client):
    client.tell({VIDEOS[0]: 700}, age_s=61)
    shows(page, "#hot-note", "when told; 60 s promised, 1 late")
    client.tell({VIDEOS[1]: 700}, age_s=61, **{"X-Playtally-Held-Up-Ms": "5000"})
    shows(page, "#hot-note", "when told; 60 s promised, 2 late (1 by this client)")
    shows(page, "#broken-total", "1")


def test_videos_that_are_published_at_once_are_marked(page, client):
    client.tell({VIDEOS[0]: 99, VIDEOS[1]: 100})
    shows(page, plays_of(VIDEOS[1]), "100")
    marked = page.locator("#rows tr.realtime")
    assert [row.get_attribute("data-id") for row in marked.all()] == [VIDEOS[0]]
    assert marked.get_by_role("img", name="published at once").count() == 1


def test_no_broken_promise_is_green_and_one_shows_in_red_with_what_was_found(page, client):
    colour = "element => getComputedStyle(element).color"
    client.tell({VIDEOS[0]: 5})
    shows(page, "#broken-total", "none")
    assert not page.locator("#broken").is_visible()
    red, green, _ = _rgb(page.locator("#broken-total").evaluate(colour))
    assert green > red
    client.tell({VIDEOS[0]: 3})
    client.tell({VIDEOS[1]: 500}, age_s=75)
    shows(page, "#broken-total", "2")
    red, green, _ = _rgb(page.locator("#broken-total").evaluate(colour))
    assert red > 2 * green
    has_rows(page, 2, "#broken-rows")
    text = page.locator("#broken").inner_text()
    assert "never falls" in text and "over 5" in text and VIDEOS[0] in text
    assert "within 60 s of arrival" in text and "batch-3" in text


def test_the_page_comes_back_by_itself_when_the_client_is_killed_and_restarted(page, client):
    page.evaluate("window.isTheSamePage = true")
    client.tell({VIDEOS[0]: 5})
    shows(page, plays_of(VIDEOS[0]), "5")
    client.kill()
    page.wait_for_selector('#state[data-state="disconnected"]')
    client.start()
    client.tell({VIDEOS[0]: 6, VIDEOS[1]: 8})
    shows(page, "#state", "live")
    shows(page, plays_of(VIDEOS[0]), "6")
    shows(page, plays_of(VIDEOS[1]), "8")
    assert page.evaluate("window.isTheSamePage") is True
    # The browser itself reports that the connection was lost. That is not an error of the page.
    page.errors[:] = [text for text in page.errors if "net::ERR_" not in text]


def test_of_many_videos_the_first_hundreds_are_shown_and_any_is_found_by_its_guid(page, client):
    client.tell_all({video_id: 2000 - n for n, video_id in enumerate(VIDEOS)})
    shows(page, "#videos", "400 videos")
    has_rows(page, 300)
    assert "100 more" in page.locator("#more").inner_text()
    page.locator("#filter").fill(VIDEOS[390][:8].upper())
    shows(page, plays_of(VIDEOS[390]), "1,610")
    assert page.locator("#rows tr").count() == 1
    page.locator("#filter").fill("nothing like this")
    has_rows(page, 0)
    assert "No video starts with" in page.locator("#more").inner_text()
    page.locator("#filter").fill("")
    has_rows(page, 300)


def test_whatever_the_width_nothing_is_cut_off(page, client):
    client.tell({VIDEOS[0]: 12_345_678, VIDEOS[1]: 5})
    client.tell({VIDEOS[0]: 12})
    client.tell({VIDEOS[1]: 98_765_432}, age_s=35)
    shows(page, "#broken-total", "1")
    shows(page, plays_of(VIDEOS[1]), "98,765,432")
    shows(page, "#saving", "99.99 %")
    for width in (390, 620, 970, 1041, 1400):
        is_seen_whole(page, width, FIGURES)


MOST = 2**53 - 1  # the most plays that a publish may have


@pytest.mark.parametrize("width", [320, 390, 1041])
def test_the_greatest_totals_are_whole_at_every_width_and_their_sum_is_no_wrong_number(page, client, width):
    client.tell({VIDEOS[0]: MOST})
    shows(page, "#plays", "9,007,199,254,740,991")
    client.tell({VIDEOS[1]: MOST, VIDEOS[2]: 123_456_789_012})
    shows(page, "#plays", "about 18,015 trillion")
    shows(page, plays_of(VIDEOS[1]), "9,007,199,254,740,991")
    page.wait_for_function("() => document.title.startsWith('about 18,015 trillion plays')")
    is_seen_whole(page, width, FIGURES)


def test_a_page_that_is_refused_says_what_the_client_says_and_comes_when_there_is_room(page, client):
    page.goto("about:blank")
    held = []
    for _ in range(STREAMS_MAX):
        held.append(socket.create_connection(("127.0.0.1", client.port), PATIENCE_S))
        held[-1].sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.1 200"
    page.goto(f"http://127.0.0.1:{client.port}/")
    shows(page, "#state", "refused, trying again")
    shows(
        page,
        "#trouble",
        "The client, or a proxy before it, answers 503: 64 pages are open, the most that this client serves; "
        "close some. The page tries again every 3 s.",
    )
    for one in held:
        one.close()
    shows(page, "#state", "live")
    assert not page.locator("#trouble").is_visible()
    page.errors[:] = [text for text in page.errors if "503" not in text]  # the browser's own words


def test_nothing_moves_while_totals_change(page, client):
    client.tell({video_id: 10 + n for n, video_id in enumerate(VIDEOS[:20])})
    shows(page, "#videos", "20 videos")
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
             for (const entry of list.getEntries()) window.shift += entry.value;
           }).observe({type: 'layout-shift'}); }"""
    )
    places = "['#plays', '#publishes', '#broken-note', '#rows'].map((name) => \
        JSON.stringify(document.querySelector(name).getBoundingClientRect().top))"
    before = page.evaluate(places)
    for step in (1, 1000, 1_000_000):
        client.tell({video_id: 100 * step + n for n, video_id in enumerate(VIDEOS[:20])})
        shows(page, plays_of(VIDEOS[0]), f"{100 * step:,}")
    assert page.evaluate(places) == before
    assert page.evaluate("window.shift") < 0.01


def test_a_changed_row_flashes_unless_less_motion_is_wanted(page, client):
    page.emulate_media(reduced_motion="no-preference")
    # A flash may be over before a slow machine looks. So the page records its flashes.
    page.evaluate(
        """() => { window.flashes = []; const animate = Element.prototype.animate;
             Element.prototype.animate = function (...how) {
               const flash = animate.apply(this, how);
               window.flashes.push([this.dataset.id, flash]);
               return flash; }; }"""
    )
    client.tell({VIDEOS[0]: 1})
    shows(page, plays_of(VIDEOS[0]), "1")
    client.tell({VIDEOS[0]: 2})
    shows(page, plays_of(VIDEOS[0]), "2")
    (*_, (id, timing)) = page.evaluate("flashes.map(([id, flash]) => [id, flash.effect.getComputedTiming()])")
    assert id == VIDEOS[0]
    assert timing["iterations"] == 1 and 0 < timing["duration"] <= 2000
    page.evaluate("flashes.forEach(([, flash]) => flash.finish())")
    assert page.evaluate("document.querySelector('#rows tr').getAnimations().length") == 0
    page.emulate_media(reduced_motion="reduce")
    before = page.evaluate("flashes.length")
    client.tell({VIDEOS[0]: 3})
    shows(page, plays_of(VIDEOS[0]), "3")
    assert page.evaluate("flashes.length") == before


def _rgb(text):
    return [int(part) for part in re.findall(r"\d+", text)[:3]]
