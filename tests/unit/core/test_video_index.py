"""The index of videos against a dict."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.accounts import Account, Accounts
from actors.core.columns import video_words
from actors.core.video_index import EMPTY, SLOTS_A_ROW, SLOTS_MIN, VideoIndex

# Few, and alike in their low bits or high ones, so that they meet in the index too.
likely = st.one_of(
    st.integers(0, 300).map(lambda n: n.to_bytes(16, "big")),
    st.integers(0, 300).map(lambda n: n.to_bytes(16, "little")),
    st.binary(min_size=16, max_size=16),
)
columns = st.lists(st.lists(likely, max_size=120), max_size=6)


@given(columns, st.binary(min_size=16, max_size=16))
def test_rows_are_those_of_a_dict_that_numbers_what_comes_first(found, salt):
    accounts, model = Accounts(salt=salt), {}
    for videos in found:
        column = video_words(b"".join(videos))
        assert accounts.rows_of(column).tolist() == [model.get(video, EMPTY) for video in videos]
        for video in videos:
            model.setdefault(video, len(model))
        assert accounts.rows_of(column, open_new=True).tolist() == [model[video] for video in videos]
    assert len(accounts) == len(model)
    assert [video for video, _ in accounts.items()] == list(model)


def test_a_hundred_thousand_videos_are_found_and_strangers_are_not():
    chance = random.Random(1)
    known = [chance.randbytes(16) for _ in range(100_000)]
    accounts = Accounts((video, Account(1)) for video in known)
    assert (accounts.rows_of(video_words(b"".join(known))) == np.arange(len(known))).all()
    strangers = b"".join(chance.randbytes(16) for _ in range(10_000))
    assert (accounts.rows_of(video_words(strangers)) == EMPTY).all()


def test_videos_that_all_want_one_slot_are_found_all_the_same():
    class Unfair(VideoIndex):
        def _first_slots(self, videos):
            return np.full(len(videos), len(self._slots) - 1)

    index, count = Unfair(), SLOTS_MIN // SLOTS_A_ROW
    cells = np.arange(5 * count).reshape(count, 5)
    index.add(cells, 0, count // 2)
    index.add(cells, count // 2, count)
    assert index.find(cells, cells[:, :2]).tolist() == list(range(count))
    assert index.find(cells, cells[:, :2] + 1).tolist() == [EMPTY] * count


def test_without_an_account_nothing_is_found():
    accounts = Accounts()
    assert accounts.row(bytes(16)) == EMPTY
    with pytest.raises(KeyError):
        accounts[bytes(16)]
    accounts.rows_of(video_words(bytes(16)), open_new=True)
    assert accounts.row(bytes(16)) == 0
