"""The economy on the client's page: the strip of publishes, the last minute, what is late, what is saved."""

import re
import time
import uuid

import pytest

from actors.core import counted
from tests.support.accessible import barriers
from tests.support.browsing import has_rows, is_seen_whole, shows, tells
from tests.support.services import UNHURRIED, open_service

VIDEOS = [str(uuid.UUID(int=(number << 96) + 7)) for number in range(1, 41)]
TEXTS = "dt, .value, .note, .says, .key, .triggers li, .compare span, .compare b, .compare em"
# How many pixels of the strip have about that colour, from the row `top` to `end`.
PIXELS = """([variable, top, end]) => {
  const canvas = document.getElementById("strip");
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(variable);
  probe.fillRect(0, 0, 1, 1);
  const wanted = probe.getImageData(0, 0, 1, 1).data;
  const { data } = canvas.getContext("2d").getImageData(0, top, canvas.width, end - top);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    found += [0, 1, 2].every((one) => Math.abs(data[at + one] - wanted[one]) < 12) && data[at + 3] > 200;
  return found; }"""


def pixels(page, variable, top, end):
    return page.evaluate(PIXELS, [variable, top, end])


def read(page, key):
    """Press a key on the slider. Returns what it says of the publish then."""
    page.locator("#strip-at").press(key)
    return page.locator("#strip-says").inner_text()


def test_before_the_first_publish_the_page_says_so(page):
    shows(page, "#strip-note", "one mark each, newest right; as tall as it has videos, 1 to 20")
    assert page.locator("#strip-says").inner_text() == "none yet"
    assert page.locator("#strip").get_attribute("aria-label") == "No publishes yet"
    assert page.locator("#strip-at").is_disabled()


def test_each_publish_is_a_mark_as_tall_as_it_is_wide_in_the_colour_of_its_trigger(page, client):
    client.tell({VIDEOS[0]: 1}, trigger="realtime")
    tells(page, "#strip-says", "publish 1, ")
    assert pixels(page, "--accent", 10, 70) == 4 * 3  # 1 of 20, of 60 pixels, 4 wide
    assert pixels(page, "--sky", 10, 70) == 0
    client.tell(dict.fromkeys(VIDEOS[:10], 100), trigger="realtime")
    tells(page, "#strip-says", "publish 2, ")
    assert pixels(page, "--accent", 10, 70) == 4 * 3 + 4 * 30
    client.tell(dict.fromkeys(VIDEOS[:20], 200), trigger="deadline")
    tells(page, "#strip-says", "publish 3, ")
    assert pixels(page, "--sky", 10, 70) > 60
    assert pixels(page, "--bad", 0, 92) == 0


def test_a_mark_is_read_by_keyboard_alone(page, client):
    for trigger, width in (("realtime", 1), ("overdue", 3), ("drain", 20)):
        client.tell({video: time.time_ns() % 10**15 for video in VIDEOS[:width]}, trigger=trigger)
    tells(page, "#strip-says", "Newest: publish 3, ")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "strip-at"
    assert re.fullmatch(r"publish 2, \d\d:\d\d:\d\d, overdue, 3 of 20 videos", read(page, "ArrowLeft"))
    assert page.locator("#strip-at").get_attribute("aria-valuetext").startswith("publish 2, ")
    assert "publish 1, " in read(page, "Home")
    # What comes meanwhile does not move what is read.
    client.tell({VIDEOS[0]: 10**15}, trigger="republish")
    shows(page, "#publishes", "4")
    assert "publish 1, " in page.locator("#strip-says").inner_text()
    assert read(page, "End").startswith("Newest: publish 4, ")


def test_three_late_ones_among_many_are_flagged_and_listed_with_the_reason(page, client):
    client.tell({VIDEOS[0]: 5}, trigger="realtime")
    client.tell({VIDEOS[1]: 700}, age_s=75)
    client.tell({VIDEOS[2]: 800}, age_s=61, **{"X-Playtally-Held-Up-Ms": "5000"})
    client.tell({VIDEOS[3]: 900}, age_s=3600, trigger="overdue")
    for number in range(400):
        client.tell({VIDEOS[4]: 1000 + number}, trigger="realtime")
    shows(page, "#publishes", "404")
    has_rows(page, 3, "#late-rows")
    rows = [row.inner_text().split("\t") for row in page.locator("#late-rows tr").all()]
    assert [row[2:] for row in rows] == [
        ["its play, which came too late", "overdue", "900", VIDEOS[3]],
        ["this client, which was slow or failed", "deadline", "800", VIDEOS[2]],
        ["the service: a broken promise", "deadline", "700", VIDEOS[1]],
    ]
    assert re.fullmatch(r"(59|60)\.\d min", rows[0][1]) and re.fullmatch(r"\d\d\.\d s", rows[2][1])
    assert float(rows[2][1].removesuffix(" s")) >= 15  # and more on a busy machine
    # Of the marks that are shown none is late; the line of all publishes has three red marks.
    assert pixels(page, "--bad", 0, 70) == 0
    assert pixels(page, "--bad", 80, 90) >= 3 * 10
    assert "Of the last 404, 3 had late totals" in page.locator("#strip").get_attribute("aria-label")
    assert read(page, "Home") and pixels(page, "--bad", 0, 12) > 20
    page.locator("#strip-at").press("ArrowRight")
    assert page.locator("#strip-says").inner_text().endswith("1 of 20 videos, 1 late")
    page.locator("#strip-at").press("ArrowRight")
    assert page.locator("#strip-says").inner_text().endswith("1 late, none by the service")


def test_the_strip_and_the_late_ones_go_on_after_a_kill_of_the_client(page, client):
    client.tell({VIDEOS[0]: 700}, age_s=75)
    client.tell({VIDEOS[1]: 1})
    tells(page, "#strip-says", "publish 2, ")
    client.kill()
    page.wait_for_selector('#state[data-state="disconnected"]')
    client.start()
    client.tell({VIDEOS[1]: 2})
    tells(page, "#strip-says", "Newest: publish 3, ")
    assert page.locator("#strip-at").get_attribute("max") == "2"
    page.reload()
    tells(page, "#strip-says", "Newest: publish 3, ")
    has_rows(page, 1, "#late-rows")
    page.errors[:] = [text for text in page.errors if "net::ERR_" not in text]


def test_the_saving_is_told_against_one_publish_a_play_and_a_plain_timer(page, client):
    client.tell({VIDEOS[0]: 7, VIDEOS[1]: 1234, VIDEOS[2]: 1})
    client.tell({VIDEOS[0]: 9})
    shows(page, "#made", "2")
    shows(page, "#each", "1,244")
    shows(page, "#each-note", "99.83 % saved")
    shows(page, "#timer-name", "A plain timer, every 60 s, 20 videos each")
    shows(page, "#timer", "1")
    shows(page, "#timer-note", "2.0 times fewer, but first plays are up to 60 s late")


def test_without_a_service_the_page_says_that_it_does_not_know_what_is_counted(page, client):
    client.tell({VIDEOS[0]: 7})
    shows(page, "#plays", "7")
    assert page.locator("#counted").inner_text() == "\N{EN DASH}"
    assert page.locator("#counted-note").inner_text() == "no service has told"


def test_the_plays_counted_are_the_services_own_and_ahead_of_those_published(tab, tmp_path):
    waits = "dispatch.deadline_s=3600"
    with open_service("embedded", tmp_path, *UNHURRIED, waits) as service:
        service.start()
        tab.goto(f"http://{service.facts()['client_address']}/")
        play = b'{"video_id": "%b"}' % VIDEOS[0].encode()
        service.queue.put("plays", *[play] * 500)
        shows(tab, "#counted", "500")
        shows(tab, "#plays", "500")
        shows(tab, "#counted-note", "as the service told")
        service.queue.put("plays", *[play] * 200)
        shows(tab, "#counted", "700")
        assert tab.locator("#plays").inner_text() == "500"
        # A client that is started again is told again, and by a service that is started again too.
        service.command("kill", "client")
        tab.wait_for_selector('#state[data-state="disconnected"]')
        shows(tab, "#state", "live")
        shows(tab, "#counted", "700")
        tab.goto("about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_axe_finds_no_barrier_and_nothing_is_cut_off(page, client, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert barriers(page) == []  # idle
    client.tell({VIDEOS[0]: 7, VIDEOS[1]: 12_345_678}, trigger="realtime")
    client.tell({VIDEOS[2]: 700}, age_s=75)
    client.tell({VIDEOS[2]: 3})
    has_rows(page, 1, "#late-rows")
    has_rows(page, 2, "#broken-rows")
    assert barriers(page) == []
    is_seen_whole(page, width, TEXTS)


def test_what_the_service_tells_comes_out_as_it_went_in():
    call = counted.CountedCall(2**40)
    assert counted.decode(counted.encode(call)) == call


def test_all_that_works_is_reached_by_keyboard(page, client):
    client.tell({VIDEOS[0]: 700}, age_s=75)
    has_rows(page, 1, "#late-rows")
    page.evaluate("document.activeElement.blur()")
    reached = []
    while True:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached
    assert [reached[0], *reached[-3:]] == ["strip-at", "filter", "totals as JSON", "report as JSON"]
    assert len(reached) == 6  # and the two lists, which scroll
