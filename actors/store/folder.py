"""The set of ledgers of a state folder: a JSON file says how many there are, and in which folder.

A lost ledger must not begin again at zero. So all files of a state are made together, once, before any of
them is used, and `ledgers.json` records that. If a file is missing later, it was lost. `reshard` makes
another set in a folder of its own. The new set replaces the old one when `ledgers.json` names its folder.

The ledgers are made before any other store of the state: the queue's journal, the client's store, any mark.
So where one of those is and the ledgers are not, they were lost.

    making ──all files made──▶ made ──reshard──▶ made, of another folder and number
    any, or none ──restore──▶ restoring ──all files in their place──▶ made, of another id
"""

import contextlib
import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from ..core.shards import SHARDS_MAX
from ..core.words import counted
from ..system.exits import StoreFailure
from ..system.flushing import sync
from ..system.installation import service_command
from ..system.locks import lock_file, make_folder
from ..system.ownership import check_owner
from ..system.reasons import reason_of
from ..system.regular import open_regular
from ..system.state_id import NAME
from .database import Facts, check_facts, make, refused
from .snapshot import open_snapshot
from .untouched import left_if_refused

log = logging.getLogger(__name__)

Kept = TypeVar("Kept")

QUEUE = "nsqd"  # the folder of the embedded queue's journal, and the name of its mark
CLIENT = "client"  # the folder of the reference client's store
RESHARDED = "ledgers-"  # followed by a number: the folder of a set made by `reshard`

# Made after the ledgers: where one is, they were there.
LATER = (
    "counter-*",
    "dispatcher.*",
    f"{RESHARDED}*",
    f"{QUEUE}.mark",
    f"{QUEUE}/*.sqlite*",
    f"{QUEUE}/*.mark",
    f"{CLIENT}/*.sqlite*",
    f"{CLIENT}/*.mark",
)
LEFT_NAMED_MAX = 8

LEDGER_SCHEMA = """
CREATE TABLE journal (number INTEGER PRIMARY KEY, accounts BLOB);
CREATE TABLE parts (part INTEGER PRIMARY KEY, number INTEGER, accounts BLOB);
CREATE TABLE seen (source TEXT, bucket INTEGER, received_ms INTEGER, stamped INTEGER, keys BLOB);
CREATE INDEX seen_by_bucket ON seen (bucket, source);
CREATE TABLE tallies (commits INTEGER, counted INTEGER, redelivered INTEGER, dead_lettered INTEGER,
                      reused INTEGER, ran_ms INTEGER, stores INTEGER, duplicates INTEGER);
INSERT INTO tallies VALUES (0, 0, 0, 0, 0, 0, 0, 0);
"""
OUTBOX_SCHEMA = """
CREATE TABLE batches (key TEXT PRIMARY KEY, content BLOB);
CREATE TABLE totals (content BLOB);
INSERT INTO totals VALUES (NULL);
CREATE TABLE republishes (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB);
CREATE TABLE refused_videos (video BLOB PRIMARY KEY, content BLOB);
"""


class LedgerSetStage(StrEnum):
    """Whether all files of a set are made.

    While it is MAKING, some may be half made, and no play is counted in any of them. While it is RESTORING,
    some are those of a backup, and some are not in their place yet.
    """

    MAKING = "making"
    MADE = "made"
    RESTORING = "restoring"


class LedgerSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledgers of a state, and the dispatcher's store.

    `state`: an id that every file of the state has. `folder`: "" means the state folder itself. While it is
    RESTORING, the folder of what is replaced.
    """

    state: str
    shards: Annotated[int, msgspec.Meta(ge=1, le=SHARDS_MAX)]
    folder: str = ""
    stage: LedgerSetStage = LedgerSetStage.MADE

    def ledger(self, state_dir: str | Path, shard: int) -> Path:
        """The path of a shard's ledger."""
        return Path(state_dir) / self.folder / f"counter-{shard}.sqlite"

    def outbox(self, state_dir: str | Path) -> Path:
        """The path of the dispatcher's store."""
        return Path(state_dir) / self.folder / "dispatcher.sqlite"

    def files(self, state_dir: str | Path) -> list[Path]:
        """The paths of all files of the set."""
        return [*(self.ledger(state_dir, one) for one in range(self.shards)), self.outbox(state_dir)]

    def facts(self, shard: int | None = None) -> Facts:
        """The facts that a file of the set keeps about itself. `shard`: None for the dispatcher's store."""
        own: Facts = {} if shard is None else {"shard": shard}
        return {**own, "shards": self.shards, "state": self.state}


def ledger_path(state_dir: str, shard: int) -> Path:
    """The path of a shard's ledger, which may not exist yet."""
    return (find(state_dir) or LedgerSet("", 0)).ledger(state_dir, shard)


def outbox_path(state_dir: str) -> Path:
    """The path of the dispatcher's store, which may not exist yet."""
    return (find(state_dir) or LedgerSet("", 0)).outbox(state_dir)


def find(state_dir: str | Path) -> LedgerSet | None:
    """The ledgers of a state folder, or None if nothing was ever counted there. Raises `StoreFailure`."""
    found = read(state_dir)
    if found is None:
        return _found_without_name(Path(state_dir))
    if found.stage is LedgerSetStage.RESTORING:
        raise StoreFailure(
            f"{Path(state_dir) / NAME}: a restore was not finished, expected all files of the backup in "
            f"place: run `{service_command()} restore DIR` again; what was there before is in {found.folder}"
        )
    return found if found.stage is LedgerSetStage.MADE else None


def read(state_dir: str | Path) -> LedgerSet | None:
    """What `ledgers.json` says, or None if it is missing. Raises `StoreFailure`."""
    path = Path(state_dir) / NAME
    try:
        with open_regular(path) as file:
            return msgspec.json.decode(file.read(), type=LedgerSet)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        check_owner(state_dir)
        raise StoreFailure(
            f"{path}: cannot be read ({reason_of(error)}), expected a file that this user may read"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreFailure(
            f"{path}: cannot be read ({reason_of(error)}), expected the file that says which ledgers there "
            "are: restore it from a backup, or delete it, and the service finds the ledgers without it"
        ) from error


def claim(state_dir: str, shards: int, may_make: bool = True) -> LedgerSet:
    """Return the ledgers of a state folder. Make them if nothing was ever counted there.

    `may_make`: as in `begin`. Raises `StoreFailure` if a ledger is gone, or if the state has another number
    of shards.
    """
    try:
        named = (Path(state_dir) / NAME).exists()
    except OSError as error:
        raise StoreFailure(
            f"{state_dir}: cannot be read ({reason_of(error)}), see supervisor.state_dir"
        ) from error
    with left_if_refused([] if named else sorted(Path(state_dir).rglob("*.sqlite"))):
        found = begin(state_dir, shards, may_make)
        if found.shards != shards:
            raise StoreFailure(
                f"{state_dir}: its ledgers are made for counters.shards = {found.shards}, and now it is "
                f"{shards}: divide them again with `{service_command()} reshard`, with the same settings, or "
                f"set counters.shards back to {found.shards}"
            )
        check_complete(state_dir, found)
    return found


def begin(state_dir: str, shards: int, may_make: bool = True) -> LedgerSet:
    """Make the ledgers of a new state, or find those that there are. Raises `StoreFailure` if they were lost.

    Every process that keeps something in the state folder calls this first. `may_make`: False for a child
    that restarts. The service has made the ledgers, so none is made in the place of one that was moved.
    """
    if not may_make:
        return check_kept(find(state_dir), Path(state_dir) / NAME)
    make_folder(state_dir)
    lock = lock_file(Path(state_dir) / "ledgers.lock")
    try:
        found = find(state_dir)
        if found is None:
            _check_new(Path(state_dir))
            return _make(state_dir, shards)
        if not (Path(state_dir) / NAME).exists():
            check_complete(state_dir, found)
            write(state_dir, found)
        return found
    except OSError as error:
        raise StoreFailure(
            f"{state_dir}: cannot be written ({reason_of(error)}), see supervisor.state_dir"
        ) from error
    finally:
        os.close(lock)


def begin_if_new(state_dir: str, shards: int) -> None:
    """Make the ledgers of a new state before the first child does. If they can't be made, it says why."""
    with contextlib.suppress(StoreFailure, OSError):
        if next(Path(state_dir).rglob("*.sqlite"), None) is None:
            begin(state_dir, shards)


def check_kept(found: Kept | None, path: Path) -> Kept:
    """Return what was found of a store that the service has made. Raises `StoreFailure` if it is None."""
    if found is None:
        raise StoreFailure(
            f"{path}: it was deleted, moved or unmounted while the service ran, expected what the service "
            "made. No new one is made, because the plays in it would be lost. Put it back, or restore a "
            "backup, before the next start"
        )
    return found


def _check_new(state_dir: Path) -> None:
    """Raise `StoreFailure` if the folder has what is made after the ledgers only."""
    is_making = (state_dir / NAME).exists()  # the files of the set may be half made then
    found = [path for pattern in LATER for path in sorted(state_dir.glob(pattern))]
    left = [
        path.relative_to(state_dir).as_posix()
        for path in found
        if not (is_making and path.parent == state_dir and _is_ours(path))
    ]
    if left:
        raise StoreFailure(
            f"{state_dir}: has {', '.join(left[:LEFT_NAMED_MAX])}, but no ledgers, which are made first: "
            "they were deleted or moved. They are not made again, because their plays would be lost and the "
            "client's totals would fall. Nothing was changed: put the ledgers back; or restore the whole "
            f"state from a backup with `{service_command()} restore DIR`; or, to begin at zero, move all of "
            f"{state_dir} away, or use another supervisor.state_dir"
        )


def _is_ours(path: Path) -> bool:
    """Whether `make_files` makes a file of this name, or SQLite beside it."""
    return ".sqlite" in path.name


def check_complete(state_dir: str | Path, found: LedgerSet) -> None:
    """Raise `StoreFailure` if a file of a set is gone."""
    gone = [str(path) for path in found.files(state_dir) if not path.exists()]
    if gone:
        raise StoreFailure(
            f"{', '.join(gone)}: missing, expected with the other ledgers of {state_dir}: it was deleted or "
            "moved. It is not made again, because its plays would be lost. Put it back or restore it from a "
            "backup, or use another supervisor.state_dir"
        )


def make_files(state_dir: str | Path, new: LedgerSet) -> None:
    """Make the empty files of a set."""
    new.outbox(state_dir).parent.mkdir(parents=True, exist_ok=True)
    make(new.outbox(state_dir), OUTBOX_SCHEMA, new.facts())
    for shard in range(new.shards):
        make(new.ledger(state_dir, shard), LEDGER_SCHEMA, new.facts(shard))


def write(state_dir: str | Path, ledgers: LedgerSet) -> None:
    """Write `ledgers.json`, replacing it in one step even if the power is cut."""
    target = Path(state_dir) / NAME
    draft = target.with_suffix(".draft")
    with open(draft, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(ledgers)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    sync(target.parent)


def _make(state_dir: str, shards: int) -> LedgerSet:
    new = LedgerSet(os.urandom(16).hex(), shards, stage=LedgerSetStage.MAKING)
    # Write MAKING first: if this process is killed in between, nothing was counted in its files.
    write(state_dir, new)
    make_files(state_dir, new)
    new = msgspec.structs.replace(new, stage=LedgerSetStage.MADE)
    write(state_dir, new)
    log.info("%s: %s", state_dir, counted(shards, "new ledger"))
    return new


def _found_without_name(state_dir: Path) -> LedgerSet | None:
    """The only set of ledgers in a folder without `ledgers.json`, from a backup or an earlier version."""
    folders = ["", *sorted(path.name for path in state_dir.glob(f"{RESHARDED}*") if path.is_dir())]
    names = ("counter-*.sqlite", "dispatcher.sqlite")
    files = {
        folder: sorted(one for name in names for one in (state_dir / folder).glob(name)) for folder in folders
    }
    files = {folder: paths for folder, paths in files.items() if paths}
    if not files:
        return None
    if len(files) > 1:
        raise StoreFailure(
            f"{state_dir / NAME}: missing, and there are ledgers in {len(files)} folders "
            f"({', '.join(str(state_dir / one) for one in files)}): restore it from a backup, or move away "
            "all folders but the one to use"
        )
    [(folder, paths)] = files.items()
    with open_snapshot(paths[-1]) as connection:  # the dispatcher's store, if it exists
        facts = check_facts(paths[-1], connection, {})
    shards = facts.get("shards")
    if type(shards) is not int:
        raise refused(paths[-1], f"its number of shards is {shards}")
    return LedgerSet(str(facts.get("state") or os.urandom(16).hex()), shards, folder)
