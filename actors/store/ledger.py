"""One shard's ledger on disk: accounts (`accounts.py`), seen messages (`seen.py`), tallies."""

import logging
import sqlite3
from pathlib import Path

import msgspec

from ..core.counter.accounts import PUBLISHED, TOTAL, Accounts
from ..core.counter.changes import LedgerChanges, Tallies
from ..core.counter.seen_chunks import SeenChunk
from ..core.words import counted
from ..system.exits import StoreFailure, WriteUnavailable
from ..system.installation import service_command
from .accounts import AccountJournal, read_accounts
from .database import Database, check_facts, locked, open_read_only, refused
from .folder import claim
from .loading import SayLoading, in_silence
from .mark import Mark, mark_path, power_cut_lost, read_mark, say_if_untold
from .older import check_ages
from .seen import SeenRows
from .untouched import left_if_refused

log = logging.getLogger(__name__)

_TALLIES = Tallies.__struct_fields__
WRITE_TALLIES = f"UPDATE tallies SET commits = ?, {', '.join(f'{name} = ?' for name in _TALLIES)}"


class SqliteLedgerStore:
    """One shard's ledger. Raises `StoreFailure` if it can't be used."""

    def __init__(
        self,
        state_dir: str,
        shard: int,
        shards: int,
        synchronous: str,
        say_loading: SayLoading = in_silence,
        may_make: bool = True,
    ):
        ledgers = claim(state_dir, shards, may_make)
        path = ledgers.ledger(state_dir, shard)
        read = [path, ledgers.outbox(state_dir)]
        with locked(path) as lock, left_if_refused(read, held=path):
            with open_read_only(path) as connection:
                check_facts(path, connection, ledgers.facts(shard))
                self._commits, self._tallies = read_tallies(path, connection)
                check_commits(path, self._commits, synchronous)
                self._accounts = read_accounts(path, connection, say_loading)
                check_accounts(path, self._accounts, self._tallies)
                self._seen = SeenRows()
                self._chunks, self._several = _seen_of(path, connection, self._seen)
            check_ages(state_dir, ledgers, [shard], synchronous)
            self._mark = Mark(path)
            self._database = Database(path, synchronous, lock)
        self._journal = AccountJournal(self._database.connection, self._accounts.stale.copy())
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('state', ?)", (ledgers.state,))
        self._mark.write(self._commits)

    @property
    def commits(self) -> int:
        """How many commits the ledger has."""
        return self._commits

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """Accounts, seen ids and tallies as committed. Call it once: the caller owns them afterwards."""
        return self._accounts, self._load_seen(), self._tallies

    def commit(self, changes: LedgerChanges) -> None:
        """Write the changes in one transaction. Raises `WriteUnavailable`, `StoreFailure`."""
        number = self._commits + 1
        with self._database.transaction() as connection:
            self._journal.write(connection, number, changes.accounts, changes.part)
            try:
                self._seen.write(connection, changes, self._commits)
            except (TypeError, ValueError) as error:
                raise sqlite3.DatabaseError(f"seen ids: {error}") from error
            tallies = changes.tallies
            connection.execute(WRITE_TALLIES, (number, *msgspec.structs.astuple(tallies)))
        self._commits = number
        self._journal.wrote(number, changes.accounts, changes.part)
        self._seen.wrote(changes)
        # Commit before the mark: if the mark were ahead, a ledger that lost nothing would be refused.
        self._mark.write(number)

    def close(self) -> None:
        """Close the mark, then the file."""
        self._mark.close()
        self._database.close()

    def _load_seen(self) -> list[SeenChunk]:
        """Hand over one chunk per bucket, and merge the rows on disk too."""
        chunks, several = self._chunks, self._several
        self._chunks, self._several = [], []
        if several:
            try:
                with self._database.transaction() as connection:
                    for one in several:
                        self._seen.replace(connection, one)
                self._seen.merged(several)
            except WriteUnavailable as failure:
                # A full disk: the rows are merged in memory now, and on disk at a later start.
                log.warning("%s; the rows of seen ids stay as they are", failure)
        return chunks


def _seen_of(
    path: Path, connection: sqlite3.Connection, rows: SeenRows
) -> tuple[list[SeenChunk], list[SeenChunk]]:
    try:
        return rows.load(connection)
    except (TypeError, ValueError, sqlite3.Error) as error:
        raise refused(path, f"seen ids: {error}") from error


def read_tallies(path: Path, connection: sqlite3.Connection) -> tuple[int, Tallies]:
    """How many commits a ledger has, and what it counted in them. Raises `StoreFailure`."""
    rows = connection.execute(f"SELECT commits, {', '.join(_TALLIES)} FROM tallies").fetchall()
    if len(rows) != 1 or any(type(one) is not int or one < 0 for row in rows for one in row):
        raise refused(path, f"its tallies are {rows}")
    [(commits, *tallies)] = rows
    return commits, Tallies(*tallies)


def check_commits(
    path: Path, commits: int, synchronous: str, lacks: str = "plays that were finished on the queue"
) -> None:
    """Raise `StoreFailure` if a store has lost commits that were promised. `lacks`: what was in them."""
    promised, same_boot = read_mark(path)
    say_if_untold(path, path, commits)
    if commits >= promised:
        return
    lost = f"ends at commit {commits}, and {mark_path(path).name} says that {promised} were made"
    if power_cut_lost(promised - commits, same_boot, synchronous):
        log.error(
            "%s: %s, before the last start of the machine: a power cut took them, which synchronous = "
            '"NORMAL" allows and "FULL" does not. The service goes on without them',
            path,
            lost,
        )
        return
    raise StoreFailure(
        f"{path}: {lost}: its -wal is missing or damaged, or it is from an older backup. It lacks {lacks}. "
        f"It is left as it is: put back what is missing; or restore the whole state from a backup with "
        f"`{service_command()} restore DIR`; or empty {mark_path(path).name} to go on without them; or use "
        "another supervisor.state_dir"
    )


def check_accounts(path: Path, accounts: Accounts, tallies: Tallies) -> None:
    """Raise `StoreFailure` if the columns contradict one another or the tallies."""
    totals, published = accounts.cells[:, TOTAL], accounts.cells[:, PUBLISHED]
    if (accounts.cells[:, TOTAL:] < 0).any():
        raise refused(path, "one of its accounts has a negative number")
    plays = int(totals.sum())
    if plays != tallies.counted:
        raise refused(path, f"its accounts have {plays} plays, but its tallies {tallies.counted}")
    ahead = int((published > totals).sum())
    if ahead:
        log.warning(
            "%s: the client was told more plays of %s than this ledger has: the ledger is from an older "
            "backup, or the client's state is of another service. They are published again once the ledger "
            "has more plays",
            path,
            counted(ahead, "video"),
        )
