"""The greatest totals of a column are those of a sorted list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import video_words
from actors.core.greatest import greatest, greatest_first

videos = st.binary(min_size=16, max_size=16)
# Videos whose first words are the same, too.
alike = st.binary(min_size=1, max_size=1).map(lambda last: b"12345678" + last * 8)


@settings(deadline=None)
@given(st.dictionaries(videos | alike, st.integers(0, 4), max_size=60), st.integers(1, 70))
def test_the_greatest_are_those_of_a_sorted_list(totals, count):
    column = video_words(b"".join(totals))
    numbers = np.array(list(totals.values()), np.int64)
    in_order = sorted(totals, key=lambda video: (-totals[video], video))
    named = list(totals)
    assert [named[at] for at in greatest_first(column, numbers)] == in_order
    assert sorted(named[at] for at in greatest(column, numbers, count)) == sorted(in_order[:count])


@pytest.mark.parametrize("first", [b"12345678", b"\xff" * 8])
def test_of_equal_totals_with_equal_first_words_the_least_guid_is_first(first):
    named = [first + bytes([last]) * 8 for last in (200, 3, 100, 0)]
    order = greatest_first(video_words(b"".join(named)), np.full(4, 7, np.int64))
    assert [named[at] for at in order] == sorted(named)
