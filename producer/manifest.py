"""The manifest: what the queue acknowledged, as JSON. The service's totals can be compared with it.

The file is never half written. `problem` finds out before the first play whether it can be written.
The file name "-" means stdout.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from actors.supervision.printable import Lines

STDOUT = "-"


def problem(target: str) -> str | None:
    """Why the manifest cannot be written to `target`, None if it can. Leaves no file behind."""
    if target == STDOUT:
        return None
    path = Path(target)
    try:
        if path.is_dir():
            return f"--manifest {target!r}: is a folder, expected the name of a file"
        if not path.parent.is_dir():
            return (
                f"--manifest {target!r}: there is no folder {str(path.parent)!r}, expected a file "
                "in an existing one; make the folder first"
            )
        # Only a try is sure to tell: access rights do not show that a disk is read-only.
        draft = _draft(path)
        draft.touch(exist_ok=True)
        draft.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"--manifest {target!r}: cannot be written ({reason}), expected a writable file"
    return None


def describe(seed: int, totals: dict[str, int], unacknowledged: dict[str, int]) -> dict[str, Any]:
    """The manifest of a run. `unacknowledged` holds the plays whose outcome is unknown."""
    described: dict[str, Any] = {"plays": sum(totals.values()), "seed": seed, "totals": totals}
    if unacknowledged:
        described["unacknowledged"] = unacknowledged
    return described


def write(target: str, manifest: dict[str, Any]) -> None:
    """Replace the file: a reader sees the old manifest or the new one. Raises `OSError`."""
    text = json.dumps(manifest, indent=1) + "\n"
    if target == STDOUT:
        sys.stdout.write(Lines(text))
        sys.stdout.flush()
        return
    path = Path(target)
    draft = _draft(path)
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.draft")
