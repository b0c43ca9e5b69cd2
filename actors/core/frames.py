"""What nsqd sends, parsed a whole read at a time into columns: the fast path of the consumer.

Pure: bytes in, columns out. Layouts are NSQ's (clients/tcp_protocol_spec):

    frame     size(4) type(4) data(size - 4)           type 0 response, 1 error, 2 message
    message   stamp ns(8) attempts(2) id(16 hex digits) body

A frame of a size beyond `FRAME_BYTES_MAX`, or less than a frame's own, raises `ValueError` as soon as
its head is there: what follows can't be trusted, and the connection has to be closed. A large frame is
put together once, when its last byte is there: joined at every read, it would cost quadratic time.
"""

from collections.abc import Callable
from struct import Struct as Layout

import msgspec

FRAME_BYTES_MAX = 16 * 1024 * 1024  # nsqd's own limit, max-msg-size, is 1 MiB unless set otherwise
MESSAGE_TYPE = 2
_frame_head = Layout(">ii")  # size, type
_message_head = Layout(">iiq")  # size, type, stamp
_BODY_AT = 34


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
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._awaited_bytes = _frame_head.size

    def feed(self, data: bytes) -> Parsed:
        """Parse what arrived. Raises `ValueError` on a size that no frame can have."""
        parsed = Parsed()
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._awaited_bytes:
                return parsed
            data = b"".join(self._rest)
        shards, end, at = parsed.shards, len(data), 0
        video_of, shard_of, unpack_head = self._video_of, self._shard_of, _message_head.unpack_from
        while at + 16 <= end:
            size, kind, stamp = unpack_head(data, at)
            stop = at + 4 + size
            if size > FRAME_BYTES_MAX or size < (30 if kind == MESSAGE_TYPE else 4):
                raise _wrong_size(size, kind)
            if stop > end:
                break
            if kind == MESSAGE_TYPE:
                body = data[at + _BODY_AT : stop]
                video = video_of(body)
                if video is None:
                    parsed.bad.append(BadMessage(data[at + 18 : at + _BODY_AT], stamp, body))
                else:
                    shard = shard_of(video)
                    columns = shards.get(shard)
                    if columns is None:
                        columns = shards[shard] = ShardColumns()
                    columns.ids.append(data[at + 18 : at + _BODY_AT])
                    columns.videos.append(video)
                    columns.arrived_ns.append(stamp)
                parsed.messages += 1
            else:
                parsed.others.append((kind, data[at + 8 : stop]))
            at = stop
        at = self._short_frames(data, at, end, parsed)
        self._rest = [data[at:]] if at < end else []
        self._rest_bytes = end - at
        return parsed

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


def _size_min(kind: int) -> int:
    """The least that the size of a frame of that type can be: its head counts, but for the size."""
    return _BODY_AT - 4 if kind == MESSAGE_TYPE else 4


def _wrong_size(size: int, kind: int) -> ValueError:
    what = "a message frame" if kind == MESSAGE_TYPE else "a frame"
    return ValueError(f"{what} of {size} bytes, expected {_size_min(kind)} to {FRAME_BYTES_MAX}")
