"""Messages published together, as one block of wire frames. Pure.

A segment is what the journal stores in one row and what channels hand out. Its payload is the
messages' frames exactly as a first delivery sends them (attempts 1), one after another, so
that giving a client consecutive messages is one slice. All its ids are consecutive; the first,
as a number, is the segment's sequence number: it rises from segment to segment for ever.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, chain, islice, repeat
from typing import TypeAlias

import msgspec

from .frames import MESSAGE, MESSAGE_HEAD, MESSAGE_HEAD_SIZE
from .ids import SUFFIXES, IdFactory, id_prefix, id_sequence
from .limits import SEGMENT_BYTES_MAX

Offsets: TypeAlias = "array[int]"  # a string, because `array` takes no parameter before Python 3.12


class Publication(msgspec.Struct, frozen=True):
    """The bodies of messages that arrived together, `stamp_ns` nanoseconds after 1970."""

    stamp_ns: int
    bodies: list[bytes]


class Segment:
    """Immutable. A message is named by its index, from 0. (start, stop): from `start` to before `stop`.

    `offsets`: where the frame of each message begins in `payload`, and where the last one ends.
    `due_wall_ms`: when the messages may first be delivered, in ms since 1970; 0 means at once.
    """

    __slots__ = (
        "__weakref__",
        "_first",
        "_prefix",
        "count",
        "due_wall_ms",
        "offsets",
        "payload",
        "sequence",
    )

    def __init__(self, sequence: int, payload: bytes, offsets: Offsets, due_wall_ms: int = 0) -> None:
        self.sequence = sequence
        self.payload = payload
        self.offsets = offsets
        self.count = len(offsets) - 1
        self.due_wall_ms = due_wall_ms
        self._prefix = id_prefix(sequence)
        self._first = id_sequence(sequence)

    @property
    def body_bytes(self) -> int:
        """The bytes of all message bodies, without frames."""
        return len(self.payload) - self.count * MESSAGE_HEAD_SIZE

    def ids(self, start: int, stop: int) -> list[bytes]:
        """The ids of these messages, 16 hexadecimal digits each."""
        prefix, first = self._prefix, self._first
        return [prefix + suffix for suffix in SUFFIXES[first + start : first + stop]]

    def frames(self, start: int, stop: int) -> bytes:
        """The frames of these messages, one after another."""
        return self.payload[self.offsets[start] : self.offsets[stop]]

    def size(self, start: int, stop: int) -> int:
        """The bytes of these messages' frames."""
        return self.offsets[stop] - self.offsets[start]

    def head(self, count: int) -> "Segment":
        """The first `count` messages."""
        return Segment(
            self.sequence, self.payload[: self.offsets[count]], self.offsets[: count + 1], self.due_wall_ms
        )

    def stop_within(self, start: int, stop: int, bytes_max: int) -> int:
        """The largest stop, up to `stop`, so that the frames from `start` take at most `bytes_max`.

        It always covers at least one message.
        """
        furthest = bisect_right(self.offsets, self.offsets[start] + bytes_max, start + 1, stop + 1)
        return max(start + 1, furthest - 1)


def segment_from_row(sequence: int, count: int, payload: bytes, due_wall_ms: int) -> Segment:
    """A segment from its journal row. Raises `ValueError` if the payload is not `count` whole frames."""
    return Segment(sequence, payload, _offsets(payload, count), due_wall_ms)


def build_segments(
    publications: list[Publication], ids: IdFactory, now_ns: int, due_wall_ms: int = 0
) -> list[Segment]:
    """Give every message its id, in order, in as few segments as the limits allow.

    `now_ns` is the wall clock for the ids. `due_wall_ms` as in `Segment`.
    """
    waiting = sum(len(publication.bodies) for publication in publications)
    segments: list[Segment] = []
    draft: _Draft | None = None
    for publication in publications:
        start = 0
        while start < len(publication.bodies):
            if draft is None:
                draft = _Draft(*ids.take(waiting, now_ns))
            taken = draft.add(publication, start)
            start += taken
            waiting -= taken
            if draft.is_full:
                segments.append(draft.close(due_wall_ms))
                draft = None
    if draft is not None:
        segments.append(draft.close(due_wall_ms))
    return segments


class _Draft:
    """A segment being built; it has room for `granted` ids."""

    def __init__(self, first_id: int, granted: int) -> None:
        self.first_id = first_id
        self.granted = granted
        self.is_full = False
        self._prefix = id_prefix(first_id)
        self._sequence = id_sequence(first_id)
        self._frame_sizes: list[int] = []
        self._bytes = 0
        self._pieces: list[bytes] = []

    def add(self, publication: Publication, start: int) -> int:
        """Take messages of the publication from index `start` on. Returns how many, at least one."""
        count = self.granted - len(self._frame_sizes)
        bodies = publication.bodies[start : start + count]
        sizes = [len(body) + MESSAGE_HEAD_SIZE for body in bodies]
        ends = list(accumulate(sizes, initial=self._bytes))
        if ends[-1] > SEGMENT_BYTES_MAX:
            taken = max(1, bisect_right(ends, SEGMENT_BYTES_MAX) - 1)
            del bodies[taken:], sizes[taken:], ends[taken + 1 :]
            self.is_full = True
        suffixes = islice(SUFFIXES, self._sequence + len(self._frame_sizes), None)
        heads = self._heads(publication.stamp_ns, sizes)
        self._pieces.extend(chain.from_iterable(zip(heads, suffixes, bodies, strict=False)))
        self._frame_sizes += sizes
        self._bytes = ends[-1]
        if len(self._frame_sizes) == self.granted:
            self.is_full = True
        return len(bodies)

    def close(self, due_wall_ms: int) -> Segment:
        offsets = array("I", accumulate(self._frame_sizes, initial=0))
        return Segment(self.first_id, b"".join(self._pieces), offsets, due_wall_ms)

    def _heads(self, stamp_ns: int, sizes: list[int]) -> Iterable[bytes]:
        by_size = {
            size: MESSAGE_HEAD.pack(size - 4, MESSAGE, stamp_ns, 1) + self._prefix for size in set(sizes)
        }
        if len(by_size) == 1:
            return repeat(by_size[sizes[0]], len(sizes))
        return map(by_size.__getitem__, sizes)


def _offsets(payload: bytes, count: int) -> Offsets:
    if count > 0 and len(payload) % count == 0:
        size = len(payload) // count
        # Plays usually have one size. Four strided comparisons prove it, without a loop over messages.
        length = (size - 4).to_bytes(4, "big") if size >= MESSAGE_HEAD_SIZE else b""
        if length and all(payload[i::size] == length[i : i + 1] * count for i in range(4)):
            return array("I", range(0, len(payload) + 1, size))
    offsets = array("I", [0])
    position = 0
    for _ in range(count):
        position += 4 + int.from_bytes(payload[position : position + 4], "big")
        offsets.append(min(position, len(payload) + 1))
    if count < 1 or position != len(payload):
        raise ValueError(f"a payload of {len(payload)} bytes is not {count} frames")
    return offsets
