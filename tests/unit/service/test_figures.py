"""The figures that are shown: no count falls, whichever child is killed, and none is counted twice."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.histogram import HistogramStats
from actors.core.stats import ConsumerStats, CounterStats, DispatcherStats, PublishStats
from actors.service.figures import COUNTS, Figures

CONSUMER = ConsumerStats(outstanding=3, connections=1, ready_count=10)
NONE = DispatcherStats(
    **dict.fromkeys(DispatcherStats.__struct_fields__, 0)
    | {"circuit": "closed", "refused_videos": [], "published": PublishStats()}
)


def counter(counted, redelivered=0, pending=0):
    return CounterStats(counted, redelivered, 0, videos=1, pending_videos=pending)


def test_a_child_that_is_away_is_shown_with_its_last_figures():
    figures = Figures()
    assert figures.shown({"a": (1, counter(5)), "b": (1, counter(7))}) == [counter(5), counter(7)]
    assert figures.shown({"b": (1, counter(8))}) == [counter(5), counter(8)]
    assert figures.shown({"a": (2, counter(6)), "b": (1, counter(8))}) == [counter(6), counter(8)]


def test_a_consumer_that_is_away_has_nothing_in_flight():
    figures = Figures()
    assert figures.shown({"consumer": (1, CONSUMER)}) == [CONSUMER]
    assert figures.shown({}) == []


def test_what_a_killed_child_had_not_stored_stays_and_what_the_next_one_counts_is_added():
    figures = Figures()
    figures.shown({"a": (1, counter(5, redelivered=9))})
    assert figures.shown({"a": (2, counter(5, redelivered=6))}) == [counter(5, 9)]
    assert figures.shown({"a": (2, counter(5, redelivered=8))}) == [counter(5, 11)]
    assert figures.shown({"a": (3, counter(5, redelivered=7))}) == [counter(5, 11)]
    assert figures.shown({"a": (3, counter(6, redelivered=8))}) == [counter(6, 12)]


def test_an_older_answer_of_one_incarnation_adds_nothing():
    figures = Figures()
    figures.shown({"a": (1, counter(5))})
    assert figures.shown({"a": (1, counter(4))}) == [counter(5)]
    assert figures.shown({"a": (1, counter(6))}) == [counter(6)]


def test_a_gauge_may_fall():
    figures = Figures()
    figures.shown({"a": (1, counter(5, pending=4))})
    assert figures.shown({"a": (2, counter(5, pending=1))}) == [counter(5, pending=1)]


@pytest.mark.parametrize("kind", COUNTS)
def test_each_count_is_a_number_of_its_kind(kind):
    assert set(COUNTS[kind]) <= set(kind.__struct_fields__)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_whatever_is_killed_and_whenever_it_is_asked_no_count_falls_and_all_are_there(steps):
    """A step: whether the child is killed, how much it stores, how much more it counts but does not store."""
    figures, incarnation, stored, ahead, shown_before, counted = Figures(), 1, 0, 0, 0, 0
    for killed, more_stored, more_ahead in steps:
        if killed:
            incarnation, ahead = incarnation + 1, 0
        else:
            stored += more_stored + ahead
            ahead = more_ahead
            counted += more_stored + more_ahead
        [shown] = figures.shown({"d": (incarnation, msgspec.structs.replace(NONE, failed=stored + ahead))})
        assert shown_before <= shown.failed
        assert shown.failed == counted
        shown_before = shown.failed


def commits(*counts):
    return msgspec.structs.replace(
        counter(5), commit_duration_s=HistogramStats(list(counts), float(sum(counts)))
    )


def test_no_histogram_falls_when_an_older_answer_comes_late_or_a_child_is_away():
    figures = Figures()
    figures.shown({"a": (1, commits(1, 2))})
    assert figures.shown({"a": (1, commits(1, 1))}) == [commits(1, 2)]
    assert figures.shown({}) == [commits(1, 2)]
    assert figures.shown({"a": (2, commits(1, 2))}) == [commits(1, 2)], "it goes on from what was told"
    assert figures.shown({"a": (2, commits(1, 3))}) == [commits(1, 3)]


def test_reads_and_dead_letters_of_several_consumers_add_up_and_never_fall():
    figures = Figures()

    def told(reads, **letters):
        return msgspec.structs.replace(CONSUMER, reads=reads, reads_by_ticker=1, dead_letters=letters)

    figures.shown({"consumer-0": (1, told(10, empty=3)), "consumer-1": (1, told(5, empty=1, late=2))})
    figures.shown({"consumer-0": (2, told(9, empty=2)), "consumer-1": (1, told(6, late=3))})
    assert (figures.reads, figures.reads_by_ticker) == (16, 2)
    assert figures.dead_letters == {"empty": 4, "late": 3}


def test_the_dead_letters_stay_while_the_consumer_is_away_and_never_fall():
    figures = Figures()
    figures.shown({"consumer": (1, msgspec.structs.replace(CONSUMER, dead_letters={"no JSON": 3}))})
    figures.shown({"consumer": (2, CONSUMER)})
    assert figures.dead_letters == {"no JSON": 3}
    figures.shown(
        {"consumer": (2, msgspec.structs.replace(CONSUMER, dead_letters={"no JSON": 2, "empty": 1}))}
    )
    assert figures.dead_letters == {"no JSON": 3, "empty": 1}
