"""The mark of a store: a small file beside it that says how many commits were promised.

A store is older than it should be if its -wal is missing or cut short by a bad byte, or if it is from a
backup. SQLite can't notice that. Plays that were finished on the queue would be lost in silence. So after
each commit, its number is written to the mark. A kill of the process does not undo that write. A store that
is behind its mark has lost commits. The dispatcher's store counts only the commits that store a batch.

A mark that is missing or empty promises nothing. That is said when its store is opened. Whoever empties a
mark tells the store to go on without the commits that it lacks.

A power cut may undo commits (with `synchronous = NORMAL`) but not the mark. So the mark names the boot of the
machine in which it was written, or says that the commits were synced: those no power cut may undo.
"""

import logging
import os
import struct
from pathlib import Path

from ..system.exits import StoreFailure
from ..system.regular import open_regular

log = logging.getLogger(__name__)

# SQLite syncs a -wal when it has 1,000 pages, and a commit writes one page or more.
POWER_CUT_COMMITS_MAX = 1000
UNTOLD_COMMITS = 1  # a kill before the mark is made leaves a store with as many
_LAYOUT = struct.Struct("<Q16s")
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_EVERY_BOOT = b"\xff" * 16


class Mark:
    """The open mark of one store. Raises `StoreFailure` if it can't be made or opened for writing."""

    def __init__(self, store: Path):
        path = mark_path(store)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailure(
                f"{path}: cannot be written ({error.strerror}), expected a small file beside its store, of "
                "which nothing was changed: make room for it, see supervisor.state_dir"
            ) from error
        self._boot = _boot()

    def write(self, commits: int, *, is_synced: bool = False) -> None:
        """Promise this many commits. On a full disk the mark stays behind, which is safe.

        `is_synced`: whether they are on the disk, so that not even a power cut may undo them.
        """
        boot = _EVERY_BOOT if is_synced else self._boot
        try:  # no `contextlib.suppress`: each commit comes here
            os.pwrite(self._descriptor, _LAYOUT.pack(commits, boot), 0)
        except OSError:
            pass

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def mark_path(store: Path) -> Path:
    """The path of a store's mark."""
    return store.with_suffix(".mark")


def power_cut_lost(lost: int, same_boot: bool, synchronous: str) -> bool:
    """Whether a power cut explains that a store has lost commits. `lost`: how many.

    `same_boot`: whether the machine has not started since they were made.
    """
    return not same_boot and synchronous == "NORMAL" and lost <= POWER_CUT_COMMITS_MAX


def read_mark(store: Path) -> tuple[int, bool]:
    """How many commits are promised (0 if there is no mark), and whether no power cut can have undone any."""
    try:
        with open_regular(mark_path(store)) as file:
            content = file.read(_LAYOUT.size + 1)
    except OSError:
        return 0, True
    if len(content) != _LAYOUT.size:
        return 0, True
    commits, boot = _LAYOUT.unpack(content)
    return commits, boot in (_boot(), _EVERY_BOOT)


def promise_nothing(store: Path) -> None:
    """Make the mark of a store that was made from others, and checked: nothing was promised of it yet."""
    mark = Mark(store)
    mark.write(0)
    mark.close()


def say_if_untold(store: Path, path: Path, commits: int) -> None:
    """Log that a mark is missing, empty or cut short, if that is no new store's. `path`: the store's file."""
    try:
        is_whole = mark_path(store).stat().st_size == _LAYOUT.size
    except OSError:
        is_whole = False
    if not is_whole and commits > UNTOLD_COMMITS:
        log.warning(
            "%s: missing or empty, expected how many commits were made in %s. It goes on with the %d that it "
            "has; if it lost others, that is not noticed here",
            mark_path(store),
            path.name,
            commits,
        )


def is_emptied(store: Path) -> bool:
    """Whether somebody emptied the mark, to go on without commits that are lost."""
    try:
        return mark_path(store).stat().st_size == 0
    except OSError:
        return False


def _boot() -> bytes:
    """The id of this boot (16 bytes). On a system without such an id (macOS) it is always the same."""
    try:
        return bytes.fromhex(_BOOT_FILE.read_text(encoding="ascii").strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)
