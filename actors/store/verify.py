"""Checks everything that the ledgers of a state folder promise, without changing a byte.

The result is one finding per file. A service may run meanwhile: each file is copied as of one commit. A
changed bit goes unnoticed only in a number that is stored once (an arrival or a published total), and only if
the changed number is valid too.
"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from msgspec import Struct

from ..core import guids
from ..core.counter.accounts import Accounts
from ..core.shards import shard_of
from ..core.words import counted
from ..system.exits import StoreFailure
from .accounts import read_accounts
from .database import check_facts
from .elsewhere import places
from .folder import LedgerSet, find
from .ledger import check_accounts, read_tallies
from .mark import mark_path, read_mark
from .older import find_older
from .outbox import check_content
from .seen import SELECT, chunk_of
from .snapshot import open_snapshot

FINDINGS_MAX = 20  # twenty lines are enough to recognize a file that is wrong throughout


class FileFinding(Struct, frozen=True):
    """The result for one file: what it holds, and what is wrong with it."""

    path: Path
    holds: str
    wrong: list[str]

    def __str__(self) -> str:
        return f"{self.path}: {'; '.join(self.wrong) or 'ok, ' + self.holds}"


def verify(state_dir: str) -> list[FileFinding]:
    """Return one finding per file; an empty list if no play was ever counted.

    Raises `StoreFailure` if `ledgers.json` is damaged.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return []
    shards = range(ledgers.shards)
    findings = [_verify_ledger(ledgers.ledger(state_dir, one), ledgers, one) for one in shards]
    findings.append(_verify_outbox(ledgers.outbox(state_dir), ledgers, places(state_dir)))
    for older in find_older(state_dir, ledgers, shards):
        (finding,) = (one for one in findings if one.path == older.path)
        finding.wrong.append(str(older))
    return findings


def _verify_ledger(path: Path, ledgers: LedgerSet, shard: int) -> FileFinding:
    holds, wrong = "", []
    promised, _ = read_mark(path)  # read before the ledger, because a running service goes on committing
    try:
        _check_there(path)
        with open_snapshot(path) as connection:
            wrong += _integrity(connection)
            check_facts(path, connection, ledgers.facts(shard))
            commits, tallies = read_tallies(path, connection)
            wrong += _behind(commits, promised, mark_path(path).name)
            accounts = read_accounts(path, connection)
            check_accounts(path, accounts, tallies)
            wrong += _first(_account_faults(accounts, shard, ledgers.shards))
            seen, faults = _seen(connection)
            wrong += faults
            plays, videos = counted(tallies.counted, "play"), counted(len(accounts), "video")
            holds = f"{plays} of {videos}, {counted(seen, 'message id')}"
    except (StoreFailure, sqlite3.Error) as error:
        wrong.append(str(error).removeprefix(f"{path}: "))
    return FileFinding(path, holds, wrong)


def _verify_outbox(path: Path, ledgers: LedgerSet, elsewhere: list[Path]) -> FileFinding:
    holds, wrong = "", []
    # The marks are read before the store, because a running dispatcher goes on storing.
    promised = [(mark_path(one), read_mark(one)[0]) for one in (path, *elsewhere)]
    try:
        _check_there(path)
        with open_snapshot(path) as connection:
            wrong += _integrity(connection)
            check_facts(path, connection, ledgers.facts())
            stores = check_content(path, connection).stores
            for mark, number in promised:
                wrong += _behind(stores, number, mark)
            batches = connection.execute("SELECT count(*) FROM batches").fetchone()[0]
            holds = f"{counted(batches, 'batch', 'batches')} to confirm"
    except (StoreFailure, sqlite3.Error) as error:
        wrong.append(str(error).removeprefix(f"{path}: "))
    return FileFinding(path, holds, wrong)


def _behind(commits: int, promised: int, mark: object) -> list[str]:
    return [f"ends at commit {commits}, and {mark} says {promised}"] if commits < promised else []


def _check_there(path: Path) -> None:
    if not path.exists():
        raise StoreFailure(f"{path}: missing, expected with the others: it was deleted or moved")


def _integrity(connection: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})")]
    return [] if found == ["ok"] else [" ".join(str(one).split()) for one in found]


def _account_faults(accounts: Accounts, shard: int, shards: int) -> Iterator[str]:
    for video, one in accounts.items():
        name = guids.text(video)
        if shard_of(video, shards) != shard:
            yield f"{name} belongs to shard {shard_of(video, shards)}"
        if one.published > one.total:
            yield f"{name} has {one.published} plays published of {one.total} counted: from an older backup?"
        elif not one.pending:
            if one.taken or one.arrived_ns or one.later_ns:
                yield f"{name} has no plays to publish, but an arrival or a batch of such plays"
        elif not one.arrived_ns:
            yield f"{name} has {one.total - one.published} plays to publish, but not their arrival"
        if one.taken > one.total:
            yield f"{name} has {one.taken} plays in a batch of {one.total} counted"


def _seen(connection: sqlite3.Connection) -> tuple[int, list[str]]:
    ids, faults = 0, []
    for row in connection.execute(SELECT):
        try:
            ids += chunk_of(*row).ids
        except (TypeError, ValueError) as error:
            faults.append(f"seen ids: {error}")
    return ids, _first(iter(faults))


def _first(faults: Iterator[str]) -> list[str]:
    return list(islice(faults, FINDINGS_MAX))
