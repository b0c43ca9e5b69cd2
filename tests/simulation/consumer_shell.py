"""The consumer as the simulation has it: messages from two nsqds to the counters, FIN when counted."""

from itertools import count
from typing import Any

from actors.core.columns import HEX_ID_BYTES
from actors.core.consumer.bodies import Bodies
from actors.core.consumer.effects import DeadLetter, Finish
from actors.core.consumer.frames import FrameParser
from actors.core.consumer.ready_count import Pace
from actors.core.shards import shard_number

from .shells import Shell

_bodies = Bodies()  # what a body means does not depend on the run


class Connection:
    """One connection to an nsqd, as the consumer has it."""

    def __init__(self, number: int, queue: Any, pace: Pace, parser: FrameParser):
        self.number = number
        self.queue = queue
        self.pace = pace
        self.parser = parser
        self.ready_count = 0
        self.is_broken = False
        self.arrives_ms = self.reaches_ms = 0  # when the last bytes do: here, and at nsqd


class ConsumerShell(Shell):
    """Messages from two nsqds to the counters."""

    def __init__(self, world: Any, name: str, incarnation: int):
        super().__init__(world, name, incarnation)
        self.rules = world.machines.deliveries(world.plan.shards)
        self.connections: dict[int, Connection] = {}
        self.paused = False
        self._numbers = count(incarnation * 1000)

    def linked(self, peer: str) -> None:
        self.world.perform(self, self.rules.linked(shard_number(peer)))
        if not self.ready and len(self.links) == self.world.plan.shards:
            self.ready = True
            for queue in self.world.outside.queues:
                self.connect(queue)

    def lost(self, peer: str) -> None:
        """What it has not answered is kept for the next."""

    def handle(self, peer: str, messages: list[Any]) -> None:
        for message in messages:
            self.world.perform(self, self.rules.counted(shard_number(peer), message.numbers))
        if self.paused and self.rules.outstanding <= self.world.plan.max_in_flight // 2:
            self.paused = False
            for connection in self.connections.values():
                self._set_ready_count(connection, 1)

    def connect(self, queue: Any) -> None:
        if any(one.queue is queue for one in self.connections.values()):
            return
        parser = FrameParser(_bodies)
        connection = Connection(next(self._numbers), queue, self.world.machines.pace(1), parser)
        self.connections[connection.number] = connection
        self.world.outside.connect(self, connection)
        self._share()
        self.rules.connected(connection.number)
        self._set_ready_count(connection, 1)

    def disconnected(self, connection: Connection) -> None:
        del self.connections[connection.number]
        self.rules.disconnected(connection.number)
        self._share()

    def received(self, connection: Connection, data: bytes) -> None:
        parsed = connection.parser.feed(data)
        if not parsed.messages:
            return
        source, limit = connection.queue.source, self.world.plan.max_in_flight
        self.world.perform(self, self.rules.received(connection.number, source, parsed))
        self.world.outside.check_outstanding(self.rules.outstanding)
        if self.rules.outstanding > limit:
            self.paused = True
            for one in self.connections.values():
                self._set_ready_count(one, 0)
        if not self.paused:
            in_flight = self.rules.in_flight(connection.number)
            clock = self.world.clock
            ages_ms = parsed.ages_ms(clock.wall_ms * 1_000_000)
            ready_count = connection.pace.after_read(in_flight, clock.now_ms, *ages_ms)
            self._set_ready_count(connection, ready_count)

    def lettered(self, number: int) -> None:
        self.world.perform(self, self.rules.dead_lettered(number))

    def carry_out(self, effect: Any) -> None:
        match effect:
            case Finish():
                connection = self.connections[effect.connection]
                ids = [effect.ids[at : at + HEX_ID_BYTES] for at in range(0, len(effect.ids), HEX_ID_BYTES)]
                self.world.oracle.finished(connection.queue.source, ids)
                self.world.outside.finish(connection, ids)
            case DeadLetter():
                self.world.outside.dead_letter(self, self.connections[effect.connection], effect)
            case _:
                super().carry_out(effect)

    def _share(self) -> None:
        share = max(1, self.world.plan.max_in_flight // max(1, len(self.connections)))
        for one in self.connections.values():
            self._set_ready_count(one, min(one.ready_count, one.pace.limit(share)))

    def _set_ready_count(self, connection: Connection, ready_count: int) -> None:
        if connection.ready_count != ready_count:
            connection.ready_count = ready_count
            self.world.outside.set_ready_count(connection, ready_count)
