"""The table of videos, held against a dict."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.table import VideoTable

numbers = st.integers(0, 40).map(lambda number: number << 64 if number % 3 else number)
columns = st.lists(st.lists(numbers, max_size=60), max_size=8)


def video(number):
    return number.to_bytes(16, "big")


def check(found, known, column):
    rows = found.rows(b"".join(column)).tolist()
    for each, row in zip(column, rows, strict=True):
        assert known.setdefault(each, row) == row
    assert sorted(known.values()) == list(range(len(found)))
    assert found.videos(np.array(rows, np.int64)) == b"".join(column)


@settings(deadline=None)
@given(columns)
def test_a_video_keeps_its_row_and_no_other_has_it(happenings):
    found, known = VideoTable("salt"), {}
    for happening in happenings:
        check(found, known, [video(number) for number in happening])
    for number in range(1 << 6):
        assert found.find(video(number)) == known.get(video(number))


def test_a_table_that_grows_loses_nothing():
    chance = random.Random(1)
    found, known = VideoTable("salt"), {}
    for _ in range(20):
        new = [chance.randbytes(16) for _ in range(1000)]
        check(found, known, new + chance.sample(sorted(known), len(known) // 10) + new[:10])
    for each, row in known.items():
        assert found.find(each) == row
    assert found.find(bytes(16)) is None


def test_videos_that_all_meet_in_one_slot_are_told_apart():
    found, known = VideoTable("salt"), {}
    found._mix = 0, 0
    for start in (0, 150):
        check(found, known, [video(number) for number in range(start, start + 200)])
