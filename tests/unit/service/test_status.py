"""How the children's figures add up in the status and the metrics."""

import os
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.config import CountersSection, Settings
from actors.core.histogram import COMMIT_BOUNDS_S, HistogramStats
from actors.core.stats import (
    ConsumerStats,
    CounterStats,
    DispatcherStats,
    FailureStats,
    NsqdStats,
    PublishStats,
    RefusedVideoStats,
    encode,
)
from actors.core.triggers import Trigger
from actors.service.figures import Figures
from actors.service.metrics import metrics
from actors.service.progress import Look, NsqdLook
from actors.service.resources import Resources
from actors.service.running_changes import RunningChanges
from actors.service.status import status
from actors.service.store_sizes import store_bytes
from actors.sources.nsqd_http import QueueStats
from actors.supervision import log_writer
from actors.supervision.states import State

CONSUMER = ConsumerStats(outstanding=0, connections=1, ready_count=10)
COUNTER = CounterStats(counted=5, redelivered=2, dead_lettered=1, videos=3, pending_videos=0)
NO_FIGURES = dict.fromkeys(DispatcherStats.__struct_fields__, 0)
DISPATCHER = DispatcherStats(
    **NO_FIGURES | {"circuit": "closed", "refused_videos": [], "published": PublishStats()}
)


def worker(child_id, stats, log_lines_dropped=0):
    """A child that runs and has reported."""
    return SimpleNamespace(
        spec=SimpleNamespace(id=child_id),
        state=State.RUNNING,
        stats=encode(stats),
        process=None,
        incarnation=1,
        last_exit=None,
        last_exit_ago_s=None,
        came_back_ms=None,
        resumed_ms=None,
        mailbox_bytes=0,
        how_far="",
        log_lines_dropped=log_lines_dropped,
    )


def status_of(*stats, shards=2, look=None, log_lines_dropped=0):
    """The status of a service whose children reported these figures, some in this look."""
    application = SimpleNamespace(
        workers=lambda: [worker(str(number), one, log_lines_dropped) for number, one in enumerate(stats)],
        options=Settings(counters=CountersSection(shards=shards)),
        root=SimpleNamespace(supervisors=list),
        restarts=[],
    )
    service = SimpleNamespace(
        application=application,
        figures=Figures(),
        pid=os.getpid(),
        started_s=0.0,
        addresses=dict,
        changes=RunningChanges(application),
        asked_for=[],
        resources=Resources(),
    )
    return status(service, look or Look([], 1, {str(number): one for number, one in enumerate(stats)}))


def test_refused_videos_are_shown_with_the_answer_and_keep_the_service_from_having_caught_up():
    videos = [RefusedVideoStats(bytes(15) + bytes([n]), 7, "422 No: plays", 9, 61_000) for n in range(2)]
    found = status_of(
        COUNTER, msgspec.structs.replace(DISPATCHER, refused=5, refused_videos=videos, width=10, expired=3)
    )
    assert found["refused_videos"][1] == {
        "video_id": "00000000-0000-0000-0000-000000000001",
        "plays": 7,
        "answer": "422 No: plays",
        "attempts": 9,
        "next_attempt_s": 61.0,
    }
    assert (found["refused_videos_total"], found["videos_per_batch_max"]) == (5, 10)
    assert found["collects_expired"] == 3
    assert not found["caught_up"] and "the client refuses 5 videos" in found["why_not_caught_up"]
    assert b"\nplaytally_refused_videos 5.0\n" in metrics(found)
    none = status_of(COUNTER, DISPATCHER)
    assert none["refused_videos"] == [] and b"\nplaytally_refused_videos 0.0\n" in metrics(none)


@pytest.mark.parametrize("trigger", Trigger)
def test_every_trigger_is_in_the_total_and_in_the_metrics(trigger):
    found = status_of(msgspec.structs.replace(DISPATCHER, **{trigger: 7}))
    assert found["publishes"]["total"] == found["publishes"][trigger] == 7
    assert f'playtally_publishes_total{{trigger="{trigger}"}} 7.0' in metrics(found).decode()


def test_the_words_of_the_triggers_are_what_users_know():
    assert list(status_of(DISPATCHER)["publishes"]) == [
        *("total", "realtime", "deadline", "overdue", "drain", "republish"),
        *("videos", "late", "late_by_client", "failed", "rejected"),
    ]


def test_every_message_received_is_counted_redelivered_a_duplicate_dead_lettered_or_in_flight():
    counter = msgspec.structs.replace(COUNTER, duplicates=3)
    plays = status_of(msgspec.structs.replace(CONSUMER, outstanding=4), counter, counter)["plays"]
    names = ("received", "counted", "redelivered", "duplicates", "dead_lettered")
    assert [plays[name] for name in names] == [26, 10, 4, 6, 2]


def test_the_bytes_of_each_store_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, size in {
        "0.sqlite": 100,
        "0.sqlite-wal": 20,
        "0.sqlite-shm": 4000,
        "0.mark": 24,
        "ledgers-2/1.sqlite": 300,
        "client/client.sqlite": 5,
        "nsqd/journal.sqlite-wal": 6,
        "elsewhere/0.sqlite": 7000,
    }.items():
        path = tmp_path / "state" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert store_bytes("state") == {"0": 120, "1": 300, "client": 5, "nsqd": 6}
    found = status_of(COUNTER, COUNTER, DISPATCHER)
    assert [child["store_bytes"] for child in found["children"]] == [120, 300, 0]
    lines = metrics(found).decode().splitlines()
    assert [line for line in lines if line.startswith("playtally_store_bytes")] == [
        'playtally_store_bytes{child="0"} 120.0',
        'playtally_store_bytes{child="1"} 300.0',
    ]


def test_how_old_the_oldest_play_of_the_last_minute_was_is_shown():
    found = status_of(msgspec.structs.replace(CONSUMER, oldest_age_ms=35_040))
    assert found["plays"]["oldest_age_ms"] == 35_040
    assert "playtally_oldest_play_age_seconds 35.04" in metrics(found).decode()


def test_the_log_lines_that_every_process_dropped_are_added_up(monkeypatch):
    monkeypatch.setattr(log_writer, "lines_dropped", lambda: 5)
    found = status_of(COUNTER, COUNTER, log_lines_dropped=10)
    assert found["log_lines_dropped"] == 25
    assert "playtally_log_lines_dropped_total 25.0" in metrics(found).decode()


def test_a_child_that_did_not_answer_keeps_its_last_figures_and_is_named():
    found = status_of(CONSUMER, COUNTER, look=Look([], 1, {"0": CONSUMER}, silent=["1"]))
    assert found["plays"]["counted"] == 5
    assert (found["caught_up"], found["why_not_caught_up"]) == (False, ["1 did not answer"])


def test_the_figures_are_those_of_the_look_and_not_of_a_later_ping():
    """Else a play could be missed: the consumer has handed it over since, the counter had not heard of it."""
    look = Look([], 1, {"0": msgspec.structs.replace(CONSUMER, outstanding=1), "1": COUNTER})
    found = status_of(CONSUMER, COUNTER, look=look)
    assert (found["in_flight_messages"], found["caught_up"]) == (1, False)


def test_the_nsqds_are_told_one_by_one_and_together_in_the_status_and_the_metrics():
    here = NsqdStats("a:4150", "a:4151", connected=True, ready_count=10, in_flight=4, last_age_ms=1500)
    here = msgspec.structs.replace(here, identity="node id and host name", node_id=5, host="a")
    gone = NsqdStats("b:4150", "", False, ready_count=0, in_flight=0, wrong_http="c:4151")
    queue = QueueStats(topic_depth=2, depth=30, in_flight=4, deferred=1, clients=3, messages=99, started_s=7)
    consumer = ConsumerStats(outstanding=4, connections=1, ready_count=10, reads=200, reads_by_ticker=3)
    look = Look([NsqdLook(here, queue), NsqdLook(gone, missed=True)], 1, {})
    found = status_of(DISPATCHER, consumer, look=look)
    facts = [
        {"address": "a:4150", "connected": True, "rdy": 10, "in_flight": 4, "depth": 32},
        {"address": "b:4150", "connected": False, "rdy": 0, "in_flight": 0, "depth": None},
    ]
    facts[0] |= {"http_address": "a:4151", "messages": 99, "unfinished": 35, "started_s": 7}
    facts[0] |= {"last_age_ms": 1500, "wrong_http_address": None}
    facts[0] |= {"identity": "node id and host name", "node_id": 5, "hostname": "a"}
    facts[1] |= {"identity": "address", "node_id": None, "hostname": None}
    facts[1] |= {
        "wrong_http_address": "c:4151",
        "last_age_ms": None,
        "http_address": "",
        "messages": None,
        "unfinished": None,
        "started_s": None,
    }
    reads = {"reads": 200, "reads_by_ticker": 3}
    assert found["nsq"] == {"connections": 1, "depth": 32, "others_on_channel": 2, "nsqds": facts} | reads
    assert found["nsqd_connections"] == 1
    told = metrics(found).decode().splitlines()
    for line in (
        "playtally_nsq_connections 1.0",
        "playtally_nsq_depth 32.0",
        "playtally_nsq_others_on_channel 2.0",
        "playtally_nsq_reads_total 200.0",
        "playtally_nsq_reads_by_ticker_total 3.0",
        'playtally_nsqd_connected{nsqd="a:4150"} 1.0',
        'playtally_nsqd_connected{nsqd="b:4150"} 0.0',
        'playtally_nsqd_rdy{nsqd="a:4150"} 10.0',
        'playtally_nsqd_in_flight{nsqd="a:4150"} 4.0',
        'playtally_nsqd_depth{nsqd="a:4150"} 32.0',
        'playtally_nsqd_last_age_seconds{nsqd="a:4150"} 1.5',
        'playtally_caught_up_is{judge="queue"} 1.0',
        'playtally_caught_up_is{judge="service"} 0.0',
        "playtally_caught_up 0.0",
    ):
        assert line in told
    assert not [line for line in told if line.startswith('playtally_nsqd_depth{nsqd="b:4150"}')]


def test_a_depth_that_nobody_knows_is_null_and_no_metric():
    nsqd = NsqdStats("a:4150", "", connected=True, ready_count=10, in_flight=0)
    found = status_of(DISPATCHER, look=Look([NsqdLook(nsqd)], 1, {}))
    assert (found["nsq"]["depth"], found["caught_up_is"]) == (None, "service")
    assert "playtally_nsq_depth " not in metrics(found).decode()


def test_a_histogram_is_told_as_prometheus_wants_it():
    commits = HistogramStats([3, 0, 2, *[0] * (len(COMMIT_BOUNDS_S) - 3), 4], 30.5)
    found = status_of(msgspec.structs.replace(COUNTER, commit_duration_s=commits), COUNTER, DISPATCHER)
    assert found["histograms"]["commit_duration_s"]["counts"] == commits.counts
    [family] = [
        one
        for one in text_string_to_metric_families(metrics(found).decode())
        if one.name == "playtally_commit_duration_seconds"
    ]
    samples = {(one.name.rpartition("_")[2], one.labels.get("le")): one.value for one in family.samples}
    assert family.type == "histogram" and len(samples) == len(COMMIT_BOUNDS_S) + 3
    assert samples["bucket", "0.0001"] == samples["bucket", "0.0002"] == 3
    assert samples["bucket", "0.0005"] == samples["bucket", "5"] == 5
    assert samples["bucket", "+Inf"] == samples["count", None] == 9
    assert samples["sum", None] == 30.5


def test_what_is_pending_is_told_by_when_it_is_due():
    published = PublishStats(pending=[1, 2, 0, 0, 0, 0, 0, 0, 4])
    found = status_of(msgspec.structs.replace(DISPATCHER, published=published))
    bounds = [0, 1, 2, 5, 10, 20, 30, 45, 60]
    assert found["pending_by_deadline"] == [
        {"within_s": float(bound), "videos": videos}
        for bound, videos in zip(bounds, published.pending, strict=True)
    ]
    told = metrics(found).decode().splitlines()
    assert 'playtally_pending_due_videos{within_seconds="1"} 2.0' in told
    assert 'playtally_pending_due_videos{within_seconds="60"} 4.0' in told


def test_answers_and_failures_are_told_without_a_label_for_texts_of_others():
    failure = FailureStats("it answered 503 Busy: a text of theirs", 7, 1_795_502_904_000, 1_795_502_905_250)
    published = PublishStats(answers={"200": 5, "503": 7}, failures=[failure])
    found = status_of(msgspec.structs.replace(DISPATCHER, published=published))
    assert found["answers"] == [{"status": "200", "count": 5}, {"status": "503", "count": 7}]
    assert found["failures"] == [
        {
            "reason": failure.reason,
            "count": 7,
            "first_at": "2026-11-24T06:48:24.000Z",
            "last_at": "2026-11-24T06:48:25.250Z",
        }
    ]
    told = metrics(found).decode()
    assert 'playtally_publish_answers_total{status="503"} 7.0' in told.splitlines()
    assert "of theirs" not in told


def test_why_a_service_is_not_healthy_is_told():
    found = status_of(COUNTER, DISPATCHER)
    assert not found["healthy"] and "no nsqd is connected" in found["why_not_healthy"][0]
    assert "playtally_healthy 0.0" in metrics(found).decode().splitlines()
