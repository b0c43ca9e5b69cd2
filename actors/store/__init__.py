"""Durable state in SQLite: one ledger per shard, and the dispatcher's batches.

Promises: a commit is written whole or not at all. It survives a kill -9 of any process, and with
`synchronous = FULL` a power cut too. One process opens a store; a second one is refused. A file that is
missing or damaged, that has fewer commits than its mark promises, or that is of another format, shard or
state, is refused. The error names it and says what to do. A refused file is left as it is, and never replaced
by an empty one. This package does not know what the numbers mean.

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

from collections.abc import Callable
from pathlib import Path

from ..config import Settings
from .folder import begin, check_kept, ledger_path, outbox_path
from .ledger import SqliteLedgerStore
from .loading import SayLoading, in_silence
from .outbox import SqliteOutboxStore
from .protocols import LedgerStore, OutboxStore
from .totals import TotalsReader

__all__ = [
    "LedgerStore",
    "OutboxStore",
    "SqliteLedgerStore",
    "SqliteOutboxStore",
    "TotalsReader",
    "begin_state",
    "ledger_path",
    "open_ledger",
    "open_outbox",
    "outbox_path",
]


def begin_state(settings: Settings, store: Path, may_make: bool) -> None:
    """Make the ledgers if the state is new. Whoever keeps anything else in the state folder calls this first.

    `store`: what the caller keeps. `may_make`: whether missing ledgers are made. If they are not, they and
    `store` have to be there. Raises `StoreFailure` if they were lost.
    """
    begin(settings.supervisor.state_dir, settings.counters.shards, may_make)
    if not may_make:
        check_kept(store if store.exists() else None, store)


def open_ledger(
    settings: Settings, shard: int, say_loading: SayLoading = in_silence, may_make: bool = True
) -> LedgerStore:
    """Open the ledger of a shard, as the settings say. Raises `StoreFailure` if it can't be used.

    `say_loading` is called again and again while it loads: how far it is. `may_make`: as in `begin_state`.
    """
    counters, state_dir = settings.counters, settings.supervisor.state_dir
    return SqliteLedgerStore(state_dir, shard, counters.shards, counters.synchronous, say_loading, may_make)


def open_outbox(
    settings: Settings, compare: Callable[[str], None] = lambda why: None, may_make: bool = True
) -> OutboxStore:
    """Open the dispatcher's batches, as the settings say. Raises `StoreFailure` if they can't be used.

    `compare`: called when they are checked, before anything is written, to compare the ledgers with others.
    It is told why the ledgers may be behind, or "". If it raises, the stores are left as they were.
    `may_make`: as in `begin_state`.
    """
    counters, state_dir = settings.counters, settings.supervisor.state_dir
    return SqliteOutboxStore(
        state_dir,
        counters.shards,
        counters.synchronous,
        settings.nsq.topic,
        compare,
        may_make,
        settings.nsq.play_id,
    )
