"""Ids and segments of the embedded nsqd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.ids import ID_EPOCH_TICKS, SEQUENCES, IdFactory, node_id_of
from actors.embedded_nsqd.segment import Publication, build_segments, segment_from_row
from tests.support.queues import Message

NOW_NS = 1_795_502_904_123_456_789


def messages_of(segment) -> list[Message]:
    return [Message(segment.frames(index, index + 1)[8:]) for index in range(segment.count)]


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(-3, 3)), max_size=20))
def test_ids_rise_whatever_the_clock_does_and_over_restarts(takes):
    factory = IdFactory(7)
    now_ns, last = NOW_NS, -1
    for count, step_ticks in takes:
        now_ns += step_ticks << 20
        first, granted = factory.take(count, now_ns)
        assert 1 <= granted <= count
        assert first > last
        last = first + granted - 1
        if step_ticks == 0:
            factory = IdFactory(7, factory.last_tick)


def test_id_is_made_of_tick_node_and_sequence_as_nsqds():
    factory = IdFactory(5)
    first, granted = factory.take(SEQUENCES + 1, NOW_NS)
    assert granted == SEQUENCES
    assert first >> 22 == (NOW_NS >> 20) - ID_EPOCH_TICKS
    assert (first >> 12 & 1023, first & 4095) == (5, 0)
    assert 0 <= node_id_of("some-host") < 1024


publications = st.lists(
    st.builds(
        Publication,
        st.integers(NOW_NS, NOW_NS + 10**9),
        st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=50),
    ),
    max_size=10,
)


@given(publications)
def test_every_message_gets_its_stamp_one_attempt_and_the_next_id(given_publications):
    segments = build_segments(given_publications, IdFactory(1), NOW_NS)
    messages = [message for segment in segments for message in messages_of(segment)]
    expected = [
        (publication.stamp_ns, body) for publication in given_publications for body in publication.bodies
    ]
    assert [(message.stamp_ns, message.body) for message in messages] == expected
    assert {message.attempts for message in messages} <= {1}
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids))
    assert ids == [id for segment in segments for id in segment.ids(0, segment.count)]
    assert sum(segment.body_bytes for segment in segments) == sum(len(b) for _, b in expected)


@given(publications)
def test_segment_read_back_is_the_same(given_publications):
    for segment in build_segments(given_publications, IdFactory(1), NOW_NS, due_wall_ms=9):
        again = segment_from_row(segment.sequence, segment.count, segment.payload, 9)
        assert again.offsets == segment.offsets
        assert again.ids(0, again.count) == segment.ids(0, segment.count)


def test_segments_are_cut_at_the_end_of_a_tick_and_at_their_size():
    bodies = [b"x"] * 5000
    small = build_segments([Publication(NOW_NS, bodies)], IdFactory(1), NOW_NS)
    assert [segment.count for segment in small] == [4096, 904]
    bodies = [b"x" * limits.MESSAGE_SIZE_MAX] * 3
    large = build_segments([Publication(NOW_NS, bodies)], IdFactory(1), NOW_NS)
    assert [segment.count for segment in large] == [1, 1, 1]


def test_run_within_a_budget_is_as_long_as_fits_and_at_least_one():
    (segment,) = build_segments([Publication(NOW_NS, [b"12345"] * 10)], IdFactory(1), NOW_NS)
    size = segment.size(0, 1)
    assert segment.stop_within(2, 10, 3 * size) == 5
    assert segment.stop_within(2, 10, 3 * size - 1) == 4
    assert segment.stop_within(2, 4, 100 * size) == 4
    assert segment.stop_within(2, 10, 1) == 3


@pytest.mark.parametrize("payload", [b"", b"x", b"\0\0\0\1" * 10, b"\xff" * 80])
def test_payload_that_is_not_so_many_frames_is_refused(payload):
    with pytest.raises(ValueError, match="is not 2 frames"):
        segment_from_row(1, 2, payload, 0)
