"""Where a running service says how to reach it: one JSON file in its state folder.

The supervisor writes it once everything is up, with the ports that were really taken; commands and
the producer read it. A file left behind by a killed supervisor is told by its pid.
"""

import json
import os
from pathlib import Path
from typing import Any

NAME = "service.json"


def write(state_dir: str, facts: dict[str, Any]) -> None:
    """Replace the file at once: a reader sees the old facts or the new, never half."""
    target = Path(state_dir) / NAME
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    draft.replace(target)


def read(state_dir: str) -> dict[str, Any] | None:
    """What the running service says of itself; None when none runs on that folder."""
    try:
        facts = json.loads((Path(state_dir) / NAME).read_text(encoding="utf-8"))
        os.kill(facts["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts


def remove(state_dir: str) -> None:
    """Say that the service no longer runs."""
    (Path(state_dir) / NAME).unlink(missing_ok=True)


def lock_path(state_dir: str) -> Path:
    """What the running service holds a lock on."""
    return Path(state_dir) / "service.lock"
