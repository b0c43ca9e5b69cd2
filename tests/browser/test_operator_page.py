"""The operator's page in a real browser, shown by a real service whose client does what a test wants."""

import contextlib
import os
import re
import signal

import pytest

from tests.support.browsing import has_rows, is_seen_whole, shows, tells
from tests.support.patience import PATIENCE_S
from tests.support.queues import free_ports
from tests.support.recording_client import RecordingClient, Reply
from tests.support.reverse_proxy import reverse_proxy
from tests.support.services import PATIENT, UNHURRIED, open_service, wait_caught_up, wait_status
from tests.support.trouble import halt

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 41)]
BAD = "ffffffff-0000-4000-8000-00000000000f"
WORDS = '<img src=x onerror="window.ran=1"><script>window.ran=1</script> <b>no</b> & \u202e\x1b[31m\x07such'
SHOWN = '422 <i>No</i>: <img src=x onerror="window.ran=1"><script>window.ran=1</script> <b>no</b> & '
SHOWN += r"\u202e\x1b[31m\x07such"
MARKUP = b"HTTP/1.1 422 <i>No</i>\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
    len(WORDS.encode()),
    WORDS.encode(),
)


class Answers:
    """A client's answers. `refuses`: it refuses `BAD`, with markup in its words. `is_down`: 503 to all."""

    def __init__(self):
        self.refuses = self.is_down = False

    def __call__(self, number, publish):
        if self.is_down:
            return 503
        has_bad = any(one["video_id"] == BAD for one in publish["videos"])
        return Reply(422, raw=[MARKUP]) if self.refuses and has_bad else 200


@pytest.fixture(scope="module")
def answers():
    return Answers()


@pytest.fixture(scope="module")
def service(answers, tmp_path_factory):
    """One service for all tests, always at the same admin address."""
    (port,) = free_ports(1)
    settings = [*UNHURRIED, *PATIENT, f"admin.address=127.0.0.1:{port}"]
    with (
        RecordingClient(answers) as client,
        open_service(
            "embedded", tmp_path_factory.mktemp("service"), f"publish.url={client.url}", *settings
        ) as service,
    ):
        service.start()
        yield service


@pytest.fixture
def page(tab, service, answers):
    """The page, open and live. An error on its console fails the test."""
    tab.set_viewport_size({"width": 1100, "height": 800})
    tab.errors.clear()
    tab.goto(f"http://{service.address('admin_address')}/")
    shows(tab, "#state", "live")
    yield tab
    tab.goto("about:blank")
    answers.refuses = answers.is_down = False
    assert tab.errors == []


@pytest.fixture
def with_refused(page, service, answers):
    """The same page while the client refuses a video."""
    answers.refuses = True
    put(service, BAD)
    wait_status(service, lambda found: found["refused_videos_total"] == 1, "the refused video")
    has_rows(page, 1, "#refused-rows")
    yield page
    answers.refuses = False
    assert service.command("republish", BAD).returncode == 0  # which tries it at once
    wait_caught_up(service, 1)


def put(service, *videos):
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos])


def cells(page, row):
    """The texts of a row's cells."""
    return page.locator(row).locator("td").all_inner_texts()


def row_of(child_id):
    """The number of a child's row, in the tree of a service on the embedded queue."""
    order = ["supervisor", "nsqd", "client", "dispatcher", "counters", "counter-0", "counter-1", "consumer"]
    return f"#children-rows tr:nth-child({order.index(child_id) + 1})"


def test_plays_publishes_and_a_killed_child_are_shown_without_a_reload(page, service):
    page.evaluate("window.isTheSamePage = true")
    plays, life = service.status()["plays"]["counted"], service.child("counter-0")["incarnation"]
    put(service, *VIDEOS)
    status = wait_caught_up(service, plays + len(VIDEOS))
    shows(page, "#plays", str(plays + len(VIDEOS)))
    shows(page, "#publishes", str(status["publishes"]["total"]))
    tells(page, "#progress", "Caught up: nothing in flight, every play published")
    tells(page, "#triggers", f"realtime {status['publishes']['realtime']}")
    shows(page, "#pending", "0")
    shows(page, "#depth", "0")
    shows(page, "#client", "answers")
    shows(page, "#refused-total", "none")
    assert not page.locator("#refused").is_visible()
    assert [row.inner_text() for row in page.locator("#children-rows td:first-child").all()] == (
        ["supervisor", "nsqd", "client", "dispatcher", "counters", "counter-0", "counter-1", "consumer"]
    )
    (nsqd,) = status["nsq"]["nsqds"]
    has_rows(page, 1, "#nsqds-rows")
    assert cells(page, "#nsqds-rows tr")[:2] == [nsqd["address"], "connected"]
    assert cells(page, "#nsqds-rows tr")[-1] == f"node id {nsqd['node_id']}"

    os.kill(service.child("counter-0")["pid"], signal.SIGKILL)
    shows(page, f"{row_of('counter-0')} td:nth-child(3)", f"#{life + 1}")
    shows(page, f"{row_of('counter-0')} td:nth-child(2)", "running")
    last_exit = f"{row_of('counter-0')} td:nth-child(5)"
    tells(page, last_exit, "killed(SIGKILL), ")
    tells(page, last_exit, " ago, back in ")
    shows(page, "#timeline .name", "counter-0")
    shows(page, "#timeline .count", "1 restart")
    tells(page, "#restarts-rows tr:first-child", "killed(SIGKILL)")
    assert page.locator("#timeline .line i").count() == 1
    child = service.child("counter-0")
    shows(page, f"{row_of('counter-0')} td:nth-child(6)", str(child["pid"]))
    assert page.evaluate("window.isTheSamePage") is True


def test_a_refused_video_is_shown_with_the_clients_words_which_are_text_whatever_is_in_them(
    with_refused, service
):
    page = with_refused
    shows(page, "#refused-total", "1")
    words = page.locator("#refused-rows td:first-child p")
    assert words.evaluate("(element) => element.textContent") == SHOWN
    assert words.evaluate("(element) => element.children.length") == 0
    tells(page, "#failures-rows", "<i>No</i>")
    tells(page, "#answers-rows", "422")
    assert page.locator("#failures-rows td span *, #answers-rows td span *").count() == 0
    assert page.evaluate("window.ran") is None
    video, plays, attempts, next_in = cells(page, "#refused-rows tr")
    (refused,) = service.status()["refused_videos"]
    assert video.startswith(BAD)
    assert plays == str(refused["plays"])
    assert int(attempts) >= 1
    assert re.fullmatch(r"due|\d+ ms|[\d.]+ s|\d+ min \d+ s", next_in)
    tells(page, "#progress", "the client refuses 1 video")


def test_a_refused_video_that_the_client_takes_is_gone_from_the_page(with_refused, service, answers):
    answers.refuses = False
    assert service.command("republish", BAD).returncode == 0
    wait_caught_up(service, 1)
    shows(with_refused, "#refused-total", "none")
    has_rows(with_refused, 0, "#refused-rows")
    with_refused.wait_for_selector("#refused", state="hidden")


def test_a_client_that_fails_is_shown_with_the_circuit_and_with_what_waits(page, service, answers):
    answers.is_down = True
    plays = service.status()["plays"]["counted"]
    put(service, VIDEOS[0])
    shows(page, "#client", "fails")
    shows(page, "#pending", "1")
    tells(page, "#client-note", "in a row; circuit open: one publish now and then tries it")
    tells(page, "#progress", "Not caught up: 1 video to publish")
    answers.is_down = False
    wait_caught_up(service, plays + 1)
    shows(page, "#client", "answers")
    shows(page, "#client-note", "no failure since its last answer")


def test_the_page_says_that_a_service_hangs_or_is_gone_and_goes_on_when_it_is_back(page, service):
    page.evaluate("window.isTheSamePage = true")
    assert not page.locator("#trouble").is_visible()
    halt(service.process.pid)
    try:
        tells(page, "#trouble", "The service has not answered for 12 s. Below is what it said at ")
        shows(page, "#state", "no answer")
    finally:
        os.kill(service.process.pid, signal.SIGCONT)
    shows(page, "#state", "live")
    page.wait_for_selector("#trouble", state="hidden")

    service.stop()
    tells(page, "#trouble", "The service does not answer. Below is what it said at ")
    assert page.locator("#shown").is_visible()
    service.start()
    shows(page, "#state", "live")
    page.wait_for_selector("#trouble", state="hidden")
    shows(page, f"{row_of('supervisor')} td:nth-child(6)", str(service.process.pid))
    assert page.evaluate("window.isTheSamePage") is True
    # The browser itself reports that there is no connection. That is not an error of the page.
    page.errors[:] = [text for text in page.errors if "net::ERR_" not in text]


FOLLOW_AND_HIDE = """
    window.streams = [];
    const Ours = window.EventSource;
    window.EventSource = class extends Ours {
      constructor(...what) { super(...what); window.streams.push(this); }
    };
    window.open_streams = () => window.streams.filter((one) => one.readyState !== Ours.CLOSED).length;
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    window.hide = (is) => { hidden = is; document.dispatchEvent(new Event("visibilitychange")); };
"""


def test_a_hidden_page_lets_go_of_its_stream_and_comes_back_complete(browser, service):
    """No window of a browser without a screen is ever hidden, so the page is told that it is."""
    with contextlib.closing(browser.new_page()) as page:
        page.set_default_timeout(PATIENCE_S * 1000)
        page.clock.install()
        page.add_init_script(FOLLOW_AND_HIDE)
        page.goto(f"http://{service.address('admin_address')}/")
        shows(page, "#state", "live")
        assert page.evaluate("hide(true), open_streams()") == 0
        plays = service.status()["plays"]["counted"]
        put(service, *VIDEOS)
        wait_caught_up(service, plays + len(VIDEOS))
        for _ in range(10):
            page.clock.run_for(60_000)
        assert page.evaluate("open_streams()") == 0
        asked = page.evaluate("window.streams.length")
        page.evaluate("hide(false)")
        shows(page, "#plays", f"{plays + len(VIDEOS):,}")
        shows(page, "#state", "live")
        assert page.evaluate("[open_streams(), window.streams.length]") == [1, asked + 1]


def test_the_page_works_under_any_path_of_a_reverse_proxy(page, service):
    with reverse_proxy("/ops/playtally/", service.address("admin_address")) as address:
        page.goto(f"http://{address}/ops/playtally/")
        shows(page, "#state", "live")
        shows(page, f"{row_of('supervisor')} td:nth-child(6)", str(service.process.pid))
        assert page.evaluate("getComputedStyle(document.querySelector('.figures')).display") == "grid"
        page.goto("about:blank")


def test_whatever_the_width_nothing_is_cut_off_and_wide_tables_scroll_by_themselves(with_refused):
    for width in (390, 620, 970, 1400):
        is_seen_whole(with_refused, width, "dt, .value, .note, td, #state, #progress")
        refused = "document.querySelector('#refused .scroll')"
        assert with_refused.evaluate(f"{refused}.scrollWidth <= {refused}.clientWidth"), width


FAINT = """() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (colour) => colour.slice(0, 3)
      .map((one) => one / 255).map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
      .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
    const ground = (element) => {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      return colour[3] === 0 ? ground(element.parentElement) : colour;
    };
    const contrast = (element) => {
      const [one, other] = [rgb(getComputedStyle(element).color), ground(element)].map(light);
      return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    };
    const hasText = (element) => [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    return [...document.querySelectorAll('body *')]
      .filter((one) => one.checkVisibility() && hasText(one))
      .filter((one) => contrast(one) < 4.5)
      .map((one) => `${one.tagName} ${one.innerText}: ${contrast(one).toFixed(1)}`);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(with_refused, scheme):
    with_refused.emulate_media(color_scheme=scheme)
    ground = with_refused.evaluate("getComputedStyle(document.body).backgroundColor")
    is_light = int(re.findall(r"\d+", ground)[0]) > 127
    assert is_light == (scheme == "light")
    assert with_refused.evaluate(FAINT) == []


FOCUSED = """() => {
    const one = document.activeElement;
    const name = one.getAttribute('href') ?? one.getAttribute('aria-labelledby') ?? one.dataset.span;
    return [name, getComputedStyle(one).outlineStyle];
}"""


def test_what_limits_publishing_is_shown(with_refused):
    told = with_refused.locator("#facts").inner_text()
    assert re.search(r"In flight now\s+\d of 8 at most", told) and re.search(r"Rate\s+no limit", told), told


def test_with_the_keyboard_alone_every_link_and_table_is_reached_and_seen(with_refused):
    reached = []
    tables = ["refused-heading", "children-heading"]
    tables += ["restarts-heading"] * with_refused.locator("#restarts-list").is_visible()
    spans = ["hour", "day"]
    links = ["status", "metrics", "history?span=hour"]
    more = [f"{name}-heading" for name in ("nsqds", "answers", "failures", "ledgers", "letters")]
    more += ["log-heading"] * with_refused.locator("#log").is_visible()
    names = [*tables, *spans, *more, *links]
    for _ in names:
        with_refused.keyboard.press("Tab")
        reached.append(with_refused.evaluate(FOCUSED))
    assert reached == [[name, "solid"] for name in names]
