"""What the log says about a client: each reason once, one line when it is back, each refused video once."""

import time

import pytest

from actors.core.dispatcher.attempts import BACK_OFF_MS_MAX, About, Attempts, Circuit, Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.recurring import EVERY_MS
from actors.core.triggers import Trigger
from actors.sinks.delivery import Delivery, Sink
from actors.sinks.publish_log import REASONS_TOLD_MAX, VIDEOS_TOLD_MAX, PublishLog

BATCH = make_batch("service", Trigger.REALTIME, [Entry(b"v" * 16, 1, 1)])
ACCEPTED = Delivery(Outcome.ACCEPTED)
PAUSE_MS = 30_000


def failed(why="503", **more):
    return Delivery(Outcome.REFUSED, why, **more)


class Hearing:
    """A log of a client, with the clocks and the attempts in the test's hands; and what it has said."""

    def __init__(self, caplog, refused=0):
        self.now_ms = 0
        self.attempts = Attempts(lambda: 1.0)
        self._caplog = caplog
        sink = Sink()
        sink.name = "the client"
        self.log = PublishLog(self, sink, self.attempts, refused)

    def wall_ns(self):
        return self.now_ms * 1_000_000

    def monotonic_ms(self):
        return self.now_ms

    def hears(self, delivery, refuses_everything=False):
        """Let an attempt end in this way, and return the lines that are new."""
        before = self.attempts.circuit
        self.attempts.left(self.now_ms)
        if delivery.outcome is Outcome.ACCEPTED:
            self.attempts.accepted(self.now_ms, self.now_ms)
        else:
            self.attempts.failed(self.now_ms, delivery.retry_after_ms)
        self.log.delivered(BATCH, delivery, before, refuses_everything)
        return self.lines()

    def lines(self):
        found = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return found


@pytest.fixture
def hearing(caplog):
    caplog.set_level("INFO")
    return Hearing(caplog)


def refused(video, **more):
    return RefusedVideo(video.to_bytes(16, "big"), 1, "400: no", **more)


def test_each_reason_is_logged_once_in_an_outage_and_again_in_one_a_minute_later(hearing):
    assert len(hearing.hears(failed("503"))) == 1
    assert hearing.hears(failed("503")) == []
    assert len(hearing.hears(failed("timeout"))) == 1
    hearing.hears(ACCEPTED)
    hearing.now_ms += EVERY_MS
    assert len(hearing.hears(failed("503"))) == 1


def test_reasons_that_differ_each_time_do_not_fill_the_log(hearing):
    lines = [line for number in range(50) for line in hearing.hears(failed(f"request {number}"))]
    assert len([line for line in lines if "failed: request" in line]) == REASONS_TOLD_MAX


def test_the_end_of_an_outage_is_logged_with_how_long_it_was(hearing):
    assert hearing.hears(ACCEPTED) == []
    hearing.hears(failed())
    hearing.now_ms = 12_300
    hearing.hears(failed())
    assert hearing.hears(ACCEPTED) == [f"batch {BATCH.key}: the client takes batches again, after 12.3 s"]
    assert hearing.hears(ACCEPTED) == []


def test_five_failures_in_a_row_open_the_circuit_which_is_logged_once(hearing):
    lines = [line for _ in range(8) for line in hearing.hears(failed())]
    [line] = [line for line in lines if "the circuit is open" in line]
    assert "failed 5 times in a row" in line


def test_an_outage_that_was_logged_only_when_the_circuit_opened_has_its_end_logged(hearing):
    """Its reason was logged within the minute before."""
    hearing.hears(failed())
    hearing.hears(ACCEPTED)
    lines = []
    while hearing.attempts.circuit is Circuit.CLOSED:
        lines += hearing.hears(failed())
    assert len(lines) == 1 and "the circuit is open" in lines[0]
    assert hearing.hears(ACCEPTED) == [f"batch {BATCH.key}: the client takes batches again, after 0.0 s"]


def test_a_failure_that_is_about_some_videos_is_not_one_of_the_client(hearing):
    for about in (About.CONTENT, About.CONFLICT, About.WIDTH):
        assert hearing.hears(failed("400", about=about)) == []
    assert hearing.hears(ACCEPTED) == []


def test_a_client_that_refuses_everything_is_logged_once_with_the_settings_that_may_be_wrong(hearing):
    [line] = hearing.hears(failed("401", about=About.EVERYTHING))
    assert "refuses everything: 401" in line and "publish.url" in line
    assert hearing.hears(failed("401", about=About.EVERYTHING)) == []
    hearing.now_ms += EVERY_MS
    assert hearing.hears(ACCEPTED) == [f"batch {BATCH.key}: the client takes batches again, after 60.0 s"]
    assert len(hearing.hears(failed("401", about=About.EVERYTHING))) == 1


def test_a_client_that_refuses_each_content_refuses_everything(hearing):
    [line] = hearing.hears(failed("422", about=About.CONTENT), refuses_everything=True)
    assert "refuses everything: 422" in line


def test_a_notice_is_logged_once(hearing):
    noticed = Delivery(Outcome.ACCEPTED, notice="it answered with a page")
    [line] = hearing.hears(noticed)
    assert line == f"batch {BATCH.key}: the client: it answered with a page"
    assert hearing.hears(noticed) == []


def test_a_pause_that_the_client_asks_for_is_logged_with_its_end(hearing):
    _, line = hearing.hears(failed(retry_after_ms=PAUSE_MS))
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(PAUSE_MS / 1000))
    assert line == (
        f"batch {BATCH.key}: the client asks for a pause of 30 s (Retry-After): "
        f"the next attempt is at {until}, in {PAUSE_MS / 1000:.1f} s"
    )


def test_a_pause_beyond_the_limit_names_the_limit(hearing):
    _, line = hearing.hears(failed(retry_after_ms=90_000))
    assert "publish.retry_after_max_s = 60 is the most" in line and "in 60.0 s" in line


def test_short_pauses_for_a_reason_that_was_logged_are_not_logged_and_long_ones_are(hearing):
    assert len(hearing.hears(failed(retry_after_ms=BACK_OFF_MS_MAX))) == 2
    assert hearing.hears(failed(retry_after_ms=BACK_OFF_MS_MAX)) == []
    assert len(hearing.hears(failed(retry_after_ms=BACK_OFF_MS_MAX + 1))) == 1


def test_each_refused_video_is_logged_when_it_is_refused_first(hearing):
    hearing.log.refused([refused(1), refused(2)])
    assert ["-000000000001" in line or "-000000000002" in line for line in hearing.lines()] == [True, True]
    for again in (refused(1, attempts=2), refused(1, again=True), refused(1, unsure=True)):
        hearing.log.refused([again])
    assert hearing.lines() == []


def test_a_hundred_refused_videos_are_logged_and_the_last_line_says_where_the_others_are(hearing):
    hearing.log.refused([refused(number) for number in range(150)])
    lines = hearing.lines()
    assert len(lines) == VIDEOS_TOLD_MAX
    assert [line.endswith("see status") for line in lines] == [False] * (VIDEOS_TOLD_MAX - 1) + [True]


def test_a_video_that_is_taken_after_all_is_logged(hearing):
    hearing.log.taken([b"v" * 16])
    [line] = hearing.lines()
    assert line.startswith("the client does not refuse video 76767676-")


def test_a_start_says_how_many_videos_are_refused(caplog):
    Hearing(caplog, refused=2)
    assert [one.getMessage() for one in caplog.records] == [
        "2 videos are refused by the client, and tried again now and then"
    ]
    caplog.clear()
    Hearing(caplog)
    assert caplog.records == []
