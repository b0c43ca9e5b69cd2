"""The file of the history: rings of records of one size, each in a place of its own that its time chooses.

Promises: the file has its full size from the start, is written in place and never grows; a record that a kill
or a power cut tore is left out; a file that can't be used is replaced, and one that can't be replaced or
written costs the figures of earlier times, never the start. Knows nothing of what the values mean.
"""

import contextlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.recurring import Recurring
from ..system.regular import check_regular

log = logging.getLogger(__name__)

NAME = "history.ring"
_MAGIC = b"playtally history 1\n"
_HEADER_BYTES = 64
_CHECKSUM = struct.Struct("<Q")


class Ring(NamedTuple):
    """`places`: how many records it holds. `step_s`: for how many seconds each stands."""

    step_s: int
    places: int

    @property
    def span_s(self) -> int:
        """How many seconds it goes back."""
        return self.step_s * self.places


class Record(NamedTuple):
    """`time_s`: seconds since 1970. `values`: one for each series; NaN where there was none."""

    time_s: float
    values: tuple[float, ...]


class HistoryFile:
    """The records of some rings, in memory and in a file of a state folder."""

    def __init__(self, folder: Path, rings: Sequence[Ring], series: Sequence[str]):
        """`series`: the names of a record's values. A file with other ones, or other rings, is replaced."""
        self.path = folder / NAME
        self._rings = tuple(rings)
        self._record = struct.Struct(f"<{1 + len(series)}d")
        self._size = _CHECKSUM.size + self._record.size
        self._header = _header(self._rings, series)
        self._image = bytearray(self._header + bytes(self._size * sum(one.places for one in self._rings)))
        self._descriptor: int | None = None
        self._trouble = Recurring()

    def open(self) -> None:
        """Read the file, or make one. Logs what is wrong with it; raises nothing."""
        try:
            found = self._read()
            if found is None:
                self._make()
            else:
                self._image[:] = found
        except OSError as error:
            log.warning(
                "%s: %s; the charts have only what comes from now on, until the next start: delete it then",
                self.path,
                error.strerror,
            )

    def put(self, ring: Ring, record: Record) -> None:
        """Keep a record, in place of the one of a span ago. Logs a failure to write; raises nothing."""
        packed = self._record.pack(record.time_s, *record.values)
        at = self._at(ring, int(record.time_s // ring.step_s) % ring.places)
        self._image[at : at + self._size] = _CHECKSUM.pack(_sum_of(packed)) + packed
        if self._descriptor is None:
            return
        now_ms = time.monotonic_ns() // 1_000_000
        try:
            os.pwrite(self._descriptor, self._image[at : at + self._size], at)
        except OSError as error:
            if self._trouble.seen(now_ms):
                log.warning(
                    "%s: cannot be written (%s); the charts lack this time after the next start",
                    self.path,
                    error.strerror,
                )
        else:
            self._trouble.over(now_ms)

    def records(self, ring: Ring, now_s: float) -> list[Record]:
        """The records of a ring that are not older than its span, nor later than `now_s`, by time."""
        found = []
        for place in range(ring.places):
            at = self._at(ring, place)
            packed = bytes(self._image[at + _CHECKSUM.size : at + self._size])
            (checksum,) = _CHECKSUM.unpack_from(self._image, at)
            if checksum and checksum == _sum_of(packed):
                time_s, *values = self._record.unpack(packed)
                if now_s - ring.span_s < time_s <= now_s:
                    found.append(Record(time_s, tuple(values)))
        return sorted(found)

    def close(self) -> None:
        """Close the file. What is put from now on is kept in memory alone."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _at(self, ring: Ring, place: int) -> int:
        before = self._rings[: self._rings.index(ring)]
        return _HEADER_BYTES + self._size * (sum(one.places for one in before) + place)

    def _read(self) -> bytes | None:
        """The bytes of the file; None if no file can be used. Raises `OSError`."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with _closed_unless_kept(descriptor) as kept:
            check_regular(os.fstat(descriptor).st_mode)
            with open(descriptor, "rb", closefd=False) as file:
                found = file.read(len(self._image) + 1)
            if len(found) == len(self._image) and found.startswith(self._header):
                os.fchmod(descriptor, 0o600)
                self._descriptor = kept.pop()
                return found
        log.warning(
            "%s: damaged, or made by another version; it is replaced, and the charts begin again", self.path
        )
        return None

    def _make(self) -> None:
        """Make a file in which all places are empty, in place of any there is. Raises `OSError`."""
        draft = self.path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with _closed_unless_kept(descriptor) as kept:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(self._image)  # all of it, so that no later write needs room
            draft.replace(self.path)
            self._descriptor = kept.pop()


@contextlib.contextmanager
def _closed_unless_kept(descriptor: int) -> Iterator[list[int]]:
    """Close the descriptor at the end unless it was taken out of the list."""
    kept = [descriptor]
    try:
        yield kept
    finally:
        for one in kept:
            os.close(one)


def _header(rings: Sequence[Ring], series: Sequence[str]) -> bytes:
    """It differs wherever records differ, so that none is read as what it is not."""
    layout = zlib.crc32(repr((list(map(tuple, rings)), list(series))).encode())
    return (_MAGIC + b"%08x\n" % layout).ljust(_HEADER_BYTES, b"\n")


def _sum_of(packed: bytes) -> int:
    """Never 0, which an empty place has."""
    return zlib.crc32(packed) + 1
