"""How many commits a ledger has promised, in a small file beside it.

SQLite begins where its files end: without its -wal, or with one that a bad byte cuts short, or with
a file from a backup, a ledger is merely older, and SQLite has no way to say so. What the queue was told
is done would be lost in silence. So after each commit its number is written here, which a kill of the
process does not undo. A ledger that is behind its mark has lost commits.

A power cut may take commits (with `synchronous = NORMAL`) and keep the mark, so the mark names the boot
of the machine that it was written in.
"""

import contextlib
import os
import struct
from pathlib import Path

_LAYOUT = struct.Struct("<Q16s")
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


class Mark:
    """The open mark of one ledger."""

    def __init__(self, ledger: Path):
        self._descriptor = os.open(mark_path(ledger), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._boot = _boot()

    def write(self, commits: int) -> None:
        """Say that so many commits are promised. On a full disk the mark stays behind, which is safe."""
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _LAYOUT.pack(commits, self._boot), 0)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def mark_path(ledger: Path) -> Path:
    """Where a ledger's mark is."""
    return ledger.with_suffix(".mark")


def read_mark(ledger: Path) -> tuple[int, bool]:
    """How many commits are promised (0 where nothing says so), and whether the machine ran since."""
    try:
        content = mark_path(ledger).read_bytes()
    except OSError:
        return 0, True
    if len(content) != _LAYOUT.size:
        return 0, True
    commits, boot = _LAYOUT.unpack(content)
    return commits, boot == _boot()


def _boot() -> bytes:
    """This boot of the machine; the same for all where it can't be told (macOS)."""
    try:
        return bytes.fromhex(_BOOT_FILE.read_text(encoding="ascii").strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)
