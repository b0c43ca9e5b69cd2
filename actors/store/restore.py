"""Puts a backup in the place of a state, while no service runs.

Nothing is replaced before the backup is copied beside the state and checked. Then `ledgers.json` says that a
restore goes on, what is replaced is moved to a folder of its own, and the copy is moved in. If `restore` is
killed in between, every start is refused until it is run again.

The state gets a new id, and so do the batches' keys: plays that were counted after the backup are gone, so
the client may have greater totals, and every total is published again.
"""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from ..core.words import counted
from ..system.exits import Failure, StoreFailure
from ..system.flushing import sync
from ..system.locks import lock_file
from ..system.reasons import reason_of, reason_with_path
from ..system.regular import open_regular
from ..system.state_id import NAME
from .backup import MANIFEST, Manifest, check_copy, digest_of, plays_in, private_files
from .database import Database, locked
from .elsewhere import forget_elsewhere
from .folder import QUEUE, RESHARDED, LedgerSet, LedgerSetStage, read, write
from .mark import promise_nothing
from .outbox import go_on_without
from .reshard import hold

STAGED = "restoring"
REPLACED = "replaced-"  # followed by the time
MANIFEST_BYTES_MAX = 1 << 20
NAMED_MAX = 5
_OTHER = re.compile(r"(?!run/|restoring/)[a-z]+/[a-z]+\.sqlite")  # the queue's journal, the client's store


class Restored(Struct, frozen=True):
    """What was restored. `replaced`: the folder with what was there before; None if there was nothing."""

    manifest: Manifest
    replaced: Path | None


def restore(source: Path, state_dir: str) -> Restored:
    """Replace the state by a backup. Raises `Failure`: if the backup is damaged, the state is as it was."""
    manifest = read_manifest(source)
    folder = Path(state_dir)
    if source.resolve().is_relative_to((folder / STAGED).resolve()):
        raise Failure(f"{source}: is where restore makes its copy, expected the backup elsewhere: move it")
    try:
        with private_files():
            folder.mkdir(parents=True, exist_ok=True)
            lock = hold(state_dir)
            try:
                try:
                    ledgers = _stage(source, manifest, folder / STAGED)
                except BaseException:
                    shutil.rmtree(folder / STAGED, ignore_errors=True)
                    raise
                return Restored(manifest, _replace(folder, manifest, ledgers))
            finally:
                os.close(lock)
    except OSError as error:
        raise Failure(f"{state_dir}: not restored ({reason_with_path(error)}); run restore again") from error


def read_manifest(source: Path) -> Manifest:
    """The manifest of a backup. Raises `Failure`."""
    path = source / MANIFEST
    try:
        with open_regular(path) as file:
            manifest = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Manifest)
    except (OSError, ValueError, RecursionError) as error:
        raise Failure(
            f"{path}: cannot be read ({reason_of(error)}), expected the folder of a finished backup, "
            "which has this file"
        ) from error
    names = {name for name in manifest.files if not _OTHER.fullmatch(name)}
    expected = {NAME, *(one.name for one in LedgerSet("", manifest.shards).files(source))}
    if names != expected:
        odd = ", ".join(sorted(map(repr, names ^ expected))[:NAMED_MAX])
        raise Failure(
            f"{path}: names other files than those of {counted(manifest.shards, 'ledger')} ({odd}), expected "
            "those alone, and the stores in folders of their own"
        )
    return manifest


def _stage(source: Path, manifest: Manifest, staged: Path) -> LedgerSet:
    """Copy a backup to the folder `staged`, check the copy, and make it the state of a new id."""
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    for name, expected in manifest.files.items():
        (staged / name).parent.mkdir(exist_ok=True)
        if not _copied(source / name, staged / name, expected.bytes) or digest_of(staged / name) != expected:
            raise StoreFailure(
                f"{source / name}: its length or its SHA-256 is not as {MANIFEST} says: it was changed. "
                "Nothing is restored: use another backup"
            )
    check_copy(staged, [staged / name for name in manifest.files if name != NAME])
    if (plays := plays_in(staged, LedgerSet("", manifest.shards))) != manifest.plays:
        raise StoreFailure(f"{source / MANIFEST}: says {manifest.plays} plays, and its ledgers have {plays}")
    ledgers = LedgerSet(os.urandom(16).hex(), manifest.shards)
    for path in ledgers.files(staged):
        _renew(path, ledgers, path == ledgers.outbox(staged))
        promise_nothing(path)
    if (staged / QUEUE).is_dir():
        promise_nothing(staged / QUEUE)
    for name in manifest.files:
        sync(staged / name)
    return ledgers


def _copied(source: Path, target: Path, size: int) -> bool:
    """Copy a file if it has so many bytes. Returns whether it has. Raises `StoreFailure`, `OSError`."""
    try:
        file = open_regular(source)
    except FileNotFoundError as error:
        raise StoreFailure(f"{source}: missing, expected with the rest of the backup") from error
    except OSError as error:
        raise StoreFailure(
            f"{source}: cannot be read ({reason_of(error)}), expected a file of the backup"
        ) from error
    with file, open(target, "wb") as copy:
        if os.fstat(file.fileno()).st_size != size:
            return False
        shutil.copyfileobj(file, copy)
    return True


def _renew(path: Path, ledgers: LedgerSet, is_outbox: bool) -> None:
    """Give a store the new state's id. The dispatcher's gets other keys, and publishes every total again."""
    with locked(path) as lock:
        database = Database(path, "FULL", lock)
    with contextlib.closing(database), database.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('state', ?)", (ledgers.state,))
        if is_outbox:
            go_on_without(connection, "a backup was restored")


def _replace(folder: Path, manifest: Manifest, ledgers: LedgerSet) -> Path | None:
    """Move the present state away and the staged one in. Returns the folder with what was there before."""
    staged, before = folder / STAGED, read(folder)
    goes_on = before is not None and before.stage is LedgerSetStage.RESTORING
    replaced = folder / before.folder if before is not None and goes_on else _new_folder(folder)
    present = _present(folder, manifest)
    _wait_for_actors(present)
    if present:
        replaced.mkdir(exist_ok=True)
    if before is not None and not goes_on:
        shutil.copyfile(folder / NAME, replaced / NAME)
    write(folder, structs.replace(ledgers, stage=LedgerSetStage.RESTORING, folder=replaced.name))
    forget_elsewhere(folder)
    for path in present:
        if not (replaced / path.name).exists():
            path.rename(replaced / path.name)
        elif path.name != NAME:
            _remove(path)  # a restore that was killed has moved it in: all that was there before it is moved
    for path in staged.iterdir():
        if path.name != NAME:
            path.rename(folder / path.name)
    for one in (folder, *([replaced] if present else [])):
        sync(one)
    write(folder, ledgers)
    shutil.rmtree(staged)
    return replaced if present else None


def _wait_for_actors(present: list[Path]) -> None:
    """Wait until no actor has a store open: one may not have noticed that its supervisor was killed."""
    for path in present:
        for one in path.rglob("*.lock") if path.is_dir() else [path.with_suffix(".lock")]:
            if one.exists():
                os.close(lock_file(one))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _present(folder: Path, manifest: Manifest) -> list[Path]:
    """The files and folders of the state that the backup replaces."""
    tops = {Path(name).parts[0] for name in manifest.files if "/" in name}
    patterns = ["counter-*", "dispatcher.*", f"{RESHARDED}*"]
    patterns += [pattern for top in tops for pattern in (top, f"{top}.mark")]
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _new_folder(folder: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"{REPLACED}{stamp}{more}" for more in ("", *(f"-{number}" for number in range(2, 100))))
    return next(folder / name for name in names if not (folder / name).exists())
