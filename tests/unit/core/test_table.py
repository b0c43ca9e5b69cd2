"""The table of videos, compared with a dict."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import video_words
from actors.core.counter.accounts import Accounts
from actors.core.table import EMPTY, FEW, VideoTable

# Few values, which differ only in their low or only in their high bits, so that their slots collide.
likely = st.one_of(
    st.integers(0, 300).map(lambda n: n.to_bytes(16, "big")),
    st.integers(0, 300).map(lambda n: n.to_bytes(16, "little")),
    st.binary(min_size=16, max_size=16),
)
columns = st.lists(st.lists(likely, max_size=120), max_size=6)


class Unfair(VideoTable):
    """A table in which every video has the last slot as its first choice."""

    def _first_slots(self, videos):
        return np.full(len(videos), len(self._slots) - 1)

    def _first_slot(self, first, second):
        return len(self._slots) - 1


class Little(VideoTable):
    """A table that grows by a few rows at a time, from 128 rows on. `put_in`: how many it put into slots."""

    block_rows = 32

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.put_in = []

    def _put_in(self, start, at):
        self.put_in.append(len(at))
        return super()._put_in(start, at)

    def _put_all_in(self, start):
        self.put_in.append(super()._put_all_in(start))
        return self.put_in[-1]

    def _with_slots(self, slots):
        other = super()._with_slots(slots)
        other.put_in = self.put_in
        return other


class LittleUnfair(Unfair, Little):
    """Both."""


def video(number):
    return number.to_bytes(16, "big")


def check(table, model, videos, one_by_one=False):
    """Look up a column of videos, then give them rows. `model`: each video's row, by order of first use."""
    column = video_words(b"".join(videos))
    assert table.rows_of(column).tolist() == [model.get(each, EMPTY) for each in videos]
    for each in videos:
        if each not in model:
            assert table.row(each) == EMPTY
            model[each] = len(model)
    if one_by_one:
        assert [table.open_row(each) for each in videos] == [model[each] for each in videos]
    assert table.rows_of(column, open_new=True).tolist() == [model[each] for each in videos]
    assert [table.row(each) for each in videos] == [model[each] for each in videos]
    assert table.cells[:, :2].tobytes() == b"".join(model)
    assert len(table) == len(model)


@settings(deadline=None)
@given(
    columns,
    st.binary(min_size=16, max_size=16),
    st.sampled_from([VideoTable, Unfair, Little, LittleUnfair]),
    st.booleans(),
    st.sampled_from([0, 100, 5000]),
)
def test_rows_are_those_of_a_dict_that_numbers_what_comes_first(found, salt, kind, one_by_one, room):
    table, model = kind(3, salt, room), {}
    for videos in found:
        check(table, model, videos, one_by_one)
    assert not table.cells[:, 2:].any()


def test_a_table_that_grows_loses_nothing():
    chance = random.Random(1)
    table, model = VideoTable(1), {}
    for _ in range(20):
        new = [chance.randbytes(16) for _ in range(1000)]
        check(table, model, new + chance.sample(sorted(model), len(model) // 10) + new[:10])
        table.cells[-1000:, 2] = np.arange(len(table) - 1000, len(table))
    assert table.cells[:, 2].tolist() == list(range(20_000))


def test_a_hundred_thousand_videos_are_found_and_strangers_are_not():
    chance = random.Random(1)
    known = b"".join(chance.randbytes(16) for _ in range(100_000))
    table = VideoTable(1)
    assert (table.rows_of(video_words(known), open_new=True) == np.arange(100_000)).all()
    assert (table.rows_of(video_words(known)) == np.arange(100_000)).all()
    strangers = b"".join(chance.randbytes(16) for _ in range(10_000))
    assert (table.rows_of(video_words(strangers)) == EMPTY).all()


def test_videos_that_all_want_one_slot_are_told_apart():
    table, model = Unfair(0), {}
    for start in (0, 150):
        check(table, model, [video(number) for number in range(start, start + 200)])
    for start in range(0, 350, FEW):  # again, few at a time
        check(table, model, [video(number) for number in range(start, start + FEW)])


def growing():
    """A table with some of its rows in the larger slots, and its dict."""
    table, model = Little(0), {}
    for start in (0, 125, 130):
        check(table, model, [video(number) for number in range(start, start + 5 + 120 * (not start))])
    assert 0 < table._moved < len(table) == 135
    assert table._larger is not None
    return table, model


@pytest.mark.parametrize("width", [1, 3, 40])
@pytest.mark.parametrize("kind", [Little, LittleUnfair])
def test_no_call_puts_all_rows_into_new_slots_and_every_look_up_is_right_meanwhile(kind, width):
    table, model, chance = kind(1), {}, random.Random(width)
    while len(model) < (300 if kind is LittleUnfair else 5000):
        new = [chance.randbytes(16) for _ in range(width)]
        table.put_in.clear()
        rows = table.rows_of(video_words(b"".join(new)), open_new=True) if width > 1 else None
        found = [table.open_row(new[0])] if rows is None else rows.tolist()
        assert found == list(range(len(model), len(model) + width))
        # 16 rows for each new one, what is left of a block, and the new ones themselves
        assert sum(table.put_in) <= 16 * width + table.block_rows + width
        model |= dict(zip(new, found, strict=True))
        asked = [*chance.sample(list(model), min(len(model), 20)), chance.randbytes(16)]
        expected = [model.get(each, EMPTY) for each in asked]
        assert table.rows_of(video_words(b"".join(asked))).tolist() == expected
        assert [table.row(each) for each in asked] == expected
        assert len(table) * 10 <= 6 * len(table._slots), "not six in ten have a row"
    assert table.rows_of(video_words(b"".join(model))).tolist() == list(model.values())


def test_while_slots_grow_there_are_no_more_of_them_than_at_a_doubling():
    table, chance, slots_max = VideoTable(0), np.random.default_rng(1), 0
    while len(table) < 400_000:
        table.rows_of(video_words(chance.bytes(16 * 1000)), open_new=True)
        larger = table._larger
        held = table._slots.nbytes + (0 if larger is None else larger._slots.nbytes)
        assert held <= 24 * len(table) or len(table) < 20_000
        slots_max = max(slots_max, held)
    assert slots_max == 4 * (2**19 + 2**20)


def test_a_column_that_is_larger_than_the_table_is_put_in_at_once():
    table, model = growing()
    check(table, model, [video(number) for number in range(5000)])
    assert table._larger is None
    check(table, model, [video(number) for number in range(8000)] * 2)


def test_slots_that_are_built_anew_in_the_middle_of_growth_have_every_row():
    table, model = growing()
    assert table.reindex()
    check(table, model, [video(number) for number in range(400)])


@pytest.mark.parametrize("gone", [0, 5])
def test_a_new_row_is_of_zeros_also_where_another_would_have_been(gone):
    table, first, second = VideoTable(2), [video(1)] * (1 + gone), [video(2), video(3)]
    for videos in (first, second):
        table.rows_of(video_words(b"".join(videos)), open_new=True)
        assert not table.cells[-len(set(videos)) :, 2:].any()
        table.cells[:, 2:] = 7


@pytest.mark.parametrize("count", [1, 85, 86, 5000])
def test_rows_that_were_filled_are_found_once_that_is_said(count):
    table = VideoTable(1)
    table.lengthen(count)
    assert not table.cells.any()
    table.cells[:, 1] = np.arange(count)
    assert table.reindex()
    assert (table.rows_of(table.cells[:, :2]) == np.arange(count)).all()
    table.lengthen(count + 1)
    assert not table.reindex(), "the words of the first row and of the new row are all 0"


def test_rows_are_not_added_under_cells_that_somebody_holds():
    table = VideoTable(1)
    table.lengthen(1)
    held = table.cells
    with pytest.raises(BufferError):
        table.lengthen(2)
    assert len(table) == len(held) == 1


@pytest.mark.parametrize("kind", [VideoTable, Unfair, Little, LittleUnfair])
def test_a_column_after_one_of_new_videos_may_have_known_ones_and_the_same_one_twice(kind):
    table, model, chance = kind(1), {}, random.Random(1)
    for known in (0, 3, 30, 60, 0, 1):
        new = [chance.randbytes(16) for _ in range(60)]
        table.rows_of(video_words(b"".join(new)), open_new=True)
        model |= {each: len(model) + place for place, each in enumerate(new)}
        assert table._expects_new
        fresh = [chance.randbytes(16) for _ in range(60 - known)]
        mixed = [*chance.sample(sorted(model), known), *fresh, *fresh[:5]]
        chance.shuffle(mixed)
        for each in mixed:
            model.setdefault(each, len(model))
        assert table.rows_of(video_words(b"".join(mixed)), open_new=True).tolist() == [
            model[o] for o in mixed
        ]
        assert table._expects_new == (known < 4)
        assert table.rows_of(video_words(b"".join(model))).tolist() == list(model.values())
        assert len(table) == len(model)


def test_salts_differ_in_where_they_put_a_video():
    videos = video_words(random.Random(1).randbytes(16 * 100))
    one, other = (VideoTable(0, bytes(15) + bytes([last])) for last in (1, 2))
    assert (one._first_slots(videos) != other._first_slots(videos)).any()


def test_without_an_account_nothing_is_found():
    accounts = Accounts()
    assert accounts.row(bytes(16)) == EMPTY
    with pytest.raises(KeyError):
        accounts[bytes(16)]
    accounts.rows_of(video_words(bytes(16)), open_new=True)
    assert accounts.row(bytes(16)) == 0
