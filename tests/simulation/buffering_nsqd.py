"""nsqd's way of writing, in virtual time: its output buffer, and how RDY and FIN make it write.

As in nsqd/protocol_v2.go: one goroutine takes a connection's commands in order, another pumps messages into a
buffer. The buffer is flushed when it is full, at once when RDY messages are in flight, and otherwise by a
ticker every `output_buffer_timeout`. So when a FIN of many messages makes room, the pump writes that many
messages in pieces, whenever it gets to run.
"""

import asyncio
import json
import struct
from collections import deque
from random import Random
from typing import Any, NamedTuple

from .clock import START_MS

MAX_RDY = 2500
FIN_BYTES = len(b"FIN 0123456789abcdef\n")
GOES_ON_FOR = 64  # messages at most, before the other goroutine runs
RESPONSE, MESSAGE = 0, 2


class Speed(NamedTuple):
    """How long the steps of nsqd take, in seconds."""

    send_s: float  # per message
    finish_s: float  # per FIN
    wire_s: float = 50e-6  # from one process to the other


class Ready(NamedTuple):
    """An RDY that nsqd received: when, its count, and how many messages waited on the queue."""

    at_s: float
    ready_count: int
    depth: int


class BufferingNsqd:
    """One nsqd with one channel, for one consumer."""

    def __init__(self, speed: Speed, random: Random, videos: list[str]):
        self.speed = speed
        self.ready_counts: list[Ready] = []
        self.received_s: dict[int, float] = {}  # by number: when the connection read it
        self.finished_s: dict[int, float] = {}
        self.waiting: deque[tuple[int, int]] = deque()  # number and stamp
        self._random = random
        self._bodies = [json.dumps({"video_id": video}).encode() for video in videos]
        self._numbers = 0
        self._pump: _Pump | None = None

    def put(self, messages: int, age_s: float = 0.0) -> int:
        """Put messages that arrived `age_s` ago. Returns the number of the last one."""
        stamp_ns = START_MS * 1_000_000 + round((asyncio.get_running_loop().time() - age_s) * 1e9)
        for _ in range(messages):
            self._numbers += 1
            self.waiting.append((self._numbers, stamp_ns))
        if self._pump is not None:
            self._pump.go_on()
        return self._numbers

    def connect(self, stream: Any) -> "_Pump":
        """Connect a consumer. Returns the object that it talks to."""
        self._pump = _Pump(self, stream, self._random)
        return self._pump

    def frame(self, number: int, stamp_ns: int) -> bytes:
        """The frame of a message."""
        data = struct.pack(">qH", stamp_ns, 1) + b"%016x" % number + self._bodies[number % len(self._bodies)]
        return _frame(MESSAGE, data)


class _Pump:
    """One connection. `take` is one goroutine and `go_on` the other."""

    def __init__(self, nsqd: BufferingNsqd, stream: Any, random: Random):
        self._nsqd = nsqd
        self._stream = stream
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._ready_count = 0
        self._in_flight = 0
        self._pumps = False
        self._buffer = bytearray()
        self._buffer_bytes = 16 * 1024
        self._ticks_s = 0.25
        self._ticker: asyncio.TimerHandle | None = None
        self._fins: deque[int] = deque()
        self._beats_s = 30.0

    def take(self, data: bytes) -> None:
        """Take whole commands: RDY and FINs, or another one."""
        word = data[:4].strip()
        if word == b"FIN":
            is_idle = not self._fins
            ids = (data[at + 4 : at + 20] for at in range(0, len(data), FIN_BYTES))
            self._fins.extend(int(one, 16) for one in ids)
            if is_idle:
                self._finish_soon()
        elif word == b"RDY":
            count, _, fins = data[4:].partition(b"\n")
            self._ready_count = int(count)
            depth = len(self._nsqd.waiting)
            self._nsqd.ready_counts.append(Ready(self._loop.time(), self._ready_count, depth))
            self.go_on()
            if fins:
                self.take(fins)
        elif word == b"IDEN":
            asked = json.loads(data[data.index(b"{") :])
            self._buffer_bytes = asked["output_buffer_size"]
            self._ticks_s = asked["output_buffer_timeout"] / 1000
            self._beats_s = asked["heartbeat_interval"] / 1000
            self._loop.call_later(self._beats_s, self._beat)
            self._write(_frame(RESPONSE, json.dumps({"max_rdy_count": MAX_RDY}).encode()))
        elif word == b"SUB":
            self._write(_frame(RESPONSE, b"OK"))
        else:
            assert word in (b"V2", b"NOP"), data

    def _beat(self) -> None:
        self._write(_frame(RESPONSE, b"_heartbeat_"))
        self._loop.call_later(self._beats_s, self._beat)

    def go_on(self) -> None:
        """Pump, or flush if the consumer takes no more messages."""
        if self._pumps:
            return
        room = self._ready_count - self._in_flight
        if room <= 0:
            self._flush()
        elif self._nsqd.waiting:
            messages = min(room, len(self._nsqd.waiting), self._random.randint(1, GOES_ON_FOR))
            self._pumps = True
            self._loop.call_later(messages * self._nsqd.speed.send_s, self._pumped, messages)

    def _pumped(self, messages: int) -> None:
        self._pumps = False
        for _ in range(messages):
            self._buffer += self._nsqd.frame(*self._nsqd.waiting.popleft())
        self._in_flight += messages
        if len(self._buffer) >= self._buffer_bytes:
            self._flush()
        elif self._ticker is None:
            now_s = self._loop.time()
            self._ticker = self._loop.call_at((now_s // self._ticks_s + 1) * self._ticks_s, self._flush)
        self.go_on()

    def _finish_soon(self) -> None:
        messages = min(len(self._fins), self._random.randint(1, GOES_ON_FOR))
        self._loop.call_later(messages * self._nsqd.speed.finish_s, self._finish, messages)

    def _finish(self, messages: int) -> None:
        for _ in range(messages):
            self._nsqd.finished_s[self._fins.popleft()] = self._loop.time()
        self._in_flight -= messages
        if self._fins:
            self._finish_soon()
        self.go_on()

    def _flush(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._buffer:
            self._write(bytes(self._buffer))
            self._buffer.clear()

    def _write(self, data: bytes) -> None:
        self._loop.call_later(self._nsqd.speed.wire_s, self._stream.arrive, data)


def _frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">ii", 4 + len(data), kind) + data
