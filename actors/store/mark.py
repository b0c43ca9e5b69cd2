"""The mark of a ledger: a small file beside it that says how many commits were promised.

A ledger is older than it should be if its -wal is missing or cut short by a bad byte, or if it is from a
backup. SQLite can't notice that. Plays that were finished on the queue would be lost in silence. So after
each commit, its number is written to the mark. A kill of the process does not undo that write. A ledger that
is behind its mark has lost commits.

A power cut may undo commits (with `synchronous = NORMAL`) but not the mark. So the mark names the boot of the
machine in which it was written, or says that the commits were synced: those no power cut may undo.
"""

import contextlib
import os
import struct
from pathlib import Path

_LAYOUT = struct.Struct("<Q16s")
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_EVERY_BOOT = b"\xff" * 16


class Mark:
    """The open mark of one ledger."""

    def __init__(self, ledger: Path):
        self._descriptor = os.open(mark_path(ledger), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._boot = _boot()

    def write(self, commits: int, *, is_synced: bool = False) -> None:
        """Promise this many commits. On a full disk the mark stays behind, which is safe.

        `is_synced`: whether they are on the disk, so that not even a power cut may undo them.
        """
        boot = _EVERY_BOOT if is_synced else self._boot
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _LAYOUT.pack(commits, boot), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def mark_path(ledger: Path) -> Path:
    """The path of a ledger's mark."""
    return ledger.with_suffix(".mark")


def read_mark(ledger: Path) -> tuple[int, bool]:
    """How many commits are promised (0 if there is no mark), and whether no power cut can have undone any."""
    try:
        content = mark_path(ledger).read_bytes()
    except OSError:
        return 0, True
    if len(content) != _LAYOUT.size:
        return 0, True
    commits, boot = _LAYOUT.unpack(content)
    return commits, boot in (_boot(), _EVERY_BOOT)


def _boot() -> bytes:
    """The id of this boot (16 bytes). On a system without such an id (macOS) it is always the same."""
    try:
        return bytes.fromhex(_BOOT_FILE.read_text(encoding="ascii").strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)
