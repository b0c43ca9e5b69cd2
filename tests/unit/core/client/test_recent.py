"""The last publishes and the last late totals: bounded, numbered, and as many in a minute as there were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.client.audit import Audit
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.client.recent import LATE_MAX, MARKS_MAX, Cause, Recent
from actors.core.client.statistics import Statistics
from actors.core.triggers import Trigger

S = 1_000_000_000
T0 = 1_795_502_904 * S
A = "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 100))
def test_the_last_minute_has_the_publishes_of_the_last_60_seconds(pauses_s, later_s):
    recent, at_s, came = Recent(), 0, []
    for pause_s in pauses_s:
        at_s += pause_s
        came.append(at_s)
        recent.add(Trigger.REALTIME, T0 + at_s * S, 1, [])
        assert recent.last_minute(T0 + at_s * S) == sum(one > at_s - 60 for one in came)
    assert recent.last_minute(T0 + (at_s + later_s) * S) == sum(one > at_s + later_s - 60 for one in came)


def test_a_clock_that_is_set_back_leaves_no_publish_in_the_minute_for_ever():
    recent = Recent()
    for at_s in (0, 3600, 10, 20):
        recent.add(Trigger.DEADLINE, T0 + at_s * S, 1, [])
    assert recent.last_minute(T0 + 20 * S) == 2
    assert recent.last_minute(T0 + 80 * S) == 0


def test_the_marks_are_bounded_and_those_after_a_number_are_told_in_order():
    recent = Recent(number=7)
    for _ in range(MARKS_MAX + 5):
        recent.add(Trigger.DEADLINE, T0, 20, [Cause.CLIENT, Cause.SERVICE])
    assert recent.number == MARKS_MAX + 12
    assert [one.number for one in recent.since(recent.number - 3)] == [
        MARKS_MAX + 10,
        MARKS_MAX + 11,
        MARKS_MAX + 12,
    ]
    assert [one.number for one in recent.since(0)] == list(range(13, MARKS_MAX + 13))
    assert recent.since(recent.number) == []
    assert (recent.marks[0].videos, recent.marks[0].late, recent.marks[0].excused) == (20, 2, 1)


def publish(batch, video_id, plays, trigger=Trigger.DEADLINE, overdue=False):
    return Publish(str(batch), trigger, (PublishedVideo(video_id, plays, T0, overdue),))


@pytest.mark.parametrize(
    ("trigger", "held_up_ms", "cause"),
    [
        (Trigger.DEADLINE, 0, "service"),
        (Trigger.DEADLINE, 4_000, "service"),
        (Trigger.DEADLINE, 5_000, "client"),
        (Trigger.OVERDUE, 0, "overdue"),
    ],
)
def test_a_late_total_is_kept_with_how_late_it_was_and_why(trigger, held_up_ms, cause):
    audit = Audit(Promises())
    audit.receive(publish(1, A, 7, trigger), T0 + 65 * S, held_up_ms)
    assert audit.report()["latest_late"] == [
        {
            "video_id": A,
            "plays": 7,
            "trigger": str(trigger),
            "received_at_ms": (T0 + 65 * S) // 1_000_000,
            "late_ms": 5_000,
            "cause": cause,
        }
    ]
    assert audit.recent.marks[-1].late == 1
    assert audit.recent.marks[-1].excused == (cause != "service")


def test_the_newest_late_totals_are_kept_and_no_more():
    audit = Audit(Promises())
    for number in range(1, LATE_MAX + 4):
        audit.receive(publish(number, A, number), T0 + 61 * S)
    kept = [one["plays"] for one in audit.report()["latest_late"]]
    assert kept == list(range(LATE_MAX + 3, 3, -1))
    assert len(audit.statistics.latest_late) == LATE_MAX


def test_a_publish_in_time_a_duplicate_and_a_republish_are_not_late():
    audit = Audit(Promises())
    for batch, trigger, at_s in (
        (1, Trigger.DEADLINE, 60),
        (1, Trigger.DEADLINE, 90),
        (2, Trigger.REPUBLISH, 90),
    ):
        audit.receive(publish(batch, A, 7, trigger), T0 + at_s * S)
    assert audit.report()["latest_late"] == []
    assert [one.late for one in audit.recent.marks] == [0, 0]


def test_the_numbers_go_on_from_stored_statistics():
    audit = Audit(Promises(), statistics=Statistics(publishes={Trigger.DEADLINE: 41}))
    audit.receive(publish(1, A, 7), T0)
    assert [one.number for one in audit.recent.since(0)] == [42]
