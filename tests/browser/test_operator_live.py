"""The operator's page over time: its charts, its stream through a killed supervisor, and who may use it."""

import contextlib
import os
import signal
import socket
import time

import pytest

from actors.service.history import COUNTS, LEVELS, History
from actors.service.live import EVENT_STREAMS_MAX
from actors.system.addresses import split_address
from tests.support.accessible import barriers
from tests.support.browsing import shows, tells
from tests.support.patience import wait_until
from tests.support.queues import free_ports
from tests.support.services import PATIENT, UNHURRIED, open_service, wait_caught_up, wait_status

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 41)]
HOUR_S, BEFORE_S = 3600, 1800


def fill_history(folder):
    """What a service leaves that has counted 50 plays a second until half an hour ago, for half an hour."""
    folder.mkdir(parents=True, exist_ok=True)
    history = History(folder)
    history.open()
    now_s = time.time()
    for number in range(BEFORE_S // 10):
        sample = dict.fromkeys((*COUNTS, *LEVELS), 0.0) | {"counted": 500.0 * number, "memory_bytes": 3e8}
        history.add(sample, now_s - HOUR_S + 10 * number + 20)
    history.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with a history, always at the same admin address."""
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("service")
    with open_service("embedded", folder, *UNHURRIED, *PATIENT, f"admin.address=127.0.0.1:{port}") as service:
        fill_history(service.state_dir)
        service.start()
        yield service


@pytest.fixture
def page(tab, service):
    """The page, open and live. An error on its console fails the test."""
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.errors.clear()
    tab.goto(f"http://{service.address('admin_address')}/")
    shows(tab, "#state", "live")
    yield tab
    tab.goto("about:blank")
    assert tab.errors == []


def put(service, *videos):
    plays = service.status()["plays"]["counted"]
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos])
    return wait_caught_up(service, plays + len(videos))


def drawn(page, series, quarter):
    """Whether the line of a series is drawn in that quarter (0 to 3) of the chart of plays."""
    return page.evaluate(
        """([series, quarter]) => {
            const canvas = document.querySelector("#charts figure canvas");
            const probe = document.createElement("i");
            const style = getComputedStyle(document.documentElement);
            probe.style.color = style.getPropertyValue(`--line-${series}`);
            document.body.append(probe);
            const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
            probe.remove();
            const left = 56 * devicePixelRatio, width = (canvas.width - left) / 4;
            const drawn = canvas.getContext("2d");
            const { data } = drawn.getImageData(left + quarter * width, 0, width, canvas.height);
            for (let n = 0; n < data.length; n += 4) {
              if (Math.abs(data[n] - r) + Math.abs(data[n + 1] - g) + Math.abs(data[n + 2] - b) < 40
                  && data[n + 3] > 200) return true;
            }
            return false;
        }""",
        [series, quarter],
    )


def has_samples(page, count, span):
    page.wait_for_function(
        "([count, span]) => charts.dataset.drawn === span && Number(charts.dataset.samples) >= count",
        arg=[count, span],
    )


def test_charts_are_drawn_from_the_history_with_a_gap_where_the_service_did_not_run(page):
    has_samples(page, BEFORE_S // 10, "hour")
    page.wait_for_selector("#charts figure canvas")
    assert [drawn(page, 2, quarter) for quarter in range(3)] == [True, True, False]
    words = page.locator("#charts .plot").first.get_attribute("aria-label")
    assert words.startswith("Plays a second, last hour: received ")
    assert "at most 50" in words


def test_the_charts_go_back_a_day_if_asked(page):
    page.get_by_role("button", name="last day").click()
    has_samples(page, BEFORE_S // 240, "day")
    assert page.locator("button[data-span=day]").get_attribute("aria-pressed") == "true"
    assert page.locator("button[data-span=hour]").get_attribute("aria-pressed") == "false"
    assert "last day" in page.locator("#charts .plot").first.get_attribute("aria-label")


def test_the_stream_goes_on_after_kill_9_of_the_supervisor_and_nothing_is_missing(page, service):
    page.evaluate("window.isTheSamePage = true")
    plays = put(service, *VIDEOS)["plays"]["counted"]
    shows(page, "#plays", f"{plays:,}")
    service.process.kill()
    service.process.wait()
    tells(page, "#trouble", "The service does not answer. Below is what it said at ")
    service.start()
    status = put(service, *VIDEOS)
    shows(page, "#plays", f"{plays + len(VIDEOS):,}")
    shows(page, "#state", "live")
    shows(page, "#children-rows tr:first-child td:nth-child(6)", str(status["supervisor"]["pid"]))
    assert page.evaluate("window.isTheSamePage") is True
    # The browser itself reports that there is no connection. That is not an error of the page.
    page.errors[:] = [text for text in page.errors if "net::ERR_" not in text]


def stream_of(service):
    """A connection with a stream of events; None if there are too many."""
    stream = socket.create_connection(split_address(service.address("admin_address")))
    stream.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = stream.recv(15)
    if answer == b"HTTP/1.1 200 OK":
        return stream
    assert answer == b"HTTP/1.1 503 Se"
    stream.close()
    return None


def test_one_page_too_many_says_the_limit_and_opens_once_another_is_closed(tab, service):
    with contextlib.ExitStack() as streams:
        for _ in range(
            EVENT_STREAMS_MAX
        ):  # the service may not have heard yet that an earlier page is closed
            streams.enter_context(wait_until(lambda: stream_of(service), "a stream"))
        tab.goto(f"http://{service.address('admin_address')}/")
        tells(tab, "#trouble", f"answers 503: {EVENT_STREAMS_MAX} streams of events are open")
    shows(tab, "#state", "live")
    tab.goto("about:blank")


TOPS = "[...document.querySelectorAll('h1, h2, h3, dt, th')].map((one) => one.getBoundingClientRect().top)"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_jumps_while_plays_are_counted_and_published(page, service, width):
    page.set_viewport_size({"width": width, "height": 900})
    has_samples(page, BEFORE_S // 10, "hour")
    put(service, *VIDEOS)
    before = page.evaluate(TOPS)
    for _ in range(5):
        plays = put(service, *VIDEOS)["plays"]["counted"]
        shows(page, "#plays", f"{plays:,}")
        assert page.evaluate(TOPS) == before


def test_a_child_that_is_started_again_and_again_is_named_above_everything(page, service):
    assert not page.locator("#restarting").is_visible()
    for _ in range(3):
        before = service.child("counter-1")
        os.kill(before["pid"], signal.SIGKILL)
        wait_status(service, lambda status, before=before: is_back(status, before), "counter-1 to come back")
    tells(page, "#restarting", "Started again in the last minute: counter-1 3 times.")


def is_back(status, before):
    (child,) = (one for one in status["children"] if one["id"] == before["id"])
    return child["state"] == "running" and child["pid"] != before["pid"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(page, scheme):
    page.emulate_media(color_scheme=scheme)
    has_samples(page, BEFORE_S // 10, "hour")
    assert barriers(page) == []
