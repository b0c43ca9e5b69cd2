"""Parses nsqd's stream into columns, a whole read at a time: the fast path of the consumer.

Pure: bytes in, columns out. The layouts are NSQ's (clients/tcp_protocol_spec):

    frame     size(4) type(4) data(size - 4)           type 0 response, 1 error, 2 message
    message   stamp ns(8) attempts(2) id(16 hex digits) body

A frame that is smaller than its own head, or larger than `FRAME_BYTES_MAX` and no message, raises `BadStream`
as soon as its head is received: the bytes after it can't be trusted, and the connection has to be closed. A
message that is larger is read through: only its start, its length and its SHA-256 are kept. The pieces of a
large frame are joined once, when its last byte is received: joining them at every read would cost quadratic
time.
"""

import hashlib
from functools import lru_cache
from struct import Struct as Layout

import msgspec
import numpy as np

from ..columns import HEX_ID_BYTES
from .bodies import Bodies, Cut
from .plays import PlayColumns

FRAME_BYTES_MAX = 16 * 1024 * 1024  # nsqd's own limit, max-msg-size, is 1 MiB unless set otherwise
MESSAGE_TYPE = 2
ALIKE_MIN = 32  # fewer messages than this are parsed faster one by one
ALIKE_MAX = 4096  # compare at most this many messages at once, beginning with the current one
START_BYTES = 64 * 1024  # how much is kept of a body that is too large
_frame_head = Layout(">ii")  # size, type
_message_head = Layout(">iiq")  # size, type, stamp
_ID_AT = 18
_BODY_AT = 34


class BadStream(ValueError):
    """Bytes that no nsqd sends: the connection has to be closed."""


TOO_LARGE = f"the message is larger than {FRAME_BYTES_MAX // 2**20} MiB"


class BadMessage(msgspec.Struct, frozen=True):
    """A message that is not a play, and why. `cut`: `body` is only its start, as it is too large to keep."""

    id: bytes
    arrived_ns: int
    body: bytes
    why: str
    cut: Cut | None = None


class Parsed(msgspec.Struct):
    """The content of one read: plays, other messages (`bad`), other frames (type and data)."""

    plays: PlayColumns = msgspec.field(default_factory=PlayColumns)
    bad: list[BadMessage] = []
    others: list[tuple[int, bytes]] = []

    @property
    def messages(self) -> int:
        """The number of messages in the read."""
        return len(self.plays.arrived_ns) + len(self.bad)

    def newest_age_ms(self, now_ns: int) -> float:
        """The age of the last play in ms, by nsqd's stamp; without plays, of the last message."""
        arrived_ns = self.plays.arrived_ns
        return (now_ns - (arrived_ns[-1] if arrived_ns else self.bad[-1].arrived_ns)) / 1e6

    def oldest_age_ms(self, now_ns: int) -> int:
        """The age of the oldest play in ms, by nsqd's stamps; 0 if there is no play."""
        arrived_ns = self.plays.arrived_ns
        if len(arrived_ns) < ALIKE_MIN:
            return (now_ns - min(arrived_ns, default=now_ns)) // 1_000_000
        return (now_ns - int(np.frombuffer(arrived_ns, np.int64).min())) // 1_000_000


class FrameParser:
    """Cuts a stream of bytes into frames. Keeps the start of an incomplete frame for the next read."""

    def __init__(self, bodies: Bodies):
        """`bodies` finds the video of a message."""
        self._bodies = bodies
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._awaited_bytes = _frame_head.size
        self._large: _LargeMessage | None = None

    def feed(self, arrived: bytes | memoryview) -> Parsed:
        """Parse the bytes of one read. Raises `BadStream` if a frame has an impossible size."""
        parsed = Parsed()
        self._bodies.play_ids = parsed.plays.play_ids
        rest: bytes | memoryview | None = arrived
        while rest is not None:
            if self._large is not None:
                rest = self._read_through(self._large, rest, parsed)
            else:
                rest = self._parse(rest, parsed)
        return parsed

    def _parse(self, arrived: bytes | memoryview, parsed: Parsed) -> bytes | None:
        """Parse bytes that begin where a frame begins, or go on where the last ones ended.

        Returns the bytes after the head of a message that is too large to keep, if there is one.
        """
        if self._rest_bytes + len(arrived) < self._awaited_bytes:
            self._rest.append(bytes(arrived))
            self._rest_bytes += len(arrived)
            return None
        data = b"".join([*self._rest, arrived])
        end, at = len(data), 0
        while at + 16 <= end:
            size, kind, _ = _message_head.unpack_from(data, at)
            if size > FRAME_BYTES_MAX or size < _size_min(kind):
                break
            if at + 4 + size > end:
                break
            if kind == MESSAGE_TYPE:
                are_many = end - at >= ALIKE_MIN * (size + 4)
                next_at = self._messages_alike(data, at, end, size, parsed.plays) if are_many else 0
                at = next_at or self._messages(data, at, end, size, parsed)
            else:
                parsed.others.append((kind, data[at + 8 : at + 4 + size]))
                at += 4 + size
        self._awaited_bytes = _frame_head.size
        if at < end:
            at = self._short_frames(data, at, end, parsed)
        if self._awaited_bytes == _BODY_AT <= end - at:
            self._large = _LargeMessage(data[at : at + _BODY_AT])
            self._rest, self._rest_bytes, self._awaited_bytes = [], 0, _frame_head.size
            return data[at + _BODY_AT :]
        self._rest = [data[at:]] if at < end else []
        self._rest_bytes = end - at
        return None

    def _read_through(
        self, large: "_LargeMessage", arrived: bytes | memoryview, parsed: Parsed
    ) -> bytes | memoryview | None:
        """Read on in a message that is too large. Returns the bytes after the message, when it has ended."""
        taken = min(len(arrived), large.left_bytes)
        large.take(arrived[:taken])
        if large.left_bytes:
            return None
        parsed.bad.append(large.message())
        self._large = None
        return arrived[taken:]

    def _messages_alike(self, data: bytes, at: int, end: int, size: int, plays: PlayColumns) -> int:
        """Parse consecutive plays of one size and template. Returns where the next frame begins.

        There are bytes for `ALIKE_MIN` plays. Parses nothing and returns 0 if fewer are of one size, or if
        their bodies differ in more than the GUID. Most bodies differ only in the GUID, so a dozen calls parse
        a whole read. The tests compare this with a plain parser.
        """
        total = size + 4
        count = min((end - at) // total, ALIKE_MAX)
        last_at = at + (ALIKE_MIN - 1) * total
        if data[last_at : last_at + 8] != data[at : at + 8]:
            return 0
        heads = np.ndarray(count, np.uint64, data, at, total)
        alike = heads == heads[0]
        count = count if alike.all() else int(alike.argmin())
        videos = self._bodies.videos(data, at + _BODY_AT, total - _BODY_AT, total, count)
        if videos is None:
            return 0
        plays.videos += videos
        plays.ids += np.ndarray(count, f"V{HEX_ID_BYTES}", data, at + _ID_AT, total).tobytes()
        plays.arrived_ns.frombytes(np.ndarray(count, ">i8", data, at + 8, total).astype(np.int64).tobytes())
        return at + count * total

    def _messages(self, data: bytes, at: int, end: int, size: int, parsed: Parsed) -> int:
        """Parse consecutive messages of one size, one by one. Returns where the next frame begins."""
        total = size + 4
        row = memoryview(data)[at : at + (end - at) // total * total]
        plays, video_of = parsed.plays, self._bodies.video
        for its_size, kind, stamp, message_id, body in _layout(size).iter_unpack(row):
            if its_size != size or kind != MESSAGE_TYPE:
                break
            video = video_of(body)
            if video is None:
                parsed.bad.append(BadMessage(message_id, stamp, body, self._bodies.why))
            else:
                plays.ids += message_id
                plays.videos += video
                plays.arrived_ns.append(stamp)
            at += total
        return at

    def _short_frames(self, data: bytes, at: int, end: int, parsed: Parsed) -> int:
        """Parse the last frames of a read. A frame like OK may be shorter than a message's head.

        Returns where the first incomplete frame begins.
        """
        while at + _frame_head.size <= end:
            size, kind = _frame_head.unpack_from(data, at)
            if kind == MESSAGE_TYPE and size > FRAME_BYTES_MAX:
                self._awaited_bytes = _BODY_AT
                break
            if not _size_min(kind) <= size <= FRAME_BYTES_MAX:
                raise _wrong_size(size, kind)
            if at + 4 + size > end:
                self._awaited_bytes = 4 + size
                break
            parsed.others.append((kind, data[at + 8 : at + 4 + size]))
            at += 4 + size
        return at


class _LargeMessage:
    """A message that is too large to keep: its body is read through, and its start is kept."""

    def __init__(self, head: bytes):
        size, _, self._stamp = _message_head.unpack_from(head, 0)
        self._id = head[_ID_AT:]
        self._body_bytes = self.left_bytes = size + 4 - len(head)
        self._start = bytearray()
        self._digest = hashlib.sha256()

    def take(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the body."""
        self.left_bytes -= len(piece)
        self._digest.update(piece)
        self._start += piece[: START_BYTES - len(self._start)]

    def message(self) -> BadMessage:
        """The message, when the whole body was taken."""
        cut = Cut(self._body_bytes, self._digest.hexdigest())
        return BadMessage(self._id, self._stamp, bytes(self._start), TOO_LARGE, cut)


@lru_cache(maxsize=4096)
def _layout(size: int) -> Layout:
    """The layout of a message frame of this size: size, type, stamp, id, body. The attempts before the id are
    skipped.
    """
    return Layout(f">iiq2x16s{size - (_BODY_AT - 4)}s")


def _size_min(kind: int) -> int:
    """The least possible size of a frame of this type. The four bytes of the size itself do not count."""
    return _BODY_AT - 4 if kind == MESSAGE_TYPE else 4


def _wrong_size(size: int, kind: int) -> BadStream:
    what = "a message frame" if kind == MESSAGE_TYPE else "a frame"
    return BadStream(f"{what} of {size} bytes, expected {_size_min(kind)} to {FRAME_BYTES_MAX}")
