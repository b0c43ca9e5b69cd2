"""What a counter answers about its totals: each once, in pieces, within the bounds."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.columns import unpack_numbers, unpack_videos
from actors.core.counter import lookup
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.lookup import look_up
from actors.core.messages import NO_ROW
from actors.core.totals import PIECE_ROWS, PIECE_VIDEOS, TotalsCall, by_guid, greatest_of

# Some differ in their first and some in their last bytes only, and in whether their first bit is set.
HALVES = [
    one[:1] + bytes(6) + one[1:] for one in (b"\0\0", b"\0\1", b"\0\x80", b"\1\0", b"\x7f\0", b"\x80\0")
]
VIDEOS = Random(2).sample([first + second for first in HALVES for second in HALVES], 36)
totals_lists = st.lists(st.integers(1, 4), max_size=36)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(lookup, "PIECE_ROWS", 7)
    monkeypatch.setattr(lookup, "PIECE_VIDEOS", 3)


def accounts_of(totals):
    return Accounts((video, Account(total=one)) for video, one in zip(VIDEOS, totals, strict=False))


def rows_of(answer):
    return list(zip(unpack_videos(answer.videos), unpack_numbers(answer.totals), strict=True))


def pieces(accounts, top=0, below=0):
    row, found = 0, []
    while row != NO_ROW:
        found.append(look_up(accounts, TotalsCall(b"", row, top, below)))
        assert len(rows_of(found[-1])) <= (top or 3)
        row = found[-1].next_row
    return found


@given(totals_lists, st.integers(0, 6))
def test_the_pieces_together_are_every_total_below_the_bound_once(totals, below):
    found = [row for piece in pieces(accounts_of(totals), below=below) for row in rows_of(piece)]
    expected = zip(VIDEOS, totals, strict=False)
    assert found == [(video, one) for video, one in expected if not below or one < below]


@given(totals_lists, st.integers(1, 9), st.integers(0, 6))
def test_the_greatest_of_the_pieces_are_the_greatest_of_all(totals, top, below):
    accounts = accounts_of(totals)
    found = [one for piece in pieces(accounts, top, below) for one in by_guid(piece).items()]
    everything = look_up(accounts, TotalsCall(b"".join(VIDEOS)))
    expected = {guid: total for guid, total in by_guid(everything).items() if not below or total < below}
    expected = sorted(expected.items(), key=lambda one: (-one[1], one[0]))
    assert list(greatest_of(found, top).items()) == expected[:top]


def test_of_named_videos_those_with_plays_are_told():
    answer = look_up(accounts_of([5, 2]), TotalsCall(VIDEOS[1] + VIDEOS[30] + VIDEOS[0]))
    assert rows_of(answer) == [(VIDEOS[1], 2), (VIDEOS[0], 5)]
    assert answer.next_row == NO_ROW


@pytest.mark.parametrize(("top", "below"), [(0, 0), (2, 0), (0, 1), (2, 1), (0, 3)])
def test_a_look_is_at_some_rows_however_many_there_are(top, below):
    answer = look_up(accounts_of([2] * 36), TotalsCall(b"", 7, top, below))
    assert 7 < answer.next_row <= 14


def test_an_answer_fits_into_a_pipe_and_a_look_takes_about_a_millisecond():
    """More than that would hold up the counting: see `core/totals.py`."""
    assert PIECE_VIDEOS * 24 <= 32_768
    assert PIECE_ROWS <= 65_536
