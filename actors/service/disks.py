"""How full the disks are that the service writes to, and a log line a minute while one is nearly full.

The supervisor looks by itself, so no child and no store has to answer. A disk is a file system. It is shown
once, under the first of its places.
"""

import asyncio
import contextlib
import logging
import os
import stat
import time
from collections.abc import Callable

from msgspec import Struct

from ..config import Settings
from ..core.recurring import Recurring
from ..supervision.loop import until_next

log = logging.getLogger(__name__)

NEARLY_FULL = 0.9  # of what users may fill: df shows the same share
INTERVAL_S = 5.0
# By place: what is written there, and what happens once its disk is full.
PLACES = {
    "state": ("the state", "plays and publishes wait, and nothing is lost"),
    "record": ("client.record", "publishes are missing in the recording"),
    "stdout": ("the file that stdout is", "publishes are missing there"),
    "stderr": ("the file that stderr is", "log lines are missing there"),
}


class Disk(Struct, frozen=True):
    """A file system. `place`: of `PLACES`. `path`: of the state folder or of the file.

    `total_bytes`: its size. `free_bytes`: what may still be written. `full`: the share that is used, 0 to 1.
    """

    place: str
    path: str
    total_bytes: int
    free_bytes: int
    full: float

    @property
    def nearly_full(self) -> bool:
        """Whether it is time to make room."""
        return self.full >= NEARLY_FULL


def disks(settings: Settings, stdout: int = 1, stderr: int = 2) -> list[Disk]:
    """The disks of a service, by place. A place that can't be looked at is left out.

    `stdout`, `stderr`: file descriptors. They count only if they are files.
    """
    places: dict[str, str | int] = {"state": settings.supervisor.state_dir}
    if settings.client.enabled and settings.client.record:
        places["record"] = settings.client.record
    places |= {"stdout": stdout, "stderr": stderr}
    found: dict[int, Disk] = {}
    for place, where in places.items():
        with contextlib.suppress(OSError):  # it is not there yet, or closed
            status = os.stat(where)
            if isinstance(where, str) or stat.S_ISREG(status.st_mode):
                found.setdefault(status.st_dev, _disk(place, where))
    return list(found.values())


def _disk(place: str, where: str | int) -> Disk:
    """Raises `OSError`."""
    told = os.statvfs(where)
    used, free = told.f_blocks - told.f_bfree, told.f_bavail
    path = where if isinstance(where, str) else _name_of(where)
    full = used / (used + free) if used + free else 0.0  # some file systems have no size
    return Disk(place, path, told.f_blocks * told.f_frsize, free * told.f_frsize, full)


def _name_of(descriptor: int) -> str:
    """The path of an open file; "" where the system does not tell."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return ""


class DiskWatch:
    """Logs that a disk is nearly full: at once, once a minute while it lasts, and when it is over."""

    def __init__(self, look: Callable[[], list[Disk]]):
        self._look = look
        self._troubles: dict[str, Recurring] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.note(self._look(), time.monotonic_ns() // 1_000_000)
            await asyncio.sleep(until_next(INTERVAL_S, time.monotonic()))

    def note(self, found: list[Disk], now_ms: int) -> None:
        """Log what is due. `now_ms`: of a clock that is never set."""
        for disk in found:
            trouble = self._troubles.setdefault(disk.place, Recurring())
            what, then = PLACES[disk.place]
            where = f"{what} ({disk.path})" if disk.path else what
            room = f"{disk.full:.0%} full, {disk.free_bytes / 1e6:,.1f} MB free"
            if disk.nearly_full:
                if trouble.seen(now_ms):
                    log.warning("the disk of %s is %s: make room; once it is full, %s", where, room, then)
                continue
            lasted_ms = trouble.over(now_ms)
            if lasted_ms is not None:
                log.info("the disk of %s has room again, after %.1f s: %s", where, lasted_ms / 1000, room)
