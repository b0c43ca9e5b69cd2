"""The promises of `actors/sources/source.py`, tested for every source. Add a new source to `STAGES`."""

import asyncio
import contextlib
import time

import pytest

from actors.config import NsqSection, Settings
from actors.core.columns import HEX_ID_BYTES
from actors.sources import open_source
from tests.simulation import parts
from tests.simulation.plan import Kind, Play, draw
from tests.simulation.process import Process
from tests.simulation.world import World
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, open_queue

VIDEO = "00000000-0000-4000-8000-000000000001"
BODY = b'{"video_id":"%b"}' % VIDEO.encode()


class Listener:
    """Keeps what it hears, and fails if it hears what it must not hear."""

    def __init__(self):
        self.connections, self.lost, self.ids, self.limits, self.errors = [], [], {}, {}, []

    def connected(self, connection, source, terms):
        assert connection not in self.connections, "a connection's number must be new"
        assert source and min(terms.ready_count_max, terms.msg_timeout_ms, terms.letter_bytes_max) >= 1
        self.connections.append(connection)
        self.limits[connection] = terms.ready_count_max
        self.ids[connection] = []

    def received(self, connection, parsed):
        assert connection in self.connections and connection not in self.lost
        assert parsed.messages >= 1
        ids = bytes(parsed.plays.ids)
        self.ids[connection] += [ids[at : at + HEX_ID_BYTES] for at in range(0, len(ids), HEX_ID_BYTES)]

    def renamed(self, connection, source):
        assert connection in self.connections and connection not in self.lost

    def refused(self, connection, error):
        assert connection in self.connections and connection not in self.lost
        self.errors.append(error)

    def disconnected(self, connection):
        assert connection in self.connections and connection not in self.lost
        self.lost.append(connection)

    @property
    def current(self):
        (one,) = [one for one in self.connections if one not in self.lost]
        return one


class QueueStage:
    """`NsqdSource`, on a queue in its own process."""

    def __init__(self, kind, path):
        self._stack = contextlib.ExitStack()
        self._queue = self._stack.enter_context(open_queue(kind, path))
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)

    def open(self, listener):
        nsq = NsqSection(nsqd_tcp_addresses=[self._queue.tcp_address], topic="plays", max_in_flight=100)

        async def make():
            return open_source(Settings(nsq=nsq), listener)

        self.source = self._loop.run_until_complete(make())
        return self.source

    def put(self, plays):
        self._queue.post("/mpub?topic=plays", b"\n".join([BODY] * plays))

    def cut(self):
        self._queue.restart()

    def letters(self):
        topic = self._queue.topic("plays.dead")
        return 0 if topic is None else topic["message_count"]

    def until(self, condition):
        async def wait():
            ends_s = time.monotonic() + PATIENCE_S
            while not condition():
                assert time.monotonic() < ends_s
                await asyncio.sleep(0.01)

        self._loop.run_until_complete(wait())

    def settle(self):
        """Wait long enough for messages that must not come."""
        self._loop.run_until_complete(asyncio.sleep(0.15))

    def close(self):
        self.source.close()
        self.settle()
        self._stack.close()
        self._loop.close()
        asyncio.set_event_loop(None)


class SimulatedStage:
    """The simulation's source, on one of its nsqds."""

    def __init__(self, kind, path):
        self._world = World(draw(0))
        self._world.clock._heap.clear()  # no other process, play or fault
        self._world.oracle.finished = lambda names: None  # whether plays are counted is not tested here
        self._world.outside.check_outstanding = lambda outstanding: None
        del self._world.outside.queues[1:]
        self._process = Process(self._world, "consumer", 1)

    def open(self, listener):
        self.source = parts.Source(self._process, listener)
        self._process.actor = self
        self.rules = self
        self.outstanding = 0
        self._paused = False
        return self.source

    def put(self, plays):
        for _ in range(plays):
            self._world.outside._put(Play(self._world.clock.now_ms, 0, 0))

    def cut(self):
        self._world.outside.strike(
            next(one for one in draw_faults() if one.kind is Kind.CUT and one.who == "0")
        )

    def letters(self):
        return len(self._world.oracle.letters)

    def until(self, condition):
        while not condition():
            assert self._world.clock.now_ms < 10_000
            assert self._world.clock.step(), "no event is left"

    def settle(self):
        """Let everything arrive that is on its way, but no message time out."""
        ends_ms = self._world.clock.now_ms + 500
        self._world.clock.at(ends_ms, lambda: None)
        self.until(lambda: self._world.clock.now_ms >= ends_ms)

    def close(self):
        self.source.close()


def draw_faults():
    return (fault for seed in range(1000) for fault in draw(seed).faults)


STAGES = {**dict.fromkeys(QUEUES, QueueStage), "simulation": SimulatedStage}


@pytest.fixture(params=STAGES)
def stage(request, tmp_path):
    stage = STAGES[request.param](request.param, tmp_path)
    with contextlib.closing(stage):
        yield stage


@pytest.fixture
def listener():
    return Listener()


def connected(stage, listener):
    source = stage.open(listener)
    stage.until(lambda: listener.connections)
    return source, listener.current


def test_nothing_comes_before_it_is_asked_for_and_no_more_than_is_asked_for(stage, listener):
    stage.put(10)
    source, connection = connected(stage, listener)
    stage.settle()
    assert listener.ids[connection] == []
    source.set_ready_count(connection, 3)
    stage.until(lambda: len(listener.ids[connection]) >= 3)
    stage.settle()
    assert len(listener.ids[connection]) == 3


def test_what_is_finished_makes_room_and_does_not_come_again(stage, listener):
    stage.put(5)
    source, connection = connected(stage, listener)
    source.set_ready_count(connection, 2)
    stage.until(lambda: len(listener.ids[connection]) == 2)
    source.finish(connection, b"".join(listener.ids[connection]), 2)
    stage.until(lambda: len(listener.ids[connection]) == 4)
    source.finish(connection, b"".join(listener.ids[connection][2:]), 2)
    stage.until(lambda: len(listener.ids[connection]) == 5)
    assert len(set(listener.ids[connection])) == 5


def test_messages_that_are_finished_with_a_smaller_ready_count_make_no_room(stage, listener):
    stage.put(9)
    source, connection = connected(stage, listener)
    source.set_ready_count(connection, 4)
    stage.until(lambda: len(listener.ids[connection]) == 4)
    source.finish(connection, b"".join(listener.ids[connection][:3]), 1)
    stage.settle()
    assert len(listener.ids[connection]) == 4, "one is in flight, and one is allowed"
    source.finish(connection, listener.ids[connection][3], 2)
    stage.until(lambda: len(listener.ids[connection]) == 6)
    stage.settle()
    assert len(listener.ids[connection]) == 6


def test_after_a_ready_count_of_none_nothing_new_comes(stage, listener):
    source, connection = connected(stage, listener)
    source.set_ready_count(connection, 5)
    source.set_ready_count(connection, 0)
    stage.settle()
    stage.put(3)
    stage.settle()
    assert listener.ids[connection] == []
    source.set_ready_count(connection, 5)
    stage.until(lambda: len(listener.ids[connection]) == 3)


def test_a_connection_that_is_lost_is_told_once_and_what_it_held_comes_on_the_next(stage, listener):
    stage.put(4)
    source, connection = connected(stage, listener)
    source.set_ready_count(connection, 4)
    stage.until(lambda: len(listener.ids[connection]) == 4)
    source.finish(connection, listener.ids[connection][0], 4)
    stage.settle()
    held = listener.ids[connection][1:]
    stage.cut()
    stage.until(lambda: len(listener.connections) == 2 and listener.lost == [connection])
    source.set_ready_count(listener.current, 10)
    stage.until(lambda: len(listener.ids[listener.current]) >= 3)
    assert set(listener.ids[listener.current]) >= set(held)
    assert listener.lost == [connection]


def test_what_is_published_is_acknowledged_once_it_is_there(stage, listener):
    source, connection = connected(stage, listener)
    there = []
    letter = b'{"source": "a:4150/plays", "id": "%016x", "arrived_at_ns": 1}'
    source.publish(connection, "plays.dead", [letter % 1, letter % 2], lambda: there.append(stage.letters()))
    stage.until(lambda: there)
    assert there == [2]
