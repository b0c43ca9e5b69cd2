"""A value from files that is read again when they change: secrets and certificates are replaced while we run.

A change shows in a file's inode, size or times. The looks are at most one a second. If the new files can't be
used, the value stays as it was, and one line of the log says why.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

from .exits import Failure

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
Stamp: TypeAlias = tuple[int, ...]
Value = TypeVar("Value")


class WatchedFiles(Generic[Value]):
    """The value of some files. `paths` that are empty are left out."""

    def __init__(
        self,
        paths: Iterable[str],
        read: Callable[[], Value],
        clock: Callable[[], float] = time.monotonic,
    ):
        """`read`: makes the value; raises `Failure`, as this does. `clock`: returns seconds."""
        self._paths = [path for path in paths if path]
        self._read = read
        self._clock = clock
        self._look_s: float
        self._stamps: list[Stamp | None]
        self._value: Value
        self.reload()

    def value(self) -> Value:
        """The newest value that could be read. Never raises."""
        if self._paths and self._clock() >= self._look_s:
            self._look_s = self._clock() + LOOK_EVERY_S
            if self._stamps != self._stamp_all():
                try:
                    self.reload()
                    log.info("%s changed and was read again", ", ".join(self._paths))
                except Failure as error:
                    log.warning("%s; what was read before stays in force", error)
        return self._value

    def reload(self) -> None:
        """Read the files now. Raises `Failure` if they can't be used; the value stays as it was then."""
        self._look_s = self._clock() + LOOK_EVERY_S
        # Before the files are read: a change meanwhile shows at the next look.
        self._stamps = self._stamp_all()
        self._value = self._read()

    def _stamp_all(self) -> list[Stamp | None]:
        return [stamp_of(path) for path in self._paths]


def stamp_of(path: str) -> Stamp | None:
    """What changes whenever the file does; None if it can't be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def reload_all(*several: WatchedFiles[Any]) -> None:
    """Read all of these again now. Raises `Failure` with every problem; what was read before holds there."""
    problems = []
    for files in several:
        try:
            files.reload()
        except Failure as error:
            problems.append(str(error))
    if problems:
        raise Failure("; ".join(problems))
