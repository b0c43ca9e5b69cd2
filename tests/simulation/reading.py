"""The real consumer in virtual time: its reader, its connections and its RDY, on nsqds and counters that take
time. Only the sockets and the links to the counters are replaced.

A process does one thing at a time, takes time for it, and reads in the order of arrival. It can be stopped,
as by SIGSTOP or by a busy machine.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import nsq.conn
import pytest
from tornado.platform.asyncio import BaseAsyncIOLoop

from actors import config
from actors.consumer import Consumer
from actors.core.columns import count
from actors.core.messages import Counted, Message, Plays
from actors.core.shards import counter_of
from actors.sources.connection import READ_BYTES_MAX
from actors.sources.nsqd_http import QueueStats, Told
from actors.supervision.actor import StartArgs
from actors.system.addresses import split_address
from tests.support.virtual_time import LoopTime

from .buffering_nsqd import BufferingNsqd
from .clock import START_MS

ID_BYTES = 8
FRAME_BYTES = 90  # of a play, roughly
STATS_S = 5e-3  # how long an nsqd takes to say what waits
PATIENCE_S = 20.0  # of virtual time
PORT = 4150  # of the first nsqd; the next nsqds have the next ports


class Speed(NamedTuple):
    """How long the steps of a consumer and its counters take, in seconds."""

    read_s: float = 50e-6
    play_s: float = 0.5e-6  # per play of a read
    commit_s: float = 1e-3
    committed_play_s: float = 1e-6


class Process:
    """The jobs of one process, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[Callable[[], tuple[float, Callable[[], None]]]] = deque()
        self._works = False
        self._stopped_until_s = 0.0

    def do(self, job: Callable[[], tuple[float, Callable[[], None]]]) -> None:
        """Do a job after all earlier jobs. It returns how long it takes, and what happens at its end."""
        self._jobs.append(job)
        if not self._works:
            self._works = True
            self._begin()

    def stop(self, seconds: float) -> None:
        """Begin no job for this long."""
        self._stopped_until_s = self._loop.time() + seconds

    def _begin(self) -> None:
        if self._stopped_until_s > self._loop.time():
            self._loop.call_at(self._stopped_until_s, self._begin)
        elif self._jobs:
            seconds, end = self._jobs.popleft()()
            self._loop.call_later(seconds, self._end, end)
        else:
            self._works = False

    def _end(self, end: Callable[[], None]) -> None:
        end()
        self._loop.call_soon(self._begin)  # after the jobs that `end` added


class Stream:
    """In place of tornado's stream on a socket. `socket`: not None, as it is never closed."""

    _write_buffer = b""  # nothing waits to be written
    _read_buffer_size = 0  # nothing is read that was not asked for
    _handle_read: Callable[[], None]  # set by who reads without futures

    def __init__(self, reading: "Reading", socket: Any):
        socket.close()
        self.socket = socket
        self._reading = reading
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._asked: tuple[int, asyncio.Future[bytes]] | None = None
        self._is_watched = self._is_due = False
        self._came = b""
        self._peer: Any = None
        self._nsqd: BufferingNsqd

    def connect(self, address: tuple[str, int]) -> "asyncio.Future[Any]":
        """Connect to the nsqd of this port."""
        self._nsqd = self._reading.nsqds[address[1] - PORT]
        self._peer = self._nsqd.connect(self)
        return self._done()

    def write(self, data: bytes) -> "asyncio.Future[Any]":
        """Send at once; the bytes arrive soon."""
        self._loop.call_later(self._nsqd.speed.wire_s, self._peer.take, bytes(data))
        return self._done()

    def read_bytes(self, size: int) -> "asyncio.Future[bytes]":
        """Read this many bytes, when they are there."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._asked = (size, future)
        self._offer()
        return future

    def _add_io_state(self, state: int) -> None:
        """From now on, call `_handle_read` when something has come."""
        self._is_watched = True
        self._offer()

    def read_from_fd(self, buffer: bytearray) -> int:
        """Read what has come into the buffer."""
        buffer[: len(self._came)] = self._came
        return len(self._came)

    def arrive(self, data: bytes) -> None:
        """Bytes from nsqd."""
        self._unread += data
        self._offer()

    def closed(self) -> bool:
        """Always false: nothing closes it."""
        return False

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        """The callback is never called."""

    def set_nodelay(self, value: bool) -> None:
        """Do nothing: there is no delay."""

    def _offer(self) -> None:
        asked = 1 if self._is_watched else self._asked[0] if self._asked else None
        if asked is not None and not self._is_due and len(self._unread) >= asked:
            self._is_due = True
            self._reading.process.do(self._read_all if self._is_watched else self._read_asked)

    def _read_asked(self) -> tuple[float, Callable[[], None]]:
        assert self._asked is not None
        size, future = self._asked
        self._is_due, self._asked = False, None
        data = self._take(size)
        return self._reading.speed.read_s, lambda: future.set_result(data)

    def _read_all(self) -> tuple[float, Callable[[], None]]:
        data = self._take(READ_BYTES_MAX)

        def end() -> None:
            self._came = data
            self._handle_read()
            self._is_due = False
            self._offer()

        speed = self._reading.speed
        return speed.read_s + len(data) // FRAME_BYTES * speed.play_s, end

    def _take(self, size: int) -> bytes:
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def _done(self) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        future.set_result(None)
        return future


class Counter:
    """Commits the plays that came during the last commit, and answers them."""

    def __init__(self, reading: "Reading", shard: int):
        self._reading = reading
        self._name = counter_of(shard)
        self._inbox: list[Plays] = []
        self.process = Process()

    def receive(self, message: Plays) -> None:
        """Take plays."""
        self._inbox.append(message)
        if len(self._inbox) == 1:
            self.process.do(self._commit)

    def _commit(self) -> tuple[float, Callable[[], None]]:
        messages, self._inbox = self._inbox, []
        plays = sum(count(one.ids, ID_BYTES) for one in messages)
        numbers, speed = [one.number for one in messages], self._reading.speed
        return speed.commit_s + plays * speed.committed_play_s, lambda: self._answer(numbers, plays)

    def _answer(self, numbers: list[int], plays: int) -> None:
        def handle() -> tuple[float, Callable[[], None]]:
            def end() -> None:
                self._reading.counted += plays
                self._reading.consumer.handle(self._name, [Counted(numbers)])

            return self._reading.speed.read_s, end

        self._reading.process.do(handle)


class _Host:
    """In place of the consumer's process: the virtual loop, and links to our counters."""

    def __init__(self, counters: dict[str, Counter]):
        self._counters = counters

    def wall_ns(self) -> int:
        return START_MS * 1_000_000 + round(asyncio.get_running_loop().time() * 1e9)

    def monotonic_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def send(self, peer: str, message: Message) -> None:
        assert isinstance(message, Plays)
        self._counters[peer].receive(message)

    def peers(self) -> Collection[str]:
        return self._counters.keys()

    def link_name(self, peer: str) -> str:
        return peer

    def say_loading(self, done: int, total: int, what: str) -> None:
        """Do nothing: this is for the supervisor."""

    def say_stats(self) -> None:
        """Do nothing."""

    def say_resumed(self, note: str = "") -> None:
        """Do nothing."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, call)


class _Watched(Consumer):
    """The consumer. It notes when each message came."""

    nsqds: list[BufferingNsqd]
    read_from: dict[int, BufferingNsqd]  # by connection

    def connected(self, connection: int, source: str, terms: Any) -> None:
        port = int(source.partition("/")[0].rpartition(":")[2])
        self.read_from[connection] = self.nsqds[port - PORT]
        super().connected(connection, source, terms)

    def received(self, connection: int, parsed: Any) -> None:
        ids = bytes(parsed.plays.ids)
        now_s = asyncio.get_running_loop().time()
        for at in range(0, len(ids), 16):
            self.read_from[connection].received_s[int(ids[at : at + 16], 16)] = now_s
        super().received(connection, parsed)


class Reading:
    """A consumer that will connect to these nsqds, on a `VirtualLoop`."""

    def __init__(
        self,
        nsqds: list[BufferingNsqd],
        speed: Speed,
        patch: pytest.MonkeyPatch,
        *overrides: str,
        stats_answer: bool = True,
    ):
        """`stats_answer`: whether the nsqds say what waits (GET /stats)."""
        self.nsqds = nsqds
        self._stats_answer = stats_answer
        self.speed = speed
        self.process = Process()
        self.counted = 0
        patch.setattr("actors.sources.nsqd.time", LoopTime(START_MS // 1000))
        patch.setattr(BaseAsyncIOLoop, "time", lambda loop: loop.asyncio_loop.time())
        patch.setattr(nsq.conn, "IOStream", lambda socket: Stream(self, socket))
        patch.setattr("actors.sources.nsqd_http.next_port", self._next_port)
        patch.setattr("actors.sources.nsqd_http.stats", self._stats)
        patch.setattr("actors.sources.nsqd_http.told_by", self._told_by)
        addresses = [f"127.0.0.1:{PORT + number}" for number in range(len(nsqds))]
        quoted = ", ".join(f'"{one}"' for one in addresses)
        settings = config.load(None, [f"nsq.nsqd_tcp_addresses=[{quoted}]", *overrides])
        self.counters = [Counter(self, shard) for shard in range(settings.counters.shards)]
        self._links = {counter_of(shard): one for shard, one in enumerate(self.counters)}
        host: Any = _Host(self._links)
        self.looks_s: list[float] = []  # when an nsqd was asked what waits
        self.consumer = _Watched(StartArgs("consumer", 1, "", settings), host)
        self.consumer.nsqds, self.consumer.read_from = nsqds, {}

    async def start(self) -> None:
        """Link the counters, so that the consumer connects."""
        await self.consumer.init()
        for name in self._links:
            self.consumer.linked(name)

    def shares(self) -> tuple[int, ...]:
        """The share of each nsqd: how many of its messages may be in flight at most."""
        connections = {one: connection for connection, one in self.consumer.read_from.items()}
        return tuple(self.consumer.rules.share(connections[one]) for one in self.nsqds)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let time pass until the condition holds."""
        end_s = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            assert asyncio.get_running_loop().time() < end_s, f"waited {PATIENCE_S:g} s for {what}"
            await asyncio.sleep(0.005)

    async def _next_port(self, tcp_address: str, _tls: object) -> str:
        return tcp_address if self._stats_answer else ""

    async def _told_by(self, _address: str, _tls: object) -> Told:
        return Told()

    async def _stats(self, address: str, _topic: str, _channel: str, _tls: object) -> QueueStats:
        self.looks_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(STATS_S)
        return QueueStats(depth=len(self.nsqds[split_address(address)[1] - PORT].waiting))
