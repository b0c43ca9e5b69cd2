"""Redistributes the ledgers of a state folder over another number of shards, while no service runs.

The new set of ledgers is written into a new folder and flushed to the disk. Then one rename replaces
`ledgers.json` with a file that names the new folder. Whenever `reshard` is killed, `ledgers.json` names a
complete set: either the old one or the new one. The next `reshard` deletes a half written set. The old files
are deleted last.

Nothing is lost. An account is moved unchanged to the new shard of its video. A seen id has no video, so every
new shard gets all seen ids and recognizes any redelivery. The dispatcher's batches and service id are copied,
so a batch whose outcome is unknown keeps its key.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, structs

from ..core.counter.accounts import Account, Accounts
from ..core.counter.changes import Tallies
from ..core.counter.seen_chunks import SeenChunk
from ..core.counter.seen_ids import merged
from ..core.shards import shard_of
from ..system import runfile
from ..system.exits import Failure, StoreFailure
from ..system.flushing import sync
from ..system.installation import service_command
from ..system.locks import lock_file
from ..system.ownership import check_owner
from ..system.reasons import reason_with_path
from ..system.transactions import Transaction
from .accounts import read_accounts, write_whole
from .client_check import RESTORED
from .database import open_read_only, refused
from .folder import RESHARDED, LedgerSet, find, make_files, write
from .ledger import WRITE_TALLIES, read_tallies
from .mark import mark_path, promise_nothing
from .publish_totals import read_totals, write_totals
from .seen import INSERT, in_buckets, row_of
from .topic import PLAY_ID, TOPIC
from .verify import verify


class Resharded(Struct, frozen=True):
    """What was redistributed: the old and the new number of shards, and the counts of what was moved."""

    shards_before: int
    shards: int
    plays: int
    videos: int
    ids: int
    batches: int


def reshard(state_dir: str, shards: int) -> Resharded | None:
    """Redistribute the ledgers over `shards` shards. Returns None if they have that number already.

    Raises `Failure`, leaving the ledgers as they were.
    """
    check_owner(state_dir)
    if not Path(state_dir).is_dir():
        raise Failure(f"no ledgers in {state_dir}, expected the state folder of a service that has run")
    lock = hold(state_dir)
    try:
        old = find(state_dir)
        if old is None:
            raise Failure(f"no ledgers in {state_dir}, expected the state folder of a service that has run")
        # If the supervisor was killed, a counter may still run for a moment and commit. So wait for its lock.
        for path in old.files(state_dir):
            if path.exists():
                os.close(lock_file(path.with_suffix(".lock")))
        _remove_others(state_dir, old)
        if old.shards == shards:
            return None
        wrong = [str(finding) for finding in verify(state_dir) if finding.wrong]
        if wrong:
            raise StoreFailure("not redistributed, because the ledgers have errors:", *wrong)
        new = LedgerSet(old.state, shards, _next_folder(old))
        done = _write_set(state_dir, old, new)
        # Flush the new set before `ledgers.json` names it. Otherwise a power cut could leave `ledgers.json`
        # with the name of an incomplete set.
        for path in new.files(state_dir):
            promise_nothing(path)
            sync(path)
        sync(Path(state_dir) / new.folder)
        write(state_dir, new)
        _remove_others(state_dir, new)
        return done
    except sqlite3.Error as error:
        raise Failure(f"{state_dir}: not redistributed ({error}); the ledgers are unchanged") from error
    except OSError as error:
        why = reason_with_path(error)
        raise Failure(f"{state_dir}: not redistributed ({why}); run reshard again") from error
    finally:
        os.close(lock)


def hold(state_dir: str) -> int:
    """Lock a state folder, so that no service starts. Raises `Failure` if one runs, or if it is not ours."""
    check_owner(state_dir)
    try:
        return runfile.hold(state_dir, timeout_s=0.5)
    except StoreFailure as failure:
        if isinstance(failure.__cause__, OSError):  # no process holds the lock: it can't be made
            raise
        raise Failure(
            f"a service (or another command) uses {state_dir}: stop it with "
            f"`{service_command()} stop` and the settings that it was started with"
        ) from failure


def _write_set(state_dir: str, old: LedgerSet, new: LedgerSet) -> Resharded:
    make_files(state_dir, new)
    divided: list[list[tuple[bytes, Account]]] = [[] for _ in range(new.shards)]
    others = Tallies()  # these counts belong to no video: the first new shard gets them
    ran_ms = stores = 0
    seen: dict[tuple[str, int, bool], list[tuple[int, SeenChunk]]] = {}
    for shard in range(old.shards):
        path = old.ledger(state_dir, shard)
        with open_read_only(path) as connection:
            for video, account in read_accounts(path, connection).items():
                divided[shard_of(video, new.shards)].append((video, account))
            _, tallies = read_tallies(path, connection)
            told = tallies.redelivered, tallies.dead_lettered, tallies.reused, tallies.duplicates
            others = others.plus(0, *told)
            ran_ms = max(ran_ms, tallies.ran_ms)
            stores = max(stores, tallies.stores)
            for rows in in_buckets(connection):
                one = merged(rows)
                age_ms = tallies.ran_ms - one.received_ms
                seen.setdefault((one.source, one.bucket, one.stamped), []).append((age_ms, one))
    chunks = [
        merged([structs.replace(one, received_ms=ran_ms - age_ms) for age_ms, one in parts], True)
        for parts in seen.values()
    ]
    for shard, accounts in enumerate(divided):
        plays = sum(account.total for _, account in accounts)
        own = others if shard == 0 else Tallies()
        tallies = structs.replace(own, counted=plays, ran_ms=ran_ms, stores=stores)
        _write_ledger(new.ledger(state_dir, shard), Accounts(accounts), chunks, tallies)
    batches = _copy_outbox(old.outbox(state_dir), new.outbox(state_dir), new.shards)
    plays = sum(account.total for accounts in divided for _, account in accounts)
    ids = sum(chunk.ids for chunk in chunks)
    return Resharded(old.shards, new.shards, plays, sum(map(len, divided)), ids, batches)


def _write_ledger(path: Path, accounts: Accounts, seen: list[SeenChunk], tallies: Tallies) -> None:
    """Write a ledger in one commit."""
    with _commit(path) as writer:
        write_whole(writer, accounts)
        writer.executemany(INSERT, map(row_of, seen))
        writer.execute(WRITE_TALLIES, (1, *structs.astuple(tallies)))


def _copy_outbox(old: Path, new: Path, shards: int) -> int:
    with open_read_only(old) as connection, _commit(new) as writer:
        batches = connection.execute("SELECT key, content FROM batches ORDER BY rowid").fetchall()
        writer.executemany("INSERT INTO batches VALUES (?, ?)", batches)
        requests = connection.execute("SELECT number, content FROM republishes").fetchall()
        writer.executemany("INSERT INTO republishes VALUES (?, ?)", requests)
        refused_videos = connection.execute("SELECT * FROM refused_videos ORDER BY rowid").fetchall()
        writer.executemany("INSERT INTO refused_videos VALUES (?, ?)", refused_videos)
        numbers = connection.execute("SELECT * FROM sqlite_sequence").fetchall()
        writer.execute("DELETE FROM sqlite_sequence")
        writer.executemany("INSERT INTO sqlite_sequence VALUES (?, ?)", numbers)
        # Each of the new ledgers has one commit.
        write_totals(
            writer, structs.replace(read_totals(connection), commits=dict.fromkeys(range(shards), 1))
        )
        kept = "SELECT * FROM meta WHERE key IN ('service', ?, ?, ?)"
        facts = connection.execute(kept, (RESTORED, TOPIC, PLAY_ID)).fetchall()
        writer.executemany("INSERT INTO meta VALUES (?, ?)", facts)
    return len(batches)


@contextlib.contextmanager
def _commit(path: Path) -> Iterator[sqlite3.Connection]:
    """Write a database in one transaction. Closing its only connection merges the -wal into the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with Transaction(connection):
            yield connection
    if Path(f"{path}-wal").exists():
        raise refused(path, "its -wal is still there after it was closed")


def _next_folder(old: LedgerSet) -> str:
    number = int(old.folder.removeprefix(RESHARDED) or 0) + 1
    return f"{RESHARDED}{number}"


def _remove_others(state_dir: str, kept: LedgerSet) -> None:
    """Delete the half written and the replaced sets. Only `kept` stays, the set that `ledgers.json` names."""
    for folder in Path(state_dir).glob(f"{RESHARDED}*"):
        if folder.is_dir() and folder.name != kept.folder:
            shutil.rmtree(folder)
    if not kept.folder:
        return
    root = structs.replace(kept, folder="")
    for path in [*Path(state_dir).glob("counter-*.sqlite"), root.outbox(state_dir)]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        mark_path(path).unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
