"""What is logged of a client that fails now and then: a few lines a minute, with a count."""

import logging
from types import SimpleNamespace

from actors.core.dispatcher.attempts import Circuit, Outcome
from actors.sinks import Delivery
from actors.sinks.publish_log import REASONS_TOLD_MAX, VIDEOS_TOLD_MAX, PublishLog
from tests.support.acting_clients import BATCH

SINK = SimpleNamespace(name="http://a.example/", settings="publish.url")
ATTEMPTS = SimpleNamespace(circuit=Circuit.CLOSED, failures=1, retry_after_max_ms=60_000)
ACCEPTED = Delivery(Outcome.ACCEPTED)


def test_a_client_that_fails_every_other_time_is_told_in_a_few_lines_a_minute(caplog):
    clock = SimpleNamespace(now_ms=10**6)
    publish_log = PublishLog(SimpleNamespace(monotonic_ms=lambda: clock.now_ms), SINK, ATTEMPTS, 0)
    with caplog.at_level(logging.INFO):
        for number in range(12_000):  # two minutes
            clock.now_ms += 10
            failed = Delivery(Outcome.REFUSED, f"it answered 503 Busy: request {number}", busy=True)
            delivery = ACCEPTED if number % 2 else failed
            publish_log.delivered(BATCH, delivery, Circuit.CLOSED, False)
    lines = [record.message for record in caplog.records]
    assert len(lines) <= 3 * (2 * REASONS_TOLD_MAX + 1)
    assert "more failures since, with batches taken in between" in "".join(lines)


def test_videos_that_are_taken_at_last_are_told_up_to_a_bound(caplog):
    publish_log = PublishLog(SimpleNamespace(monotonic_ms=lambda: 0), SINK, ATTEMPTS, 0)
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            publish_log.taken([bytes(16)])
    assert len(caplog.records) == VIDEOS_TOLD_MAX
