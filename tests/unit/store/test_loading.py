"""A ledger that loads says how far it is."""

import contextlib

import numpy as np

from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.store.ledger import SqliteLedgerStore
from actors.store.loading import TELL_ROWS, told


def test_it_is_told_how_many_rows_were_taken_and_all_are_yielded():
    said = []
    rows = range(2 * TELL_ROWS + 1)
    taken = list(told(rows, len(rows), "rows", lambda *words: said.append(words)))
    assert taken == list(rows)
    assert said == [(done, len(rows), "rows") for done in (0, TELL_ROWS, 2 * TELL_ROWS)]


def test_a_ledger_says_how_many_rows_of_accounts_it_has_read(tmp_path):
    said = []
    table = Accounts([(b"%016d" % 1, Account(1))])
    changes = LedgerChanges(table.columns(np.arange(1)), [], [], Tallies(1))
    with contextlib.closing(SqliteLedgerStore(str(tmp_path), 0, 1, "NORMAL")) as store:
        for _ in range(3):
            store.commit(changes)
    store = SqliteLedgerStore(str(tmp_path), 0, 1, "NORMAL", lambda *words: said.append(words))
    with contextlib.closing(store):
        assert said == [(0, 3, "rows of accounts")]
