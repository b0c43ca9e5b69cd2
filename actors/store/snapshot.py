"""A copy of a store in memory, for who reads it beside its process: `totals` and `totals --verify`.

SQLite can't shorten a -wal while a reader is inside a transaction. So a snapshot copies the file, which takes
milliseconds, and then nothing holds the store. It takes as much memory as the file has bytes. The file may
be on a medium that can't be written. A store of an earlier format is upgraded in the copy.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..system.exits import StoreFailure
from ..system.locks import LOCK_TIMEOUT_S
from ..system.temporary import scratch_folder
from .database import check_whole, refused, uri_of
from .formats import is_earlier, upgrade

# SQLite makes a -shm beside the file, even to read it. These are its errors where it can't.
_NEEDS_SHM = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


@contextlib.contextmanager
def open_snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of a store as of one commit. SQLite errors in the block raise `StoreFailure`."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as snapshot:
        try:
            check_whole(path)
            _copy(path, snapshot)
        except sqlite3.Error as error:
            raise refused(path, error) from error
        except OSError as error:
            raise StoreFailure(
                f"{path}: cannot be read ({error.strerror}), expected a file that this user may read, and "
                "room for a copy of it in the folder for temporary files (TMPDIR)"
            ) from error
        try:
            if is_earlier(snapshot):
                upgrade(snapshot)
            yield snapshot
        except sqlite3.Error as error:
            raise refused(path, error) from error


def _copy(path: Path, snapshot: sqlite3.Connection) -> None:
    try:
        _back_up(uri_of(path, "ro"), snapshot)
        return
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NEEDS_SHM:
            raise
    wal = Path(f"{path}-wal")
    if not wal.exists() or not wal.stat().st_size:
        _back_up(f"{uri_of(path, 'ro')}&immutable=1", snapshot)
        return
    with scratch_folder("snapshot") as folder:
        copy = folder / path.name
        shutil.copyfile(path, copy)
        shutil.copyfile(wal, f"{copy}-wal")
        _back_up(uri_of(copy, "rw"), snapshot)


def _back_up(uri: str, snapshot: sqlite3.Connection) -> None:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=LOCK_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.backup(snapshot)
