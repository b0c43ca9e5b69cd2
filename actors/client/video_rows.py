"""The videos in the client's file: parts of their table, and what changed since these were written.

A write adds one row to `changes`, however many videos it has: a row for each video would rewrite a page of
the file for each. It also writes the parts that were changed longest ago (`core/stale_parts.py`): as many as
`PARTS_A_PART_CHANGED` says. So `changes` has some quarter as many videos as there are.
To load the videos, read all parts, then all changes in their order, without those that are older than their
part. Each value has a checksum.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator

import msgspec
import numpy as np

from ..core import guids
from ..core.client.videos import CELLS, PLAYS, RECEIVED_NS, WINDOW, Videos
from ..core.columns import Int64s, narrow, numbers_of, video_words, widen
from ..core.stale_parts import StaleParts
from ..store.checksum import seal, unseal

SCHEMA = """
CREATE TABLE changes (number INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE parts (part INTEGER PRIMARY KEY, number INTEGER NOT NULL, content BLOB NOT NULL);
"""
PART_ROWS = 4096
PARTS_A_PART_CHANGED = 4  # for as many changes as a part has rows, so many parts are written
DELETED_A_WRITE_MAX = 16


class _Rows(msgspec.Struct, frozen=True, array_like=True):
    """Some videos: packed columns. `rows`: empty where they are consecutive, from `start` on."""

    start: int
    rows: bytes
    videos: bytes
    plays: bytes
    received_at_ns: bytes
    windows: bytes


_DELETE = f"""
DELETE FROM changes WHERE number IN
(SELECT number FROM changes WHERE number < ? ORDER BY number LIMIT {DELETED_A_WRITE_MAX})
"""
_decoder = msgspec.msgpack.Decoder(_Rows)


class VideoRows:
    """Reads and writes the videos of one file. `database`: the open file. Raises `sqlite3.Error`."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._number = 0  # of the last write
        self._due = 0.0  # parts
        self._stale = StaleParts(PART_ROWS)

    def load(self, database: sqlite3.Connection) -> Videos:
        """All videos. Raises `ValueError` if they are damaged."""
        self._begin()
        videos, written = Videos(os.urandom(16)), np.zeros(0, np.int64)
        for part, number, content in database.execute("SELECT part, number, content FROM parts"):
            rows, words, numbers = _decoded(content, f"part {part}")
            if len(rows) and not part * PART_ROWS == rows[0] <= rows[-1] < (part + 1) * PART_ROWS:
                raise ValueError(f"part {part} has rows of another")
            videos.load(rows, words, numbers)
            written = np.concatenate([written, np.zeros(max(0, part + 1 - len(written)), np.int64)])
            written[part] = number
            self._number = max(self._number, number)
        for number, content in database.execute("SELECT number, content FROM changes ORDER BY number"):
            rows, words, numbers = _decoded(content, f"changes {number}")
            parts = rows // PART_ROWS
            known = parts < len(written)
            later = ~known
            later[known] = written[parts[known]] < number
            videos.load(rows[later], words[later], [one[later] for one in numbers])
            self._stale.changed(rows[later], number)
            self._number = max(self._number, number)
        videos.loaded()
        return videos

    def write(self, database: sqlite3.Connection, videos: Videos, changed: Collection[int]) -> None:
        """Write these rows, in a transaction of the caller's. If it fails, load the videos again."""
        self._number += 1
        rows = np.fromiter(changed, np.int64, len(changed))
        rows.sort()
        if len(rows):
            content = _encoded(rows, videos.cells[rows], f"changes {self._number}")
            database.execute("INSERT INTO changes VALUES (?, ?)", (self._number, content))
            self._stale.changed(rows, self._number)
        self._due += max(1, PARTS_A_PART_CHANGED * len(rows) / PART_ROWS)
        while self._due >= 1:
            self._due -= 1
            part = self._stale.take()
            if part is not None:
                start = part * PART_ROWS
                self._write_part(database, part, videos.cells[start : start + PART_ROWS])
        database.execute(
            _DELETE,
            (self._stale.needed_from(self._number + 1),),
        )

    def write_all(self, database: sqlite3.Connection, rows: Iterator[tuple[str, int, int, int]]) -> None:
        """Write videos into empty tables: GUID, plays, time, window. Raises `ValueError` for no GUID."""
        cells = np.empty((PART_ROWS, CELLS), np.int64)
        self._number, part, place = 1, 0, 0
        for video_id, *numbers in rows:
            cells[place, :PLAYS] = numbers_of(guids.parse(video_id))
            cells[place, PLAYS:] = numbers
            place += 1
            if place == PART_ROWS:
                self._write_part(database, part, cells)
                part, place = part + 1, 0
        if place:
            self._write_part(database, part, cells[:place])

    def _write_part(self, database: sqlite3.Connection, part: int, cells: Int64s) -> None:
        start = part * PART_ROWS
        content = _encoded(np.arange(start, start + len(cells)), cells, f"part {part}")
        database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", (part, self._number, content))


def _encoded(rows: Int64s, cells: Int64s, about: str) -> bytes:
    start, consecutive = int(rows[0]), int(rows[-1] - rows[0]) == len(rows) - 1
    content = _Rows(
        start,
        b"" if consecutive else narrow(rows.tobytes()),
        cells[:, :PLAYS].tobytes(),
        narrow(cells[:, PLAYS].tobytes()),
        narrow(cells[:, RECEIVED_NS].tobytes()),
        narrow(cells[:, WINDOW].tobytes()),
    )
    return seal(msgspec.msgpack.encode(content), about)


def _decoded(content: bytes, about: str) -> tuple[Int64s, Int64s, list[Int64s]]:
    """Rows, their videos, and the columns of their numbers. Raises `ValueError`, `TypeError`."""
    found = _decoder.decode(unseal(content, about))
    videos = video_words(found.videos)
    rows = widen(found.rows) if found.rows else np.arange(found.start, found.start + len(videos))
    numbers = [widen(one) for one in (found.plays, found.received_at_ns, found.windows)]
    if any(len(one) != len(rows) for one in (videos, *numbers)):
        raise ValueError("columns of different lengths")
    return rows, videos, numbers
