"""Whether the state folder, with its stores, is still where it was. Without it, plays are lost in silence.

A store that is deleted is written on all the same: its process has it open, and all that is in it is lost
when the process ends. A store that is moved goes on in its new place, and a restarted child would not find
it.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

from ..config import Settings
from ..system.state_id import ledgers_folder

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
        self._on_lost = on_lost

    def all_made(self) -> None:
        """From now on look for each store too: all children run, so all stores are made."""
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
        """Look each second until something is gone. In a thread, as a file system may hang."""
        while not (lost := await asyncio.to_thread(self.lost)):
            await asyncio.sleep(LOOK_INTERVAL_S)
        self._on_lost(lost)


def _is(path: Path, held: int | None = None) -> bool:
    """Whether a path is there, and leads to the file that `held` is a descriptor of, if any."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno not in _GONE
    return held is None or os.path.samestat(found, os.fstat(held))


def _words(path: Path, what: str) -> str:
    return (
        f"{path}: {what} while the service ran. It ends, because what it counts from now on would be lost; "
        "plays that are not finished stay on the queue. Put it back, or restore a backup, before the next "
        "start"
    )
