"""The plays that a ledger has counted, of those whose bodies name an identity (`nsq.play_id`).

Pure. An identity has 128 bits, and nothing in it grows with time. So the plays of each quarter of the window
are a generation: a hash table of its own, which is dropped whole. A play is looked up in each of them: five,
or six for a moment. A play is known for the window, and for up to a quarter longer.

With each play is a mark of 16 bits, of the NSQ message that it was counted from. It tells a redelivery of
that message from another message with the same play: a duplicate. It is for the statistics only; one
duplicate in 65,536 is taken for a redelivery.

On disk, a commit appends one row to the bucket of the moment: some seconds of the ledger's clock.
"""

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from ..columns import (
    ID_BYTES,
    PLAY_ID_BYTES,
    Bools,
    Int64s,
    count,
    numbers_of,
    unpack_ids,
    unpack_numbers,
    unpack_videos,
    video_words,
)
from ..table import EMPTY, VideoTable
from .seen_chunks import PLAY_IDS, Admitted, SeenChunk

GENERATIONS = 4  # a window; with more, less than the window and a quarter is kept, and a lookup takes longer
BUCKET_MS = 4000
FEW = 8  # up to this many are looked up one by one: for a lone play, the CPU caches have no numpy code

Marks = npt.NDArray[np.uint16]
# A play as it is stored.
_ROW = np.dtype([("play_id", np.void, PLAY_ID_BYTES), ("mark", "<u2")])
_ID_FACTOR, _STAMP_FACTOR = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9  # odd, and without a pattern
_WORD, _MARK_SHIFT = (1 << 64) - 1, 48


class _Generation(Struct):
    """The plays of a quarter of the window. `marks`: one for each row of the table."""

    table: VideoTable
    marks: "array[int]"
    began_ms: int
    received_ms: int

    def add(self, words: Int64s, marks: Marks) -> tuple[Bools, Marks]:
        """Add the plays that are not here. Returns which these are, and the mark that each play has here."""
        start = len(self.table)
        rows = self.table.rows_of(words, open_new=True)
        # New rows ascend by their first plays.
        highest = np.maximum.accumulate(np.concatenate(([start - 1], rows[:-1])))
        new = rows > highest
        self.marks.frombytes(marks[new].tobytes())
        return new, self.marks_of(rows)

    def marks_of(self, rows: Int64s) -> Marks:
        """The marks of these rows."""
        return np.frombuffer(self.marks, np.uint16).take(rows)


class PlayIds:
    """The plays counted within the window, and which of them are not stored yet."""

    def __init__(self, window_ms: int, stored: Iterable[SeenChunk] = (), salt: bytes = bytes(16)):
        """`window_ms`: how long a play is known at least. `salt`: as in `VideoTable`."""
        self._window_ms = window_ms
        self._salt = salt
        self._generations: list[_Generation] = []
        self._buckets: dict[int, int] = {}  # those that are stored: when their last play was received
        self._fresh: list[bytes] = []
        self._received_ms = 0
        self._load(sorted(stored, key=lambda chunk: chunk.received_ms))

    def __len__(self) -> int:
        return sum(len(one.table) for one in self._generations)

    def admit(self, play_ids: bytes, ids: bytes, stamps: bytes, now_ms: int) -> Admitted:
        """Add the plays of packed columns, but for those that are known.

        `ids`, `stamps`: of the NSQ messages. Raises `ValueError`, leaving the state unchanged, if the columns
        differ in length.
        """
        plays = count(play_ids, PLAY_ID_BYTES)
        expected = PLAY_ID_BYTES * plays, ID_BYTES * plays, ID_BYTES * plays
        if (len(play_ids), len(ids), len(stamps)) != expected:
            raise ValueError(f"{len(play_ids)} bytes of play ids, {len(ids)} of ids, {len(stamps)} of stamps")
        if not plays:
            return Admitted()
        self._received_ms = max(self._received_ms, now_ms)
        if plays <= FEW:
            return self._admit_few(play_ids, ids, stamps)
        return self._admit_many(play_ids, ids, stamps)

    def take_chunks(self) -> list[SeenChunk]:
        """The plays admitted since the last call, for the store."""
        if not self._fresh:
            return []
        number, self._fresh, rows = self._received_ms // BUCKET_MS, [], b"".join(self._fresh)
        self._buckets[number] = self._received_ms
        return [SeenChunk(PLAY_IDS, number, self._received_ms, rows)]

    def expire(self, now_ms: int) -> list[tuple[str, int]]:
        """Drop the generations that got no play for the window. Returns which buckets have none of it."""
        begins_ms = now_ms - self._window_ms
        self._generations = [one for one in self._generations if one.received_ms >= begins_ms]
        old = [number for number, received_ms in self._buckets.items() if received_ms < begins_ms]
        for number in old:
            del self._buckets[number]
        return [(PLAY_IDS, number) for number in old]

    def _admit_few(self, play_ids: bytes, ids: bytes, stamps: bytes) -> Admitted:
        current, *older = self._from_the_newest()
        places, duplicates = [], 0
        messages = zip(unpack_videos(play_ids), unpack_ids(ids), unpack_numbers(stamps), strict=True)
        for place, (play_id, id, stamp) in enumerate(messages):
            mark = (id * _ID_FACTOR + stamp * _STAMP_FACTOR & _WORD) >> _MARK_SHIFT
            for one in older:
                row = one.table.row(play_id)
                if row != EMPTY:
                    duplicates += one.marks[row] != mark
                    break
            else:
                row = current.table.open_row(play_id)
                if row == len(current.marks):
                    current.marks.append(mark)
                    places.append(place)
                    self._fresh.append(play_id + mark.to_bytes(2, "little"))
                else:
                    duplicates += current.marks[row] != mark
        return Admitted(None if len(places) == place + 1 else places, duplicates=duplicates)

    def _admit_many(self, play_ids: bytes, ids: bytes, stamps: bytes) -> Admitted:
        current, *older = self._from_the_newest()
        words, marks = video_words(play_ids), _marks_of(ids, stamps)
        known, counted_from = np.zeros(len(marks), np.bool_), marks.copy()
        for one in older:
            rows = one.table.rows_of(words)
            found = (rows != EMPTY).nonzero()[0]
            if len(found):
                known[found] = True
                counted_from[found] = one.marks_of(rows[found])
        left = (~known).nonzero()[0]
        if len(left):
            added, counted_from[left] = current.add(words[left], marks[left])
            places = left[added]
            if len(places):
                self._fresh.append(_packed(play_ids, marks, places))
        else:
            places = left
        duplicates = int((counted_from != marks).sum())
        return Admitted(None if len(places) == len(marks) else places.tolist(), duplicates=duplicates)

    def _from_the_newest(self) -> list[_Generation]:
        """The generations. The first of them is the one that is added to now."""
        last, now_ms = self._generations[-1] if self._generations else None, self._received_ms
        if last is None or now_ms >= last.began_ms + self._window_ms / GENERATIONS:
            # As many as last are expected: a table that grows holds up its counter.
            last = self._begin(now_ms, len(last.table) if last else 0)
        last.received_ms = now_ms
        return self._generations[::-1]

    def _begin(self, now_ms: int, room: int) -> _Generation:
        one = _Generation(VideoTable(0, self._salt, room), array("H"), now_ms, now_ms)
        self._generations.append(one)
        return one

    def _load(self, stored: list[SeenChunk]) -> None:
        first = 0
        while first < len(stored):
            began_ms = stored[first].received_ms
            end = first + 1
            while end < len(stored) and stored[end].received_ms < began_ms + self._window_ms / GENERATIONS:
                end += 1
            generation = self._begin(began_ms, sum(chunk.ids for chunk in stored[first:end]))
            for chunk in stored[first:end]:
                rows = np.frombuffer(chunk.keys, _ROW)
                generation.add(video_words(rows["play_id"].tobytes()), rows["mark"].astype(np.uint16))
                generation.received_ms = chunk.received_ms
                self._buckets[chunk.bucket] = max(self._buckets.get(chunk.bucket, 0), chunk.received_ms)
            first = end


def joined_rows(chunks: Iterable[SeenChunk], may_be_twice: bool = False) -> bytes:
    """The keys of several rows of the store as one. `may_be_twice`: they may have plays in common."""
    rows = b"".join([chunk.keys for chunk in chunks])
    if not may_be_twice:
        return rows
    whole = np.frombuffer(rows, _ROW)
    _, firsts = np.unique(whole["play_id"], return_index=True)
    return whole[np.sort(firsts)].tobytes()


def _marks_of(ids: bytes, stamps: bytes) -> Marks:
    whole = np.frombuffer(ids, ">u8").astype(np.uint64) * np.uint64(_ID_FACTOR)
    whole += numbers_of(stamps).view(np.uint64) * np.uint64(_STAMP_FACTOR)
    return (whole >> np.uint64(_MARK_SHIFT)).astype(np.uint16)


def _packed(play_ids: bytes, marks: Marks, places: npt.NDArray[np.intp]) -> bytes:
    rows = np.empty(len(places), _ROW)
    rows["play_id"] = np.frombuffer(play_ids, _ROW["play_id"]).take(places)
    rows["mark"] = marks[places]
    return rows.tobytes()
