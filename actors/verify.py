"""Checks everything that the ledgers of a state folder promise, without changing a byte of it.

One line a file, and what is wrong with it. A service may run meanwhile: each file is read as of one
commit. What it can't see is a bit that turned into another number of the same kind where nothing else
holds that number: an arrival, or what was published.
"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct

from .core import guids
from .core.outbox import Batch
from .core.seen import SeenChunk
from .core.shards import shard_of
from .exits import StoreFailure
from .store.database import check_facts, looking_at
from .store.folder import LedgerSet, find
from .store.ledger import check_quickly, commits_of, ids_of
from .store.mark import mark_path, read_mark
from .store.outbox import decode_totals

FINDINGS_MAX = 20  # a file that is wrong throughout is known as well by twenty lines


class Finding(Struct, frozen=True):
    """One file: what is in it, and what is wrong with it."""

    path: Path
    holds: str
    wrong: list[str]

    def __str__(self) -> str:
        return f"{self.path}: {'; '.join(self.wrong) or 'ok, ' + self.holds}"


def verify(state_dir: str) -> list[Finding]:
    """A finding a file; none where nothing was ever counted. Raises `StoreFailure` where the file that
    says which ledgers there are is damaged itself.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return []
    shards = range(ledgers.shards)
    findings = [_verify_ledger(ledgers.ledger(state_dir, one), ledgers, one) for one in shards]
    return [*findings, _verify_outbox(ledgers.outbox(state_dir), ledgers)]


def _verify_ledger(path: Path, ledgers: LedgerSet, shard: int) -> Finding:
    holds, wrong = "", []
    promised, _ = read_mark(path)  # before: a service that runs goes on meanwhile
    try:
        _check_there(path)
        with looking_at(path) as connection:
            connection.execute("BEGIN")
            wrong += _integrity(connection)
            facts = check_facts(path, connection, ledgers.facts(shard))
            commits = commits_of(path, facts)
            if commits < promised:
                wrong.append(f"ends at commit {commits}, and {mark_path(path).name} says {promised}")
            check_quickly(path, connection)
            wrong += _first(_account_faults(connection, shard, ledgers.shards))
            seen, faults = _seen(connection)
            wrong += faults
            [(videos, plays)] = connection.execute("SELECT count(*), coalesce(sum(total), 0) FROM accounts")
            holds = f"{plays} plays of {videos} videos, {seen} message ids"
    except (StoreFailure, sqlite3.Error) as error:
        wrong.append(str(error).removeprefix(f"{path}: "))
    return Finding(path, holds, wrong)


def _verify_outbox(path: Path, ledgers: LedgerSet) -> Finding:
    holds, wrong = "", []
    try:
        _check_there(path)
        with looking_at(path) as connection:
            connection.execute("BEGIN")
            wrong += _integrity(connection)
            check_facts(path, connection, ledgers.facts())
            batches = [
                msgspec.msgpack.decode(row[0], type=Batch)
                for row in connection.execute("SELECT content FROM batches")
            ]
            [(content,)] = connection.execute("SELECT content FROM totals")
            if content is not None:
                decode_totals(content)
            holds = f"{len(batches)} batches to confirm"
    except (StoreFailure, TypeError, ValueError) as error:
        wrong.append(str(error).removeprefix(f"{path}: "))
    return Finding(path, holds, wrong)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise StoreFailure(f"{path}: missing, expected with the others: it was deleted or moved")


def _integrity(connection: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})")]
    return [] if found == ["ok"] else [" ".join(str(one).split()) for one in found]


def _account_faults(connection: sqlite3.Connection, shard: int, shards: int) -> Iterator[str]:
    for video, total, published, taken, arrived_ns, later_ns in connection.execute(
        "SELECT video, total, published, taken, arrived_ns, later_ns FROM accounts"
    ):
        name = guids.text(video)
        if shard_of(video, shards) != shard:
            yield f"{name} belongs to shard {shard_of(video, shards)}"
        if published > total:
            yield f"{name} has {published} plays published of {total} counted: from an older backup?"
        elif total == published:
            if taken or arrived_ns or later_ns:
                yield f"{name} has nothing to publish, and says since when"
        elif not arrived_ns:
            yield f"{name} has {total - published} plays to publish, and says not since when"
        if taken > total:
            yield f"{name} has {taken} plays in a batch of {total} counted"


def _seen(connection: sqlite3.Connection) -> tuple[int, list[str]]:
    ids, faults = 0, []
    for row in connection.execute("SELECT source, bucket, received_ms, ids FROM seen"):
        try:
            if not isinstance(row[0], str) or type(row[1]) is not int or type(row[2]) is not int:
                raise ValueError(f"a row of seen ids holds {row[:3]}")
            ids += len(ids_of(SeenChunk(*row)))
        except (TypeError, ValueError) as error:
            faults.append(f"seen ids: {error}")
    return ids, _first(iter(faults))


def _first(faults: Iterator[str]) -> list[str]:
    return list(islice(faults, FINDINGS_MAX))
