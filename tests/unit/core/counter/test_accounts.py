"""The accounts: columns of several commits, joined, leave what the commits would leave one by one."""

import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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


def test_columns_of_few_rows_leave_no_memory_behind():
    accounts = Accounts((bytes(15) + bytes([number]), Account(total=1)) for number in range(20))
    for _ in range(2):
        before = sys.getallocatedblocks()
        for number in range(10_000):
            accounts.columns_of_few(range(1 + number % 20))
    assert sys.getallocatedblocks() - before < 200
