"""What a counter hands out to be published again: every published total once, in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.columns import unpack_numbers, unpack_videos
from actors.core.counter import handout
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.handout import hand_out
from actors.core.messages import NO_ROW, CollectPublished

VIDEOS = [number.to_bytes(16, "big") for number in range(60)]


def accounts_of(published):
    return Accounts(
        (video, Account(total=one + 1, published=one)) for video, one in zip(VIDEOS, published, strict=False)
    )


def totals_of(answer):
    return dict(zip(unpack_videos(answer.videos), unpack_numbers(answer.totals), strict=True))


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 20), st.integers(1, 7))
def test_the_pieces_together_are_every_published_total_once(published, videos_max, rows_a_look):
    handout.ROWS_A_LOOK = rows_a_look
    found, row, accounts = [], 0, accounts_of(published)
    while row != NO_ROW:
        answer = hand_out(accounts, CollectPublished(7, videos_max, row))
        assert answer.number == 7
        piece = totals_of(answer)
        found += piece.items()
        assert len(piece) == videos_max or answer.next_row == NO_ROW
        row = answer.next_row
    assert found == [(video, one) for video, one in zip(VIDEOS, published, strict=False) if one]
    handout.ROWS_A_LOOK = 4096


def test_named_videos_are_handed_out_if_they_were_published():
    accounts = accounts_of([0, 5, 2])
    asked = CollectPublished(1, 20, 0, VIDEOS[0] + VIDEOS[2] + VIDEOS[40])
    answer = hand_out(accounts, asked)
    assert totals_of(answer) == {VIDEOS[2]: 2}
    assert answer.next_row == NO_ROW


def test_an_empty_ledger_hands_out_nothing():
    assert hand_out(Accounts(), CollectPublished(1, 20, 0)).next_row == NO_ROW
