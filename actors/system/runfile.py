"""Where a running service says how to reach it: one JSON file in its state folder.

The supervisor writes it once everything is up, with the ports that were really taken; commands and
the producer read it. The supervisor holds a lock beside it as long as it lives, so a file that a killed
one left behind is not believed, whoever has its pid by now.
"""

import fcntl
import json
from pathlib import Path
from typing import Any

from .exits import Failure

NAME = "service.json"


def write(state_dir: str, facts: dict[str, Any]) -> None:
    """Replace the file at once: a reader sees the old facts or the new, never half. Raises `Failure`."""
    target = Path(state_dir) / NAME
    draft = target.with_suffix(".draft")
    try:
        draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise Failure(
            f"{target}: cannot be written ({error.strerror}), and nobody could reach the service without it: "
            "make room, or use another supervisor.state_dir"
        ) from error


def read(state_dir: str | Path) -> dict[str, Any] | None:
    """What the running service says of itself; None when none runs on that folder.

    What is no run file of ours is not believed: a signal to a pid of 0 or less would go to many.
    """
    if not _held(lock_path(state_dir)):
        return None
    try:
        facts = json.loads((Path(state_dir) / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or type(facts.get("pid")) is not int or facts["pid"] < 2:
        return None
    return facts if isinstance(facts.get("admin_address"), str) else None


def remove(state_dir: str) -> None:
    """Say that the service no longer runs."""
    (Path(state_dir) / NAME).unlink(missing_ok=True)


def lock_path(state_dir: str | Path) -> Path:
    """What the running service holds a lock on."""
    return Path(state_dir) / "service.lock"


def _held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
