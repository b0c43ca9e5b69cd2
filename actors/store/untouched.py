"""A refused store is left as it was: also what SQLite makes beside it to read it.

To read a store in WAL mode, SQLite makes a -shm. It also makes an empty -wal, unless there is one. It
writes in a -shm that a kill has left. A connection that only reads changes nothing else.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..system.locks import try_lock


@contextlib.contextmanager
def left_if_refused(paths: Iterable[Path], held: Path | None = None) -> Iterator[None]:
    """Put back what was beside these stores when the block, which only reads them, is left.

    `held`: the store of which the caller holds the lock, to open it next. What is beside that one is put
    back only if the block raises. Stores that another process has open are left alone.
    """
    before = {path: _Beside(path) for path in paths}
    refused = True
    try:
        yield
        refused = False
    finally:
        for path, beside in before.items():
            if refused or path != held:
                with _free(path, held) as is_free:
                    if is_free:
                        beside.put_back()


class _Beside:
    """The -wal and the -shm of a store at one moment."""

    def __init__(self, path: Path):
        self._wal, self._shm = Path(f"{path}-wal"), Path(f"{path}-shm")
        self._had_wal = self._wal.exists()
        self._index = self._shm.read_bytes() if self._shm.exists() else None

    def put_back(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # another reader has put it back
            if not self._had_wal and not self._wal.stat().st_size:
                self._wal.unlink()
        if self._index is None:
            self._shm.unlink(missing_ok=True)
        elif not self._shm.exists() or self._shm.read_bytes() != self._index:
            self._shm.write_bytes(self._index)


@contextlib.contextmanager
def _free(path: Path, held: Path | None) -> Iterator[bool]:
    """Whether no other process has the store open, nor opens it in the block."""
    lock_path = path.with_suffix(".lock")
    if path == held or not lock_path.exists():
        yield True
        return
    lock = try_lock(lock_path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)
