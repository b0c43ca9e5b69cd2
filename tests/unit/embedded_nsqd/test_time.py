"""The embedded nsqd's times, exact: when at the earliest, and when at the latest.

The server is the real one, on a loop whose clock goes on to the next timer when nothing happens, and its
clients are in memory, so that what they are sent is theirs at once. What falls due is found by a scan
every SCAN_INTERVAL_MS, or more seldom while nothing can fall due: that much late is the most.
"""

import asyncio
import itertools
import json
import pathlib
from collections.abc import Awaitable, Callable

import pytest

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.connection import ClientConnection
from actors.embedded_nsqd.server import EmbeddedNsqd
from tests.support.queues import MESSAGE, RESPONSE, Message, multi, sized
from tests.support.virtual_time import run_virtually

START_NS = 1_795_502_904_123_456_789
LATE_MS = limits.SCAN_INTERVAL_MS


class Nsqd(EmbeddedNsqd):
    """One whose clocks are the loop's."""

    def now_ms(self) -> int:
        return round(self._loop.time() * 1000)

    def now_wall_ns(self) -> int:
        return START_NS + self.now_ms() * 1_000_000


class Client(asyncio.Transport):
    """A client in memory, and the transport that its connection writes to: frames with when they came."""

    def __init__(self, nsqd: Nsqd, **settings: object) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.frames: list[tuple[int, int, bytes]] = []
        self.closed_ms: int | None = None
        self.answers_heartbeats = True
        self._nsqd = nsqd
        self._connection = ClientConnection(nsqd)
        self._connection.connection_made(self)
        self.send(b"  V2IDENTIFY\n" + sized(json.dumps(settings).encode()))

    def send(self, data: bytes) -> None:
        self._connection.data_received(data)

    def subscribe(self, topic: str, ready: int) -> None:
        self.send(b"SUB %s c\nRDY %d\n" % (topic.encode(), ready))

    def stop_reading(self) -> None:
        """What a transport says when its buffer is full."""
        self._connection.pause_writing()

    @property
    def messages(self) -> list[tuple[int, Message]]:
        return [(came_ms, Message(data)) for came_ms, kind, data in self.frames if kind == MESSAGE]

    @property
    def heartbeats_ms(self) -> list[int]:
        return [came_ms for came_ms, kind, data in self.frames if (kind, data) == (RESPONSE, b"_heartbeat_")]

    # What the connection does with its transport.

    def write(self, data: bytes) -> None:
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            kind, content = int.from_bytes(data[4:8], "big"), data[8:size]
            self.frames.append((self._nsqd.now_ms(), kind, content))
            if content == b"_heartbeat_" and self.answers_heartbeats:
                asyncio.get_running_loop().call_soon(self.send, b"NOP\n")
            data = data[size:]

    def close(self) -> None:
        if self.closed_ms is None:
            self.closed_ms = self._nsqd.now_ms()
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed_ms is not None

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def run(path: pathlib.Path, scene: Callable[[Nsqd], Awaitable[None]]) -> None:
    """A scene with a server of its own, which began at 0 ms and scans every LATE_MS."""

    async def play() -> None:
        nsqd = await Nsqd.start(path, "127.0.0.1:0", "127.0.0.1:0")
        try:
            await scene(nsqd)
        finally:
            await nsqd.stop()

    run_virtually(play)


async def until_ms(nsqd: Nsqd, moment_ms: int) -> None:
    await asyncio.sleep((moment_ms - nsqd.now_ms()) / 1000)
    assert nsqd.now_ms() == moment_ms


def publish(client: Client, topic: str, *bodies: bytes) -> None:
    client.send(f"MPUB {topic}\n".encode() + sized(multi(bodies)))


def scan_after_ms(moment_ms: int) -> int:
    """When the first scan is that finds what is due at that moment."""
    return -(-moment_ms // LATE_MS) * LATE_MS


def is_late_at_most(came_ms: int | None, due_ms: int) -> bool:
    """Whether what a heartbeat interval of a second decides comes within a quarter of it."""
    return came_ms is not None and 0 <= came_ms - due_ms <= limits.HEARTBEAT_LATE_SHARE * 1000


@pytest.mark.parametrize("given_ms", [10, 50, 99, 100])
def test_a_message_that_times_out_comes_again_with_the_next_scan(tmp_path, given_ms):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd, msg_timeout=1000)
        client.subscribe("t", ready=1)
        await until_ms(nsqd, given_ms)
        publish(client, "t", b"slow")
        await until_ms(nsqd, 5000)
        again_ms = scan_after_ms(given_ms + 1000)
        assert [(came_ms, message.attempts) for came_ms, message in client.messages] == [
            (given_ms, 1),
            *((again_ms + 1000 * number, 2 + number) for number in range(4)),
        ]

    run(tmp_path, scene)


def test_a_touch_puts_the_timeout_off_by_as_much_as_there_was_at_first(tmp_path):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd, msg_timeout=1000)
        client.subscribe("t", ready=2)
        publish(client, "t", b"slow", b"touched")
        await until_ms(nsqd, 1)
        given = {message.body: message for _, message in client.messages}
        for moment_ms in (900, 1800, 2700):
            await until_ms(nsqd, moment_ms)
            client.send(b"TOUCH " + given[b"touched"].id + b"\n")
        await until_ms(nsqd, 4000)
        came_ms = [came_ms for came_ms, message in client.messages if message.body == b"touched"]
        assert came_ms == [0, 3700]
        came_ms = [came_ms for came_ms, message in client.messages if message.body == b"slow"]
        assert came_ms == [0, 1000, 2000, 3000, 4000]

    run(tmp_path, scene)


@pytest.mark.parametrize("delay_ms", [1, 99, 100, 101, 2345])
def test_what_is_delayed_comes_with_the_next_scan_after_its_delay(tmp_path, delay_ms):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd)
        client.subscribe("t", ready=9)
        client.send(b"DPUB t %d\n" % delay_ms + sized(b"published"))
        publish(client, "t", b"requeued", b"at once")
        await until_ms(nsqd, 50)
        assert [message.body for _, message in client.messages] == [b"requeued", b"at once"]
        for (_, message), requeue_ms in zip(client.messages, (delay_ms, 0), strict=True):
            client.send(b"REQ %s %d\n" % (message.id, requeue_ms))
        await until_ms(nsqd, 5000)
        came_ms = {message.body: came_ms for came_ms, message in client.messages}
        assert came_ms[b"at once"] == 50
        assert came_ms[b"published"] == scan_after_ms(delay_ms)
        assert came_ms[b"requeued"] == scan_after_ms(50 + delay_ms)

    run(tmp_path, scene)


def test_what_a_client_held_that_goes_is_given_to_another_at_once(tmp_path):
    async def scene(nsqd: Nsqd) -> None:
        leaving, other = Client(nsqd), Client(nsqd)
        leaving.subscribe("t", ready=9)
        publish(leaving, "t", b"1", b"2")
        await until_ms(nsqd, 30)
        other.subscribe("t", ready=9)
        leaving.close()
        await until_ms(nsqd, 31)
        assert [(came_ms, message.attempts) for came_ms, message in other.messages] == [(30, 2), (30, 2)]

    run(tmp_path, scene)


def test_a_silent_client_is_dropped_after_two_heartbeats_and_one_that_answers_never(tmp_path):
    async def scene(nsqd: Nsqd) -> None:
        silent, answering = (Client(nsqd, heartbeat_interval=1000) for _ in range(2))
        silent.answers_heartbeats = False
        await until_ms(nsqd, 10_000)
        assert is_late_at_most(silent.heartbeats_ms[0], 1000)
        assert is_late_at_most(silent.closed_ms, 2001)
        assert (
            len(answering.heartbeats_ms) >= 8
        )  # of the ten seconds, each late by a quarter; in virtual time
        for before_ms, beat_ms in itertools.pairwise([0, *answering.heartbeats_ms]):
            assert is_late_at_most(beat_ms, before_ms + 1000)
        assert answering.closed_ms is None

    run(tmp_path, scene)


def test_a_client_that_does_not_read_is_dropped_after_a_heartbeat_whatever_it_says(tmp_path):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd, heartbeat_interval=1000)
        client.subscribe("t", ready=9)
        await until_ms(nsqd, 350)
        client.stop_reading()
        while client.closed_ms is None:
            client.send(b"NOP\n")
            await asyncio.sleep(0.01)
        assert is_late_at_most(client.closed_ms, 350 + 1000 + 1)

    run(tmp_path, scene)


def test_while_nothing_happens_it_wakes_up_once_a_second_and_leaves_the_journal_alone(tmp_path, monkeypatch):
    async def scene(nsqd: Nsqd) -> None:
        looked_ms: list[int] = []
        scanned_ms: list[int] = []
        client = Client(nsqd)
        client.subscribe("t", ready=9)
        publish(client, "t", b"one")
        await until_ms(nsqd, 5000)
        nsqd._journal._file.connection.set_trace_callback(lambda _: looked_ms.append(nsqd.now_ms()))
        monkeypatch.setattr(type(client._connection), "scan", lambda one, now_ms: scanned_ms.append(now_ms))
        await until_ms(nsqd, 5500)
        assert len(scanned_ms) == 5, "a message is in flight"
        client.send(b"FIN " + client.messages[0][1].id + b"\n")
        await until_ms(nsqd, 8000)
        scanned_ms.clear()
        looked_ms.clear()
        await until_ms(nsqd, 20_000)
        assert (len(scanned_ms), looked_ms) == (12, [])
        client.send(b"DPUB t 150\n" + sized(b"later"))
        await until_ms(nsqd, 20_300)
        assert client.messages[-1][1].body == b"later", "what is delayed is not"

    run(tmp_path, scene)


def test_a_delayed_message_makes_one_scan_more_frequent_and_not_two_of_it(tmp_path, monkeypatch):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd)
        client.subscribe("t", ready=9)
        await until_ms(nsqd, 2350)
        client.send(b"DPUB t 5000\n" + sized(b"later"))
        await until_ms(nsqd, 3050)
        scanned_ms: list[int] = []
        monkeypatch.setattr(type(client._connection), "scan", lambda one, now_ms: scanned_ms.append(now_ms))
        await until_ms(nsqd, 4050)
        assert scanned_ms == list(range(3100, 4001, LATE_MS))

    run(tmp_path, scene)


def test_what_was_finished_is_written_down_within_the_flush_time_in_one_commit(tmp_path):
    async def scene(nsqd: Nsqd) -> None:
        client = Client(nsqd)
        client.subscribe("t", ready=9)
        publish(client, "t", *(b"%d" % number for number in range(9)))
        await until_ms(nsqd, 1)
        for moment_ms, (_, message) in zip(range(10, 14), client.messages[:4], strict=True):
            await until_ms(nsqd, moment_ms)
            client.send(b"FIN " + message.id + b"\n")
        await until_ms(nsqd, 10 + limits.FINISH_FLUSH_MS - 1)
        assert nsqd.queue.has_changes()
        await until_ms(nsqd, 10 + limits.FINISH_FLUSH_MS + 1)
        assert not nsqd.queue.has_changes()

    run(tmp_path, scene)
