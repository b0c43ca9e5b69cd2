"""Write transactions: whole or not at all."""

import sqlite3
from contextlib import closing

import pytest

from actors.system.transactions import Transaction


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as one:
        one.execute("CREATE TABLE numbers (number INTEGER)")
        yield one


def test_what_the_block_writes_is_committed(connection):
    with Transaction(connection):
        connection.execute("INSERT INTO numbers VALUES (1)")
    assert not connection.in_transaction
    assert connection.execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_nothing_is_written_when_the_block_raises(connection):
    with pytest.raises(KeyboardInterrupt), Transaction(connection):
        connection.execute("INSERT INTO numbers VALUES (1)")
        raise KeyboardInterrupt
    assert not connection.in_transaction
    assert connection.execute("SELECT number FROM numbers").fetchall() == []
