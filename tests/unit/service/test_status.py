"""How the children's figures add up in the status and the metrics."""

import os
from types import SimpleNamespace

import msgspec
import pytest

from actors.config import CountersSection, Settings
from actors.core.stats import ConsumerStats, CounterStats, DispatcherStats, encode
from actors.core.triggers import Trigger
from actors.service.metrics import metrics
from actors.service.status import status
from actors.supervision import log_writer
from actors.supervision.worker import State

CONSUMER = ConsumerStats(outstanding=0, connections=1, ready_count=10)
COUNTER = CounterStats(counted=5, redelivered=2, dead_lettered=1, videos=3, pending_videos=0)
NO_FIGURES = dict.fromkeys(DispatcherStats.__struct_fields__, 0)
DISPATCHER = DispatcherStats(**NO_FIGURES | {"circuit": "closed"})


def worker(child_id, stats, log_lines_dropped=0):
    """A child that runs and has reported."""
    return SimpleNamespace(
        spec=SimpleNamespace(id=child_id),
        state=State.RUNNING,
        stats=encode(stats),
        process=None,
        incarnation=1,
        last_exit=None,
        came_back_ms=None,
        resumed_ms=None,
        mailbox_bytes=0,
        log_lines_dropped=log_lines_dropped,
    )


def status_of(*stats, shards=2, log_lines_dropped=0):
    """The status of a service whose children reported these figures."""
    application = SimpleNamespace(
        workers=lambda: [worker(str(number), one, log_lines_dropped) for number, one in enumerate(stats)],
        options=Settings(counters=CountersSection(shards=shards)),
        root=SimpleNamespace(supervisors=list),
    )
    service = SimpleNamespace(application=application, pid=os.getpid(), started_s=0.0, addresses=dict)
    return status(service)


@pytest.mark.parametrize("trigger", Trigger)
def test_every_trigger_is_in_the_total_and_in_the_metrics(trigger):
    found = status_of(msgspec.structs.replace(DISPATCHER, **{trigger: 7}))
    assert found["publishes"]["total"] == found["publishes"][trigger] == 7
    assert f'playtally_publishes_total{{trigger="{trigger}"}} 7.0' in metrics(found).decode()


def test_the_words_of_the_triggers_are_what_users_know():
    assert list(status_of(DISPATCHER)["publishes"]) == [
        *("total", "realtime", "deadline", "overdue", "drain"),
        *("videos", "late", "late_by_client", "failed", "rejected"),
    ]


def test_every_message_received_is_counted_redelivered_dead_lettered_or_in_flight():
    found = status_of(msgspec.structs.replace(CONSUMER, outstanding=4), COUNTER, COUNTER)
    plays = found["plays"]
    assert (plays["received"], plays["counted"], plays["redelivered"], plays["dead_lettered"]) == (
        20,
        10,
        4,
        2,
    )


def test_how_old_the_oldest_play_of_the_last_minute_was_is_shown():
    found = status_of(msgspec.structs.replace(CONSUMER, oldest_age_ms=35_040))
    assert found["plays"]["oldest_age_ms"] == 35_040
    assert "playtally_oldest_play_age_seconds 35.04" in metrics(found).decode()


def test_the_log_lines_that_every_process_dropped_are_added_up(monkeypatch):
    monkeypatch.setattr(log_writer, "lines_dropped", lambda: 5)
    found = status_of(COUNTER, COUNTER, log_lines_dropped=10)
    assert found["log_lines_dropped"] == 25
    assert "playtally_log_lines_dropped_total 25.0" in metrics(found).decode()


@pytest.mark.parametrize(
    ("stats", "caught_up"),
    [
        ([CONSUMER, COUNTER, COUNTER, DISPATCHER], True),
        ([CONSUMER, COUNTER, DISPATCHER], False),
        ([COUNTER, COUNTER, DISPATCHER], False),
        ([CONSUMER, COUNTER, COUNTER], False),
        ([msgspec.structs.replace(CONSUMER, outstanding=1), COUNTER, COUNTER, DISPATCHER], False),
        ([CONSUMER, COUNTER, msgspec.structs.replace(COUNTER, pending_videos=1), DISPATCHER], False),
        ([CONSUMER, COUNTER, COUNTER, msgspec.structs.replace(DISPATCHER, in_flight=1)], False),
    ],
    ids=[
        "all done",
        "a counter is silent",
        "no consumer",
        "no dispatcher",
        "in flight",
        "pending",
        "a batch",
    ],
)
def test_it_has_caught_up_only_when_every_actor_has_said_so(stats, caught_up):
    assert status_of(*stats)["caught_up"] is caught_up
