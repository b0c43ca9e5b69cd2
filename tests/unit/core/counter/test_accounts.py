"""The accounts: columns of several commits, joined, leave what the commits would leave one by one."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.columns import video_words
from actors.core.counter.accounts import Account, Accounts, last_of

rows = st.integers(0, 8)
commits = st.lists(st.dictionaries(rows, st.none() | st.tuples(st.integers(), st.integers()), max_size=5))


@given(commits)
def test_of_a_value_that_few_rows_have_the_last_commit_of_the_row_is_right(several):
    lengths = np.array([len(one) for one in several], np.int64)
    joined = np.array([row for one in several for row in one], np.int64)
    kept = [{row: value for row, value in one.items() if value is not None} for one in several]
    expected = {}
    for one in several:
        expected |= one
    assert last_of(joined, lengths, kept) == {row: v for row, v in expected.items() if v is not None}


def loaded(*commits):
    """The accounts that a ledger loads, whose commits changed these accounts."""
    whole, read = Accounts(), Accounts()
    for changed in commits:
        rows = whole.rows_of(video_words(b"".join(changed)), open_new=True)
        for row, account in zip(rows.tolist(), changed.values(), strict=True):
            whole.put(row, account)
        read.load(whole.columns(rows))
    read.loaded()
    return dict(read.items())


def test_accounts_are_loaded_as_the_last_commit_of_each_left_them():
    v, w = b"v" * 16, b"w" * 16
    taken = Account(total=3, published=1, taken=2, arrived_ns=10, later_ns=20, steps=(10, 20))
    assert loaded({v: taken}) == {v: taken}
    told = Account(total=3, published=3, taken=0, arrived_ns=0, later_ns=0, steps=())
    assert loaded({v: taken, w: taken}, {}, {v: told}) == {v: told, w: taken}


def test_an_account_without_plays_is_refused():
    none = Account(total=0, published=0, taken=0, arrived_ns=0, later_ns=0, steps=())
    with pytest.raises(ValueError, match="no plays"):
        loaded({b"v" * 16: none})


def test_columns_of_few_rows_leave_no_memory_behind():
    accounts = Accounts((bytes(15) + bytes([number]), Account(total=1)) for number in range(20))
    for _ in range(2):
        before = sys.getallocatedblocks()
        for number in range(10_000):
            accounts.columns_of_few(range(1 + number % 20))
    assert sys.getallocatedblocks() - before < 200


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("later_ns", [0, 5])
@pytest.mark.parametrize("steps", [(), (7, 8)])
def test_an_account_is_read_as_it_was_put(taken, later_ns, steps):
    account = Account(3, 1, taken, 4, later_ns, steps)
    accounts = Accounts([(b"v" * 16, Account(3, 2, 1, 1, 1, (1,)))])
    accounts.put(0, account)
    assert accounts.get(0) == account
