"""The id of a state, for those who must not import a store. `store/folder.py` makes it."""

import json
from pathlib import Path

NAME = "ledgers.json"


def read_state_id(state_dir: str | Path) -> str:
    """Return the id of the state in that folder; "" for a new state, or if the file can't be read."""
    try:
        found = json.loads((Path(state_dir) / NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    state = found.get("state") if isinstance(found, dict) else None
    return state if isinstance(state, str) else ""
