"""Durable state in SQLite: one ledger a shard, and the dispatcher's batches.

Promises: a commit is whole or not at all, and survives a kill -9 of anything (`synchronous = NORMAL`)
or also a power cut (`FULL`). One process a store: a second is refused. A file that is missing, damaged,
older than what was promised, of another format, shard or state is refused with its name and what to do,
and left as it is; it is never replaced by an empty one. Refuses to know what the numbers mean.

    protocols.py  what a store offers
    folder.py     which ledgers a state folder has: all are made together, none is ever made again
    database.py   one SQLite file, its lock, and the refusals
    mark.py       how many commits a ledger has promised, beside it
    accounts.py   one shard's accounts: a journal, and parts of the whole
    ledger.py     one shard's ledger: accounts, seen ids and tallies
    outbox.py     the dispatcher's batches
    totals.py     the totals of all, read beside a running service
"""

from ..config import Settings
from .folder import ledger_path, outbox_path
from .ledger import SqliteLedgerStore
from .outbox import SqliteOutboxStore
from .protocols import LedgerStore, OutboxStore
from .totals import TotalsReader

__all__ = [
    "LedgerStore",
    "OutboxStore",
    "SqliteLedgerStore",
    "SqliteOutboxStore",
    "TotalsReader",
    "ledger_path",
    "open_ledger",
    "open_outbox",
    "outbox_path",
]


def open_ledger(settings: Settings, shard: int) -> LedgerStore:
    """The ledger of a shard, as the settings have it. Raises `StoreFailure` when it can't be used."""
    counters = settings.counters
    return SqliteLedgerStore(settings.supervisor.state_dir, shard, counters.shards, counters.synchronous)


def open_outbox(settings: Settings) -> OutboxStore:
    """The dispatcher's batches, as the settings have it. Raises `StoreFailure` when they can't be used."""
    counters = settings.counters
    return SqliteOutboxStore(settings.supervisor.state_dir, counters.shards, counters.synchronous)
