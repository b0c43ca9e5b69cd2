"""What the dispatcher tells of its publishes: each figure has what it says, and none grows without bound."""

from actors.core.dispatcher.calendar import Calendar
from actors.core.dispatcher.figures import ANSWERS_MAX, FAILURES_MAX, OTHER, PublishFigures
from actors.core.dispatcher.outbox import Batch, Entry
from actors.core.histogram import LATENCY_BOUNDS_S, SLACK_BOUNDS_S, HistogramStats
from actors.core.stats import PublishStats
from actors.core.triggers import Trigger

NOW_NS = 1_800_000_000 * 10**9


def batch(trigger, *ages_s):
    """A batch whose videos' oldest plays arrived so long ago; None: it is not known."""
    stamps = [0 if age_s is None else NOW_NS - round(age_s * 1e9) for age_s in ages_s]
    entries = [Entry(bytes(15) + bytes([number]), 1, stamp) for number, stamp in enumerate(stamps)]
    return Batch("key", trigger, entries)


def counted(stats, bounds):
    """The upper bounds of the buckets that have values, with how many."""
    return {bound: count for bound, count in zip([*bounds, None], stats.counts, strict=True) if count}


def test_a_realtime_publish_tells_how_long_each_of_its_videos_took():
    figures = PublishFigures(60_000)
    figures.accepted(batch(Trigger.REALTIME, 0.004, 0.3, 0.31, 700), "200", 0.002, NOW_NS)
    stats = figures.stats()
    assert counted(stats.realtime_latency_s, LATENCY_BOUNDS_S) == {0.005: 1, 0.5: 2, None: 1}
    assert stats.deadline_slack_s.count == 0
    assert (stats.width.count, stats.width.sum) == (1, 4)


def test_a_deadline_publish_tells_what_was_left_and_a_late_one_has_nothing_left():
    figures = PublishFigures(60_000)
    figures.accepted(batch(Trigger.DEADLINE, 59.8, 59.5, 60.2), "200", 0.002, NOW_NS)
    figures.accepted(batch(Trigger.OVERDUE, 3600), "200", 0.002, NOW_NS)
    stats = figures.stats()
    assert counted(stats.deadline_slack_s, SLACK_BOUNDS_S) == {0.0: 2, 0.25: 1, 0.5: 1}
    assert stats.realtime_latency_s.count == 0
    assert (stats.duration_s.count, stats.answers) == (2, {"200": 2})


def test_other_triggers_and_videos_whose_arrival_is_not_known_have_neither():
    figures = PublishFigures(60_000)
    for trigger in (Trigger.DRAIN, Trigger.REPUBLISH):
        figures.accepted(batch(trigger, 1.0), "200", 0.002, NOW_NS)
    for trigger in (Trigger.REALTIME, Trigger.DEADLINE):
        figures.accepted(batch(trigger, None), "200", 0.002, NOW_NS)
    stats = figures.stats()
    assert stats.realtime_latency_s.count == stats.deadline_slack_s.count == 0
    assert stats.width.count == stats.duration_s.count == 4


def test_a_failure_has_its_reason_and_when_it_happened_first_and_last():
    figures = PublishFigures(60_000)
    for second in (0, 5, 7):
        figures.failed("it answered 503 Busy", "503", 0.01, NOW_NS + second * 10**9)
    figures.failed("no answer within 5 s", "no answer", 5.0, NOW_NS + 6 * 10**9)
    stats = figures.stats()
    found = {one.reason: (one.count, one.first_ms, one.last_ms) for one in stats.failures}
    at_ms = NOW_NS // 10**6
    assert found == {
        "it answered 503 Busy": (3, at_ms, at_ms + 7000),
        "no answer within 5 s": (1, at_ms + 6000, at_ms + 6000),
    }
    assert list(found)[-1] == "no answer within 5 s"
    assert stats.answers == {"503": 3, "no answer": 1}
    assert stats.width.count == 0 and stats.duration_s.count == 4


def test_a_client_that_gives_a_new_reason_each_time_fills_no_memory():
    figures = PublishFigures(60_000)
    for number in range(1000):
        figures.failed(f"request {number} " + "x" * 10_000, str(number), 0.01, NOW_NS)
    stats = figures.stats()
    assert len(stats.failures) == FAILURES_MAX and stats.failures[-1].reason.startswith("request 999 ")
    assert max(len(one.reason) for one in stats.failures) <= 200
    assert len(stats.answers) == ANSWERS_MAX + 1 and sum(stats.answers.values()) == 1000
    assert stats.answers[OTHER] == 1000 - ANSWERS_MAX


def test_the_next_dispatcher_goes_on_from_what_was_told():
    figures = PublishFigures(60_000)
    figures.accepted(batch(Trigger.REALTIME, 0.1), "200", 0.002, NOW_NS)
    figures.failed("no", "503", 0.01, NOW_NS)
    following = PublishFigures(60_000, figures.stats())
    assert following.stats() == figures.stats()
    following.failed("no", "503", 0.01, NOW_NS)
    assert following.stats().failures[0].count == 2 and following.stats().count == 3
    assert PublishFigures(60_000).stats() != PublishStats(HistogramStats([1]))


def test_a_calendar_tells_how_many_videos_are_due_by_each_bound_each_once():
    calendar = Calendar()
    for time_ms, videos in {-5: 1, 0: 2, 1: 3, 255: 4, 256: 5, 1000: 6, 5000: 7, 5001: 8, 90_000: 9}.items():
        calendar.add(time_ms, bytes(16 * videos))
    assert calendar.within([0, 255, 1000, 5000, 60_000]) == [3, 7, 11, 7, 17]
    assert calendar.within([-10, -9]) == [0, 45]
    assert Calendar().within([0, 1]) == [0, 0]
