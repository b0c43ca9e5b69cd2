"""What nsqd sends, parsed a whole read at a time into columns: the fast path of the consumer.

Pure: bytes in, columns out. Layouts are NSQ's (clients/tcp_protocol_spec):

    frame     size(4) type(4) data(size - 4)           type 0 response, 1 error, 2 message
    message   stamp ns(8) attempts(2) id(16 hex digits) body

A message of a size beyond `FRAME_BYTES_MAX`, or less than a frame's own, raises `ValueError`: what
follows can't be trusted, and the connection has to be closed.
"""

from collections.abc import Callable
from struct import Struct as Layout

import msgspec

FRAME_BYTES_MAX = 16 * 1024 * 1024  # nsqd's own limit, max-msg-size, is 1 MiB unless set otherwise
MESSAGE_TYPE = 2
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
        self._rest = b""

    def feed(self, data: bytes) -> Parsed:
        """Parse what arrived. Raises `ValueError` on a size that no frame can have."""
        if self._rest:
            data = self._rest + data
        parsed = Parsed()
        shards, end, at = parsed.shards, len(data), 0
        video_of, shard_of, unpack_head = self._video_of, self._shard_of, _message_head.unpack_from
        while at + 16 <= end:
            size, kind, stamp = unpack_head(data, at)
            stop = at + 4 + size
            if size < 4 or size > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {size} bytes, expected 4 to {FRAME_BYTES_MAX}")
            if stop > end:
                break
            if kind == MESSAGE_TYPE:
                if size < _BODY_AT - 4:
                    raise ValueError(f"a message frame of {size} bytes, expected 30 or more")
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
        self._rest = data[at:]
        return parsed

    def _short_frames(self, data: bytes, at: int, end: int, parsed: Parsed) -> int:
        """The last frames of a read when shorter than a message's head, such as a lone OK."""
        while at + 8 <= end:
            size = int.from_bytes(data[at : at + 4], "big", signed=True)
            if size < 4 or size > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {size} bytes, expected 4 to {FRAME_BYTES_MAX}")
            kind = int.from_bytes(data[at + 4 : at + 8], "big", signed=True)
            if at + 4 + size > end or kind == MESSAGE_TYPE:
                break
            parsed.others.append((kind, data[at + 8 : at + 4 + size]))
            at += 4 + size
        return at
