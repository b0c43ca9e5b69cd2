"""What nsqd sends, parsed a whole read at a time into columns: the fast path of the consumer.

Pure: bytes in, columns out. Layouts are NSQ's (clients/tcp_protocol_spec):

    frame     size(4) type(4) data(size - 4)           type 0 response, 1 error, 2 message
    message   stamp ns(8) attempts(2) id(16 hex digits) body

A frame of a size beyond `FRAME_BYTES_MAX`, or less than a frame's own, raises `BadStream` as soon as
its head is there: what follows can't be trusted, and the connection has to be closed. A large frame is
put together once, when its last byte is there: joined at every read, it would cost quadratic time.
"""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct as Layout

import msgspec

FRAME_BYTES_MAX = 16 * 1024 * 1024  # nsqd's own limit, max-msg-size, is 1 MiB unless set otherwise
MESSAGE_TYPE = 2
REMEMBERED_BODIES_MAX = 16_384
REMEMBERED_BODY_BYTES_MAX = 256
_frame_head = Layout(">ii")  # size, type
_message_head = Layout(">iiq")  # size, type, stamp
_BODY_AT = 34


class BadStream(ValueError):
    """What no nsqd sends: the connection has to be closed."""


class ShardColumns:
    """Plays of one shard's videos: hexadecimal ids (16 bytes), videos (16), arrivals in ns."""

    __slots__ = ("arrived_ns", "ids", "videos")

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.videos: list[bytes] = []
        self.arrived_ns: list[int] = []


class BadMessage(msgspec.Struct, frozen=True):
    """A message that is no play."""

    id: bytes
    arrived_ns: int
    body: bytes


class Parsed(msgspec.Struct):
    """What one read held: plays by shard, bad messages, other frames (type and data), messages."""

    shards: dict[int, ShardColumns] = {}
    bad: list[BadMessage] = []
    others: list[tuple[int, bytes]] = []
    messages: int = 0

    def ages_ms(self, now_ns: int) -> tuple[float, float]:
        """How old the newest and the oldest play are, by nsqd's stamps, in milliseconds."""
        newest_ns = max((one.arrived_ns[-1] for one in self.shards.values()), default=now_ns)
        oldest_ns = min((one.arrived_ns[0] for one in self.shards.values()), default=now_ns)
        return (now_ns - newest_ns) / 1e6, (now_ns - oldest_ns) / 1e6


class FrameParser:
    """Cuts a stream of bytes into frames; what is left of the last one waits for the next read."""

    def __init__(
        self,
        video_of: Callable[[bytes], bytes | None],
        shard_of: Callable[[bytes], int],
    ):
        """`video_of`: body to video, None for no play. `shard_of`: video to shard."""
        self._video_of = video_of
        self._shard_of = shard_of
        self._places: dict[bytes, tuple[bytes, int]] = {}
        self._shards_seen = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._awaited_bytes = _frame_head.size

    def feed(self, data: bytes) -> Parsed:
        """Parse what arrived. Raises `BadStream` on a size that no frame can have."""
        parsed = Parsed()
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._awaited_bytes:
                return parsed
            data = b"".join(self._rest)
        end, at = len(data), 0
        while at + 16 <= end:
            size, kind, _ = _message_head.unpack_from(data, at)
            if size > FRAME_BYTES_MAX or size < _size_min(kind):
                raise _wrong_size(size, kind)
            if at + 4 + size > end:
                break
            if kind == MESSAGE_TYPE:
                at = self._messages(data, at, end, size, parsed)
            else:
                parsed.others.append((kind, data[at + 8 : at + 4 + size]))
                at += 4 + size
        at = self._short_frames(data, at, end, parsed)
        self._rest = [data[at:]] if at < end else []
        self._rest_bytes = end - at
        return parsed

    def _messages(self, data: bytes, at: int, end: int, size: int, parsed: Parsed) -> int:
        """Take the messages of one size that stand in a row; where the next frame begins.

        Plays are all of one size, as GUIDs are, so a whole read is taken apart by one iterator in C; this
        loop is what the consumer's speed hangs on, and the tests hold it against a plain parser.
        """
        total = size + 4
        row = memoryview(data)[at : at + (end - at) // total * total]
        columns = [parsed.shards.get(shard) or ShardColumns() for shard in range(self._shards_seen)]
        adds = [(one.ids.append, one.videos.append, one.arrived_ns.append) for one in columns]
        places, taken = self._places, 0
        for its_size, kind, stamp, message_id, body in _layout(size).iter_unpack(row):
            if its_size != size or kind != MESSAGE_TYPE:
                break
            place = places.get(body) or self._learn(body)
            if place is None:
                parsed.bad.append(BadMessage(message_id, stamp, body))
            else:
                video, shard = place
                while shard >= len(adds):
                    columns.append(ShardColumns())
                    new = columns[-1]
                    adds.append((new.ids.append, new.videos.append, new.arrived_ns.append))
                add_id, add_video, add_stamp = adds[shard]
                add_id(message_id)
                add_video(video)
                add_stamp(stamp)
            taken += 1
        self._shards_seen = len(columns)
        parsed.shards.update((shard, one) for shard, one in enumerate(columns) if one.ids)
        parsed.messages += taken
        return at + taken * total

    def _learn(self, body: bytes) -> tuple[bytes, int] | None:
        video = self._video_of(body)
        if video is None:
            return None
        place = video, self._shard_of(video)
        if len(body) <= REMEMBERED_BODY_BYTES_MAX:
            if len(self._places) >= REMEMBERED_BODIES_MAX:
                self._places.clear()
            self._places[body] = place
        return place

    def _short_frames(self, data: bytes, at: int, end: int, parsed: Parsed) -> int:
        """The last frames of a read when shorter than a message's head, such as a lone OK."""
        self._awaited_bytes = _frame_head.size
        while at + _frame_head.size <= end:
            size, kind = _frame_head.unpack_from(data, at)
            if not _size_min(kind) <= size <= FRAME_BYTES_MAX:
                raise _wrong_size(size, kind)
            if at + 4 + size > end:
                self._awaited_bytes = 4 + size
                break
            parsed.others.append((kind, data[at + 8 : at + 4 + size]))
            at += 4 + size
        return at


@lru_cache(maxsize=4096)
def _layout(size: int) -> Layout:
    """A message frame of that size: size, type, stamp, (attempts), id, body."""
    return Layout(f">iiq2x16s{size - (_BODY_AT - 4)}s")


def _size_min(kind: int) -> int:
    """The least that the size of a frame of that type can be: its head counts, but for the size."""
    return _BODY_AT - 4 if kind == MESSAGE_TYPE else 4


def _wrong_size(size: int, kind: int) -> BadStream:
    what = "a message frame" if kind == MESSAGE_TYPE else "a frame"
    return BadStream(f"{what} of {size} bytes, expected {_size_min(kind)} to {FRAME_BYTES_MAX}")
