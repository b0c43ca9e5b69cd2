"""Opens the stores as the settings say."""

from collections.abc import Callable
from pathlib import Path

from ..config import Settings
from .folder import begin, check_kept
from .ledger import SqliteLedgerStore
from .loading import SayLoading, in_silence
from .outbox import SqliteOutboxStore
from .protocols import LedgerStore, OutboxStore


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
