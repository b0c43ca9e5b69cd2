"""The audit, by an example of each promise, and compared with a naive audit that keeps everything."""

import math
import uuid

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.client.audit import BROKEN_KEPT_MAX, KEYS_MAX, Audit, Taken, Verdict
from actors.core.client.promises import Promise, Promises, Publish, PublishedVideo
from actors.core.client.statistics import Statistics
from actors.core.triggers import Trigger

S = 1_000_000_000
T0 = 1_795_502_904 * S
VIDEOS = [str(uuid.UUID(int=number)) for number in range(6)]
A, B = VIDEOS[:2]


def publish(batch, *entries, trigger=Trigger.DEADLINE, arrived_at_ns=T0):
    return Publish(
        batch, trigger, tuple(PublishedVideo(video_id, plays, arrived_at_ns) for video_id, plays in entries)
    )


def broken_by(audit):
    return {name: n for name, n in audit.report()["promises_broken_by_promise"].items() if n}


# --- Each promise by example ---------------------------------------------------------------


def test_a_clean_run_breaks_no_promise():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 1), (B, 150)), T0 + S)
    audit.receive(publish("2", (A, 2)), T0 + 2 * S)
    assert broken_by(audit) == {}
    assert audit.totals() == {A: 2, B: 150}
    assert audit.report()["plays"] == 152


@pytest.mark.parametrize("width", [0, 4])
def test_a_publish_too_narrow_or_too_wide_is_broken_but_taken_over(width):
    audit = Audit(Promises(batch_size_max=3))
    receipt = audit.receive(publish("1", *((video, 7) for video in VIDEOS[:width])), T0)
    assert receipt.verdict is Verdict.ACCEPTED
    assert broken_by(audit) == {"width": 1}
    assert len(audit.totals()) == width


def test_a_video_twice_in_a_batch_is_broken_once():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 1), (A, 2)), T0)
    assert broken_by(audit) == {"once_a_batch": 1}
    assert audit.totals() == {A: 2}


def test_an_unchanged_total_is_broken_and_so_is_a_first_total_of_nothing():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 5), (B, 0)), T0)
    audit.receive(publish("2", (A, 5)), T0)
    assert broken_by(audit) == {"only_changed": 2}


def test_what_would_have_been_in_time_without_the_client_is_late_by_it_and_breaks_no_promise():
    for held_up_ms, by_client in ((0, 0), (999, 0), (1000, 1), (5000, 1)):
        audit = Audit(Promises(deadline_s=60))
        audit.receive(publish("k1", (A, 100)), T0 + 61_000_000_000, held_up_ms)
        assert (audit.report()["late"], audit.report()["late_by_client"]) == (1, by_client)
        assert broken_by(audit) == ({} if by_client else {"deadline": 1})


def test_a_falling_total_is_broken_and_names_both_totals():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 5)), T0)
    audit.receive(publish("2", (A, 3)), T0)
    assert audit.report()["promises_broken"] == [
        {"promise": "never_falls", "batch": "2", "video_id": A, "expected": "over 5", "found": "3"}
    ]


def test_the_deadline_itself_is_in_time_and_a_nanosecond_later_is_late():
    audit = Audit(Promises(deadline_s=2.5))
    audit.receive(publish("1", (A, 1)), T0 + int(2.5 * S))
    assert broken_by(audit) == {}
    audit.receive(publish("2", (A, 2)), T0 + int(2.5 * S) + 1)
    assert broken_by(audit) == {"deadline": 1}
    assert audit.report()["late"] == 1


def test_an_overdue_publish_is_counted_but_breaks_nothing():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 1), (B, 200), trigger=Trigger.OVERDUE), T0 + 3600 * S)
    assert broken_by(audit) == {}
    assert (audit.report()["late"], audit.report()["overdue"]) == (0, 2)


def test_a_retry_of_the_same_content_changes_nothing_but_the_duplicates():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 5)), T0)
    before = audit.report()
    receipt = audit.receive(publish("1", (A, 5)), T0 + 90 * S)
    assert receipt.verdict is Verdict.DUPLICATE
    assert (receipt.videos, receipt.found) == ({}, ())
    assert audit.report() == before | {"duplicates": 1}


def test_a_key_with_other_content_is_broken_and_not_taken_over():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 5)), T0)
    receipt = audit.receive(publish("1", (A, 6)), T0)
    assert receipt.verdict is Verdict.CONFLICT
    assert broken_by(audit) == {"one_content_a_key": 1}
    assert audit.totals() == {A: 5}
    assert audit.report()["publishes"]["total"] == 1


def test_a_key_is_forgotten_after_as_many_publishes_as_are_kept():
    audit = Audit(Promises(), keys_max=2)
    for batch in ("1", "2", "3"):
        audit.receive(publish(batch, (A, int(batch))), T0)
    assert audit.receive(publish("2", (A, 2)), T0).verdict is Verdict.DUPLICATE
    assert audit.receive(publish("1", (A, 4)), T0).verdict is Verdict.ACCEPTED


def test_every_play_means_no_step_below_a_hundred_is_skipped():
    audit = Audit(Promises(every_play=True))
    audit.receive(publish("1", (A, 1)), T0)
    audit.receive(publish("2", (A, 3)), T0)
    assert broken_by(audit) == {"every_play": 1}
    assert audit.broken[0].expected == "2"


def test_every_play_is_broken_by_a_jump_over_the_hundred_but_not_by_one_that_starts_at_99():
    audit = Audit(Promises(every_play=True, realtime_below=3))
    for total in (1, 2, 50, 90):
        audit.receive(publish(f"a{total}", (A, total)), T0)
    assert broken_by(audit) == {}
    audit.receive(publish("b1", (B, 1)), T0)
    audit.receive(publish("b2", (B, 50)), T0)
    assert broken_by(audit) == {"every_play": 1}


def test_broken_promises_are_kept_up_to_a_bound_and_counted_beyond_it():
    audit = Audit(Promises())
    for number in range(BROKEN_KEPT_MAX + 30):
        audit.receive(publish(f"{number}", (A, 0)), T0)
    assert len(audit.broken) == len(audit.report()["promises_broken"]) == BROKEN_KEPT_MAX
    assert audit.report()["promises_broken_total"] == BROKEN_KEPT_MAX + 30


# --- Statistics --------------------------------------------------------------------------


def test_only_totals_below_the_limit_of_realtime_publishes_are_realtime_latency():
    audit = Audit(Promises())
    ms = 1_000_000
    audit.receive(publish("1", (A, 1), (B, 100), trigger=Trigger.REALTIME), T0 + 20 * ms)
    audit.receive(publish("2", (A, 2), trigger=Trigger.DEADLINE), T0 + 900 * ms)
    report = audit.report()
    assert report["realtime_latency_ms"] == {"count": 1, "p50": 20.0, "p99": 20.0, "max": 20.0}
    assert report["hot_lateness_ms"] == {"count": 1, "p50": 20.0, "max": 20.0}


def test_figures_say_nothing_before_the_first_publish():
    report = Audit(Promises()).report()
    assert report["realtime_latency_ms"] == {"count": 0, "p50": None, "p99": None, "max": None}
    assert report["saving_percent"] is None
    assert report["videos_per_publish"] == {"mean": None, "histogram": {}}


def test_a_burst_is_not_extrapolated_to_a_minute():
    audit = Audit(Promises())
    for number in range(30):
        audit.receive(publish(f"{number}", (A, number + 1)), T0 + number * S // 10)
    assert audit.report()["publishes_per_minute"] == 30
    audit.receive(publish("last", (A, 99)), T0 + 120 * S)
    assert audit.report()["publishes_per_minute"] == 15.5


def test_a_clock_that_went_back_gives_no_negative_duration():
    audit = Audit(Promises())
    audit.receive(publish("1", (A, 1), trigger=Trigger.REALTIME), T0 - 5 * S)
    assert audit.report()["realtime_latency_ms"]["max"] == 0


def test_the_plain_timer_pays_for_each_twenty_videos_of_each_window():
    audit = Audit(Promises(batch_size_max=2, deadline_s=10))
    audit.receive(publish("1", (VIDEOS[0], 1), (VIDEOS[1], 1)), T0)
    audit.receive(publish("2", (VIDEOS[2], 1), (VIDEOS[0], 2)), T0 + 9 * S)  # 3 videos: 2 publishes
    audit.receive(publish("3", (VIDEOS[0], 3)), T0 + 10 * S)  # 1 video: 1 publish
    audit.receive(publish("4", (VIDEOS[0], 4)), T0 + 95 * S)  # 1 video: 1 publish
    assert audit.report()["publishes_if_plain_timer"] == 4
    assert audit.report()["publishes_if_one_a_play"] == 6


# --- Against a naive audit -----------------------------------------------------------------

entries = st.tuples(st.sampled_from(VIDEOS), st.integers(0, 8), st.integers(-100, 0).map(lambda s: s * S))
steps = st.lists(
    st.tuples(
        st.integers(0, 12),  # the key
        st.sampled_from(Trigger),
        st.lists(entries, max_size=5),
        st.integers(0, 40),  # seconds since the step before
    ),
    max_size=25,
)
promises = st.builds(
    Promises,
    realtime_below=st.sampled_from([1, 4, 100]),
    deadline_s=st.sampled_from([0.5, 30, 60]),
    batch_size_max=st.sampled_from([1, 3, 20]),
    every_play=st.booleans(),
)


def naive(kept, promised):
    """The same figures from all publishes that were received, however slow."""
    published, keys = {}, {}
    broken = dict.fromkeys((promise.value for promise in Promise), 0)
    late = overdue = duplicates = 0
    windows, origin, accepted = {}, None, []
    for one, at_ns in kept:
        content = (one.trigger, one.videos)
        if one.batch in keys:
            if keys[one.batch] == content:
                duplicates += 1
            else:
                broken["one_content_a_key"] += 1
            continue
        keys[one.batch] = content
        accepted.append(one)
        origin = at_ns if origin is None else origin
        ids = [entry.video_id for entry in one.videos]
        broken["width"] += not 1 <= len(ids) <= promised.batch_size_max
        broken["once_a_batch"] += len(ids) - len(set(ids))
        for entry in one.videos:
            last = published.get(entry.video_id, 0)
            if entry.plays != last:
                window = (at_ns - origin) // int(promised.deadline_s * S)
                windows.setdefault(window, set()).add(entry.video_id)
            published[entry.video_id] = entry.plays
            if one.trigger == "republish":
                continue  # any total may come again
            steps_missing = set(range(last + 1, promised.realtime_below)) & set(range(entry.plays))
            broken["only_changed"] += entry.plays == last
            broken["never_falls"] += entry.plays < last
            broken["every_play"] += promised.every_play and bool(steps_missing)
            is_past = at_ns - entry.arrived_at_ns > promised.deadline_s * S
            overdue += is_past and one.trigger == "overdue"
            late += is_past and one.trigger != "overdue"
    broken["deadline"] = late
    return {
        "totals": published,
        "plays": sum(published.values()),
        "broken": broken,
        "late": late,
        "overdue": overdue,
        "duplicates": duplicates,
        "publishes": len(accepted),
        "videos_published": sum(len(one.videos) for one in accepted),
        "timer": sum(math.ceil(len(ids) / promised.batch_size_max) for ids in windows.values()),
    }


def received(steps):
    at_ns = T0
    for key, trigger, videos, seconds in steps:
        at_ns += seconds * S
        made = tuple(PublishedVideo(name, plays, at_ns + age_ns) for name, plays, age_ns in videos)
        yield Publish(f"key-{key}", trigger, made), at_ns


@settings(max_examples=200, deadline=None)
@given(steps, promises)
def test_the_audit_finds_what_a_naive_one_finds(steps, promised):
    kept = list(received(steps))
    audit = Audit(promised)
    for one, at_ns in kept:
        audit.receive(one, at_ns)
    report = audit.report()
    assert {
        "totals": audit.totals(),
        "plays": report["plays"],
        "broken": report["promises_broken_by_promise"],
        "late": report["late"],
        "overdue": report["overdue"],
        "duplicates": report["duplicates"],
        "publishes": report["publishes"]["total"],
        "videos_published": report["videos_published"],
        "timer": report["publishes_if_plain_timer"],
    } == naive(kept, promised)


@settings(max_examples=100, deadline=None)
@given(steps, promises)
def test_an_audit_rebuilt_from_what_a_store_keeps_after_each_publish_is_the_same(steps, promised):
    audit, rebuilt = Audit(promised), Audit(promised)
    videos = {}
    for one, at_ns in received(steps):
        audit.receive(one, at_ns)
        videos |= rebuilt.receive(one, at_ns).videos
        broken, fingerprints = rebuilt.broken, dict(reversed(rebuilt.newest_keys(KEYS_MAX)))
        packed = msgspec.msgpack.encode(rebuilt.statistics)
        rebuilt = Audit(
            promised,
            statistics=msgspec.msgpack.decode(packed, type=Statistics),
            videos=videos,
            fingerprints=fingerprints,
            broken=broken,
        )
        assert rebuilt.report() == audit.report()
        assert rebuilt.videos == audit.videos


@settings(max_examples=100, deadline=None)
@given(steps, promises, promises, st.integers(0, 8))
def test_what_was_received_before_is_judged_again_by_the_promises_of_that_time(steps, old, new, before):
    audit, again = Audit(old), Audit(new)
    kept = list(received(steps))
    for at, (one, at_ns) in enumerate(kept):
        audit.promises = old if at < before else new
        audit.receive(one, at_ns, 3, 2)
    again.receive_again([Taken(one, at_ns, 3, 2, old) for one, at_ns in kept[:before]])
    for one, at_ns in kept[before:]:
        again.receive(one, at_ns, 3, 2)
    assert again.statistics == audit.statistics
    assert (again.broken, again.videos, again.plays) == (audit.broken, audit.videos, audit.plays)


def test_an_overdue_play_that_another_trigger_carried_along_breaks_no_promise():
    audit = Audit(Promises(deadline_s=60))
    late_ns = 61 * 10**9
    carried = PublishedVideo("6f9619ff-8b86-d011-b42d-00c04fc964ff", 500, 0, overdue=True)
    audit.receive(Publish("a", Trigger.REALTIME, (carried,)), late_ns)
    assert audit.report()["promises_broken_total"] == 0
    assert audit.report()["overdue"] == 1
    missed = PublishedVideo("6f9619ff-8b86-d011-b42d-00c04fc964ff", 501, 0)
    audit.receive(Publish("b", Trigger.REALTIME, (missed,)), late_ns)
    assert audit.report()["promises_broken_by_promise"]["deadline"] == 1
