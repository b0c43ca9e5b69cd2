"""What a ledger has to announce, collected for the dispatcher."""

import numpy as np

from actors.core.columns import unpack_numbers, unpack_videos, video_words
from actors.core.counter.announcements import Announcements

V, W = b"v" * 16, b"w" * 16


def add(announced, *facts):
    """Add videos as a column: (video, arrival, total that its oldest unpublished play made)."""
    videos, arrived_ns, ordinals = zip(*facts, strict=True)
    announced.add(video_words(b"".join(videos)), np.array(arrived_ns), np.array(ordinals))


def test_the_least_total_is_that_of_all_that_was_added_in_columns_and_one_by_one():
    announced = Announcements()
    assert announced.least_ordinal is None
    add(announced, (V, 1, 7), (W, 2, 5))
    assert announced.least_ordinal == 5
    announced.add_one(V, 3, 6)
    assert announced.least_ordinal == 5
    announced.add_one(V, 4, 4)
    assert announced.least_ordinal == 4
    add(announced, (V, 5, 9))
    assert announced.least_ordinal == 4
    add(announced, (V, 6, 3))
    assert announced.least_ordinal == 3


def test_what_was_added_in_columns_and_one_by_one_is_said_in_its_order():
    announced = Announcements()
    add(announced, (V, 1, 7), (W, 2, 5))
    announced.add_one(V, 3, 6, total=8)
    announced.received(90)
    announced.received(80)
    announced.received(0)
    [said] = announced.messages(commits=12)
    assert unpack_videos(said.videos) == [V, W, V]
    columns = said.arrived_ns, said.ordinals, said.totals
    assert [list(unpack_numbers(one)) for one in columns] == [[1, 2, 3], [7, 5, 6], [0, 0, 8]]
    assert (said.received_ms, said.commits) == (80, 12)
