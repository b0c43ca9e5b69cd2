"""The id of a state and the folder of its ledgers, for those who must not import a store.

`store/folder.py` makes them.
"""

import json
from pathlib import Path

from .regular import open_regular

NAME = "ledgers.json"


def read_state_id(state_dir: str | Path) -> str:
    """Return the id of the state in that folder; "" for a new state, or if the file can't be read."""
    return _read(state_dir, "state")


def ledgers_folder(state_dir: str | Path) -> str:
    """Return the name of the folder in which the ledgers are; "" for the state folder itself."""
    return _read(state_dir, "folder")


def _read(state_dir: str | Path, key: str) -> str:
    try:
        with open_regular(Path(state_dir) / NAME) as file:
            found = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return ""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""
