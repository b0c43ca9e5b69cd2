"""Whatever happens to the batches, every play is in exactly one place; and when plays are due."""

from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.deliveries import Deliveries
from producer.pace import LAG_MAX_S, Pace

VIDEOS = ("a", "b", "c")


@given(st.lists(st.integers(0, 2), max_size=60), st.data())
def test_every_play_ends_acknowledged_or_unknown_exactly_once(order, draw):
    deliveries = Deliveries(array("I", order))
    in_flight = []
    gave_back = 0
    while not deliveries.finished:
        if in_flight and (deliveries.waiting_plays == 0 or draw.draw(st.booleans())):
            batch = in_flight.pop(draw.draw(st.integers(0, len(in_flight) - 1)))
            endings = [deliveries.acknowledge, deliveries.lose]
            if gave_back < 20:
                endings.append(deliveries.give_back)
            ending = draw.draw(st.sampled_from(endings))
            gave_back += ending == deliveries.give_back
            ending(batch)
        else:
            batch = deliveries.take(draw.draw(st.integers(1, 9)))
            assert batch is not None and 1 <= batch.size <= 9
            in_flight.append(batch)
        assert deliveries.in_flight_plays == sum(batch.size for batch in in_flight)
        assert deliveries.released_plays + deliveries.waiting_plays == len(order)
    assert deliveries.take(9) is None and not in_flight
    acknowledged, unknown = deliveries.acknowledged(VIDEOS), deliveries.unknown(VIDEOS)
    assert sum(acknowledged.values()) == deliveries.acknowledged_plays
    assert sum(unknown.values()) == deliveries.unknown_plays
    assert Counter(acknowledged) + Counter(unknown) == Counter(VIDEOS[index] for index in order)


def test_plays_that_came_back_are_sent_before_new_ones_and_no_more_at_once_than_asked():
    deliveries = Deliveries(array("I", [0, 1, 2, 0, 1]))
    first = deliveries.take(3)
    deliveries.give_back(first)
    taken = [deliveries.take(2), deliveries.take(2), deliveries.take(2)]
    assert [list(deliveries.videos_of(batch)) for batch in taken] == [[0, 1], [2], [0, 1]]


def test_a_batch_cannot_end_twice():
    deliveries = Deliveries(array("I", [0, 1]))
    batch = deliveries.take(2)
    deliveries.acknowledge(batch)
    with pytest.raises(KeyError):
        deliveries.lose(batch)
    assert (deliveries.acknowledged_plays, deliveries.unknown_plays) == (2, 0)


def test_the_videos_without_a_play_are_left_out_and_the_others_in_their_order():
    deliveries = Deliveries(array("I", [2, 0]))
    deliveries.acknowledge(deliveries.take(2))
    assert list(deliveries.acknowledged(VIDEOS).items()) == [("a", 1), ("c", 1)]
    assert deliveries.unknown(VIDEOS) == {}


@given(
    plays_per_second=st.floats(0.5, 1e6),
    began_s=st.floats(0, 1e6),
    steps_s=st.lists(st.floats(0.0005, 0.2), max_size=50),
)
def test_a_paced_run_that_keeps_up_is_never_early_nor_late(plays_per_second, began_s, steps_s):
    pace = Pace(plays_per_second)
    now_s, released = began_s, pace.due(began_s, 0)
    assert released == 1
    for step_s in steps_s:
        now_s += step_s
        released += pace.due(now_s, released)
        # One play more or less is the rounding of clock and division.
        assert abs(released - 1 - (now_s - began_s) * plays_per_second) <= 1.01


def test_a_run_that_stood_still_goes_on_at_its_pace_without_a_burst():
    pace = Pace(1000)
    released = pace.due(50.0, 0)
    released += pace.due(50.1, released)
    assert released == 101
    after_the_stall = pace.due(80.0, released)
    assert after_the_stall <= 1000 * LAG_MAX_S + 1
    released += after_the_stall
    assert pace.due(80.1, released) == pytest.approx(100, abs=1)


def test_plays_that_came_back_are_due_again_at_the_pace():
    pace = Pace(100)
    released = pace.due(0.0, 0) + pace.due(0.2, 1)
    assert pace.due(0.2, released) == 0
    assert pace.due(0.2, released - 10) == 10
