"""How many bytes each store has. Found by the names of the files: the supervisor does without the stores."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# A store is "<child>.sqlite" in the state folder or in that of a reshard, or any file in "<child>/".
_RESHARDS = "ledgers-"
_OWN_FOLDERS = ("nsqd", "client")


def store_bytes(state_dir: str | Path) -> dict[str, int]:
    """The bytes of each store in a state folder, with its -wal, by child. Leaves out files that are gone."""
    found = dict[str, int]()
    for child, file in _stores(state_dir):
        with contextlib.suppress(OSError):
            found[child] = found.get(child, 0) + file.stat().st_size
    return found


def _stores(state_dir: str | Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files of all stores, each with its child."""
    for entry in _entries(state_dir):
        if _is_store(entry.name):
            yield entry.name.partition(".")[0], entry
        elif entry.name.startswith(_RESHARDS) or entry.name in _OWN_FOLDERS:
            for file in _entries(entry.path):
                if _is_store(file.name):
                    yield entry.name if entry.name in _OWN_FOLDERS else file.name.partition(".")[0], file


def _is_store(name: str) -> bool:
    # A -shm is SQLite's index of the -wal: memory that processes share.
    return ".sqlite" in name and not name.endswith("-shm")


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
