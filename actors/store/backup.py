"""Copies the stores of a state as of one moment, while a service runs or not.

An actor says only what it has committed, so the stores of one moment agree: none is older than another one of
them says. To have one moment, the write lock of every store is taken, then a read transaction of each is
begun, and the locks are released: some milliseconds, in which the actors wait for their commits. The copying
itself (SQLite's online backup) holds nobody up.

The copy is a state folder of its own: `totals` reads it. Its manifest is written last, so a copy without it
is not finished.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..core.shards import SHARDS_MAX
from ..system.exits import Failure, StoreFailure
from ..system.flushing import sync
from ..system.locks import LOCK_TIMEOUT_S, is_locked
from ..system.ownership import check_owner_of
from ..system.reasons import reason_with_path
from ..system.regular import check_regular
from ..system.state_id import NAME
from ..system.temporary import hold
from ..version import VERSION
from .database import open_read_only, refused, uri_of
from .folder import LedgerSet, check_complete, find, write
from .ledger import read_tallies
from .snapshot import open_snapshot
from .verify import verify

MANIFEST = "backup.json"
MANIFEST_FORMAT = 1
WRITE_LOCK_TIMEOUT_S = 10.0
WRITE_LOCK_RETRY_S = 0.0005  # the actors wait meanwhile


class BackedUpFile(Struct, frozen=True):
    """A file of a backup."""

    bytes: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What a backup holds. `made_at`: UTC. `files`: by their paths in the folder, with "/"."""

    format: Annotated[int, Meta(ge=1, le=MANIFEST_FORMAT)]
    version: str
    made_at: str
    state: str
    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX)]
    plays: int
    files: dict[str, BackedUpFile]


def backup(state_dir: str, target: Path, others: Iterable[str] = ()) -> Manifest:
    """Copy the ledgers and the dispatcher's store to `target`, which must be empty or new. Check the copy.

    `others`: the paths, in the state folder, of more SQLite files to copy. A missing one is left out.
    Raises `Failure`, leaving a copy without a manifest or none.
    """
    _check_apart(target, Path(state_dir))
    ledgers = find(state_dir)
    if ledgers is None:
        raise Failure(f"no ledgers in {state_dir}, expected those of a service that has run")
    check_complete(state_dir, ledgers)
    copied = LedgerSet(ledgers.state, ledgers.shards)
    sources = dict(zip(copied.files(target), ledgers.files(state_dir), strict=True))
    sources |= {target / one: Path(state_dir) / one for one in others if (Path(state_dir) / one).exists()}
    try:
        with private_files(), _made_empty(target):
            for path in sources:
                path.parent.mkdir(exist_ok=True)
            is_writable = all(os.access(path.parent, os.W_OK) for path in sources.values())
            made_at = _copy(sources) if is_writable else _copy_of_nobody(sources)
            if find(state_dir) != ledgers:
                raise Failure(f"the ledgers of {state_dir} were replaced meanwhile: run backup again")
            write(target, copied)
            plays = plays_in(target, copied)
            check_copy(target, sources)
            about = (MANIFEST_FORMAT, VERSION, made_at, copied.state, copied.shards, plays)
            return _write_manifest(target, about, [*sources, target / NAME])
    except OSError as error:
        raise Failure(
            f"{target}: not backed up ({reason_with_path(error)}), expected a folder that can be written, "
            "with enough space"
        ) from error


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Files and folders that are made in the block are for this user alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def check_copy(folder: Path, paths: Iterable[Path]) -> None:
    """Raise `StoreFailure` if the stores of a copy are damaged, or if one is older than another one says."""
    wrong = [str(finding) for finding in verify(str(folder)) if finding.wrong]
    for path in paths:
        with open_sqlite(path, "ro") as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
        if found != ["ok"]:
            wrong.append(f"{path}: {'; '.join(found)}")
        for suffix in ("-wal", "-shm"):  # a reader leaves them, empty
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    if wrong:
        raise StoreFailure(f"the copy in {folder} can not be used:", *wrong)


@contextlib.contextmanager
def open_sqlite(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection to any SQLite file. SQLite's errors in the block raise `StoreFailure`."""
    try:
        check_regular(path.stat().st_mode)
    except OSError as error:
        raise refused(path, error) from error
    try:
        with contextlib.closing(
            sqlite3.connect(uri_of(path, mode), uri=True, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise refused(path, error) from error


def digest_of(path: Path) -> BackedUpFile:
    """The length and the hash of a file. Raises `OSError`."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return BackedUpFile(file.tell(), digest)


def _check_apart(target: Path, state_dir: Path) -> None:
    """Raise `Failure` if one of the folders is in the other: a backup would be lost with its state."""
    backup, state = target.resolve(), state_dir.resolve()
    if backup.is_relative_to(state) or state.is_relative_to(backup):
        raise Failure(
            f"{target}: is no place for a backup of {state_dir}, because one of them is in the other: "
            "expected a folder elsewhere, best on another disk"
        )


@contextlib.contextmanager
def _made_empty(target: Path) -> Iterator[None]:
    """Make the folder, with its parents, and lock it in the block. Raises `Failure` if something is in it."""
    if target.is_symlink() and not target.exists():
        raise Failure(f"{target}: is a link that leads nowhere, expected an empty or a new folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Failure(f"{target}: is not empty, expected an empty or a new folder for the backup")
    target.mkdir(parents=True, exist_ok=True)
    check_owner_of(target)
    held = hold(target.resolve())
    if held is None:
        raise Failure(
            f"{target}: is in use by another process, such as another backup, expected a folder apart"
        )
    try:
        if any(target.iterdir()):  # another backup was quicker
            raise Failure(f"{target}: is not empty, expected an empty or a new folder for the backup")
        target.chmod(0o700)
        yield
    finally:
        os.close(held)


def _copy(sources: dict[Path, Path]) -> str:
    """Copy each store, all as of one moment. Returns the moment, in UTC."""
    with contextlib.ExitStack() as open_files:
        readers = [open_files.enter_context(open_sqlite(path, "ro")) for path in sources.values()]
        with contextlib.ExitStack() as locks:
            for path in sources.values():
                writer = locks.enter_context(open_sqlite(path, "rw"))
                _take_write_lock(writer)
                locks.callback(writer.execute, "ROLLBACK")
            for reader in readers:
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM sqlite_master").fetchone()  # a transaction begins when it reads
            made_at = _now()
        for path, reader in zip(sources, readers, strict=True):
            try:
                with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
                    reader.backup(copy)
            except sqlite3.OperationalError as error:  # the copy's disk is full; what is read was checked
                raise OSError(str(error)) from error
    return made_at


def _copy_of_nobody(sources: dict[Path, Path]) -> str:
    """Copy stores that can't be written here and that no process has open. Returns the moment, in UTC."""
    for path in sources.values():
        if is_locked(path.with_suffix(".lock")):
            raise Failure(
                f"{path}: is in use, and its folder can't be written here: run backup where the service runs"
            )
    for path, source in sources.items():
        with open_snapshot(source) as snapshot, contextlib.closing(sqlite3.connect(path)) as copy:
            snapshot.backup(copy)
    return _now()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _take_write_lock(writer: sqlite3.Connection) -> None:
    """Begin a write transaction, between two commits of a busy actor. Raises `sqlite3.Error`."""
    writer.execute("PRAGMA busy_timeout = 0")  # SQLite's own waits are so long that an actor is always first
    deadline_s = time.monotonic() + WRITE_LOCK_TIMEOUT_S
    while True:
        try:
            writer.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if (
                getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY
                or time.monotonic() > deadline_s
            ):
                raise
        time.sleep(WRITE_LOCK_RETRY_S)


def plays_in(folder: Path, ledgers: LedgerSet) -> int:
    """How many plays the ledgers in a folder have counted. Raises `StoreFailure`."""
    plays = 0
    for shard in range(ledgers.shards):
        path = ledgers.ledger(folder, shard)
        with open_read_only(path) as connection:
            plays += read_tallies(path, connection)[1].counted
    return plays


def _write_manifest(target: Path, about: tuple[int, str, str, str, int, int], paths: list[Path]) -> Manifest:
    """Flush the copy to the disk, then write the manifest. `about`: its fields but the last."""
    files = {}
    for path in paths:
        sync(path)
        files[path.relative_to(target).as_posix()] = digest_of(path)
    manifest = Manifest(*about, files)
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    for folder in {target / MANIFEST, *(path.parent for path in paths), target.parent}:
        sync(folder)
    return manifest
