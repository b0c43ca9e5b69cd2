"""Whether the state folder, with its stores, is still where it was. Without it, plays are lost in silence.

The run file is written again if somebody removes it.

A store that is deleted is written on all the same: its process has it open, and all that is in it is lost
when the process ends. A store that is moved goes on in its new place, and a restarted child would not find
it.
"""

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import Settings
from ..supervision.loop import until_next
from ..system import runfile
from ..system.exits import Failure
from ..system.state_id import ledgers_folder
from ..system.watched_files import Stamp, stamp_of

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}  # any other error may pass


class StateWatch:
    """Looks at one state folder, which the service has locked, from now on."""

    def __init__(self, settings: Settings, on_lost: Callable[[str], None]):
        """`on_lost` is called with what is wrong, in words, each time that a look finds it."""
        self._settings = settings
        self._folder = Path(settings.supervisor.state_dir)
        self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stores: list[Path] = []
        self._facts: dict[str, Any] = {}
        self._stamp: Stamp | None = ()  # of the run file, when it was right
        self._closed = threading.Event()
        self._on_lost = on_lost

    def all_made(self, facts: dict[str, Any]) -> None:
        """From now on look for each store too: all children run, so all stores are made.

        The run file has these `facts`; it is written again if somebody removes or changes it.
        """
        self._facts = facts
        settings = self._settings
        folders = (
            [ledgers_folder(self._folder)]
            + ["nsqd"] * settings.embedded
            + ["client"] * settings.client.enabled
        )
        self._stores = sorted({path for one in folders for path in (self._folder / one).glob("*.sqlite")})

    def lost(self) -> str:
        """Return what is gone, in words; "" if all is there."""
        if not _is(self._folder, self._held):
            return _words(self._folder, "the state folder was deleted, moved or unmounted")
        gone = [path for path in self._stores if not _is(path)]
        return _words(gone[0], "it was deleted or moved") if gone else ""

    def look(self) -> None:
        """Look now. Raises `OSError` if something is gone, after `on_lost`: no child may start then."""
        if lost := self.lost():
            self._on_lost(lost)
            raise OSError(lost)

    async def run(self) -> None:
        """Look each second until something is gone, or until `close`. In a thread: a file system may hang."""
        try:
            lost = await asyncio.to_thread(self._look_on)
        finally:
            self.close()
        if lost:
            self._on_lost(lost)

    def close(self) -> None:
        """Look no more: the run file may be removed now."""
        self._closed.set()

    def _look_on(self) -> str:
        while not (lost := self.lost()):
            self._keep_run_file()
            if self._closed.wait(until_next(LOOK_INTERVAL_S, time.monotonic())):
                break
        return lost

    def _keep_run_file(self) -> None:
        """Write the run file again if it is not as it was: without it no command reaches the service."""
        state_dir, path = str(self._folder), str(self._folder / runfile.NAME)
        stamp = stamp_of(path)  # before it is read: a change meanwhile shows at the next look
        if not self._facts or stamp == self._stamp:
            return
        if (runfile.read(state_dir) or {}).get("secret") == self._facts["secret"]:
            self._stamp = stamp
            return
        try:
            runfile.write(state_dir, self._facts)
        except Failure:
            return  # a full disk: tried again
        log.warning("%s: was removed or changed, and is written again", path)


def _is(path: Path, held: int | None = None) -> bool:
    """Whether a path is there, and leads to the file that `held` is a descriptor of, if any."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno not in _GONE
    return held is None or os.path.samestat(found, os.fstat(held))


def _words(path: Path, what: str) -> str:
    return (
        f"{path}: {what} while the service ran. The service ends, because what it counted now would be lost; "
        "plays that are not finished stay on the queue. Put it back, or restore a backup, before the next "
        "start"
    )
