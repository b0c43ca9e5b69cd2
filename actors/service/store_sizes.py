"""How many bytes each store has. Found by the names of the files: the supervisor does without the stores."""

import contextlib
from pathlib import Path

# A store is "<child>.sqlite" in the state folder or in that of a reshard, or any file in "<child>/".
_FOLDERS = ("", "ledgers-*/")
_OWN_FOLDERS = ("nsqd", "client")


def store_bytes(state_dir: str) -> dict[str, int]:
    """The bytes of each store in a state folder, with its -wal, by child. Leaves out files that are gone."""
    root, found = Path(state_dir), dict[str, int]()
    files = [(path.name.partition(".")[0], path) for one in _FOLDERS for path in root.glob(f"{one}*.sqlite*")]
    files += [(child, path) for child in _OWN_FOLDERS for path in root.glob(f"{child}/*.sqlite*")]
    for child, path in files:
        if path.name.endswith("-shm"):  # SQLite's index of the -wal: memory that processes share
            continue
        with contextlib.suppress(OSError):
            found[child] = found.get(child, 0) + path.stat().st_size
    return found
