"""Durable state in SQLite: one ledger per shard, and the dispatcher's batches.

Promises: a commit is written whole or not at all. It survives a kill -9 of any process, and with
`synchronous = FULL` a power cut too. One process opens a store; a second one is refused. A file that is
missing or damaged, that has fewer commits than its mark promises, or that is of another format, shard or
state, is refused. The error names it and says what to do. A refused file is left as it is, and never replaced
by an empty one. This package does not know what the numbers mean.

    opening.py    opens stores as the settings say
    protocols.py  what a store offers
    folder.py     the set of ledgers of a state folder: made together, once
    database.py   one SQLite file, its lock, and the refusals
    snapshot.py   a copy of a store in memory, for who reads it beside its process
    mark.py       how many commits a store has promised, in a file beside it
    older.py      which store is older than another one says
    elsewhere.py  the dispatcher's mark in the folders of the other stores
    accounts.py   one shard's accounts: a journal of changes, and parts of the table
    ledger.py     one shard's ledger: accounts, seen ids and tallies
    outbox.py     the dispatcher's batches
    publish_totals.py  the one row with the totals of all publishes
    client_check.py    whether the client has more than the ledgers, or less than was published
    backup.py     a copy of all stores as of one moment
    restore.py    a copy in the place of the state
    untouched.py  a refused store is left as it was
    topic.py      the topic whose plays a state counts
    totals.py     the totals of all shards, also while a service runs
"""

from typing import TYPE_CHECKING

from ..system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .folder import begin_if_new, ledger_path, outbox_path
    from .ledger import SqliteLedgerStore
    from .opening import begin_state, open_ledger, open_outbox
    from .outbox import SqliteOutboxStore
    from .protocols import LedgerStore, OutboxStore
    from .totals import TotalsReader

__all__ = [
    "LedgerStore",
    "OutboxStore",
    "SqliteLedgerStore",
    "SqliteOutboxStore",
    "TotalsReader",
    "begin_if_new",
    "begin_state",
    "ledger_path",
    "open_ledger",
    "open_outbox",
    "outbox_path",
]

# Each module is imported when a name of it is asked for first: to begin a state, no numpy is needed.
_WHERE = {
    "folder": ("begin_if_new", "ledger_path", "outbox_path"),
    "ledger": ("SqliteLedgerStore",),
    "opening": ("begin_state", "open_ledger", "open_outbox"),
    "outbox": ("SqliteOutboxStore",),
    "protocols": ("LedgerStore", "OutboxStore"),
    "totals": ("TotalsReader",),
}

if not TYPE_CHECKING:  # else every name would be there for mypy
    __getattr__ = lazy_names(__name__, _WHERE)
