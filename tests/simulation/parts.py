"""The stores, the source and the sink that the simulation gives to the real actors.

A process can be killed before and after each effect on them.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from msgspec.structs import replace

from actors.core.columns import HEX_ID_BYTES
from actors.core.consumer.bodies import Bodies
from actors.core.consumer.effects import DeadLetter, Finish, Look, Reconnect, SetReadyCount
from actors.core.consumer.frames import FrameParser, Parsed
from actors.core.consumer.terms import Terms
from actors.core.consumers import consumers_of
from actors.core.counter.accounts import Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.effects import Commit
from actors.core.counter.seen_chunks import SeenChunk
from actors.core.dispatcher.effects import Deliver, Forget, Store, StoreRefused, StoreRepublish
from actors.core.dispatcher.outbox import Batch, PublishTotals
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.dispatcher.republish import Republish
from actors.core.shards import shard_number
from actors.sinks.delivery import Delivery
from actors.sources.source import Listener

from .checks import Invariant, Violation
from .disks import LedgerDisk, OutboxDisk
from .nsqd import MAX_READY_COUNT
from .outside import MESSAGE_TIMEOUT_MS
from .plan import PLAY_ID
from .process import Process

TERMS = Terms(MAX_READY_COUNT, MESSAGE_TIMEOUT_MS)
_bodies = Bodies()  # what a body means does not depend on the run
TOPIC = "plays"


class Ledger:
    """A `LedgerStore` on a disk that fails now and then."""

    def __init__(self, process: Process):
        self._process = process
        self.disk: LedgerDisk = process.world.ledgers[shard_number(process.name)]

    @property
    def commits(self) -> int:
        """How many commits the ledger has."""
        return self.disk.commits

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """Read what was committed."""
        return self.disk.load()

    def commit(self, changes: LedgerChanges) -> None:
        """Write the changes."""
        self._process.world.write(self._process)
        with self._process.world.effect(self._process, "Commit", Commit(changes)):
            self.disk.commit(changes)
            self._process.world.committed(self._process, self.disk, changes)

    def close(self) -> None:
        """Do nothing."""


class Outbox:
    """An `OutboxStore` on a disk that fails now and then."""

    def __init__(self, process: Process):
        self._process = process
        self._disk: OutboxDisk = process.world.outbox
        self.service = self._disk.service

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """Read what was stored."""
        return self._disk.load()

    def store(
        self,
        batches: Iterable[Batch],
        totals: PublishTotals,
        taken: Iterable[bytes] = (),
        over: Iterable[str] = (),
    ) -> None:
        """Write batches at their stages; delete others."""
        self._process.world.write(self._process)
        effect = Store(tuple(batches), totals, tuple(taken), tuple(over))
        with self._process.world.effect(self._process, "Store", effect):
            self._disk.store(effect.batches, totals, effect.taken, effect.over)
            self._process.world.check_ages()

    def load_refused(self) -> list[RefusedVideo]:
        """Read the videos that the client refuses."""
        return self._disk.load_refused()

    def store_refused(
        self,
        videos: Iterable[RefusedVideo],
        totals: PublishTotals,
        gone: Iterable[bytes] = (),
        forget: str = "",
    ) -> None:
        """Write refused videos and the totals; delete others, and a batch."""
        self._process.world.write(self._process)
        effect = StoreRefused(tuple(videos), totals, tuple(gone), forget)
        with self._process.world.effect(self._process, "StoreRefused", effect):
            self._disk.store_refused(videos, totals, gone, forget)
            client = self._process.world.client
            client.width = min(client.width, totals.width or client.width)

    def load_republishes(self) -> tuple[list[Republish], int]:
        """Read the requests to publish totals again."""
        return self._disk.load_republishes()

    def store_republish(
        self, request: Republish | None, totals: PublishTotals, over: tuple[int, ...] = (), forget: str = ""
    ) -> None:
        """Write a request and the totals; delete others."""
        self._process.world.write(self._process)
        effect = StoreRepublish(request, totals, over, forget)
        with self._process.world.effect(self._process, "StoreRepublish", effect):
            self._disk.store_republish(request, totals, over, forget)
            if request is not None:
                self._process.world.client.republish_stored(request)

    def forget(self, key: str) -> None:
        """Delete a batch."""
        self._process.world.write(self._process)
        with self._process.world.effect(self._process, "Forget", Forget(key)):
            self._disk.forget(key)

    def close(self) -> None:
        """Do nothing."""


def stored_to_leave(process: Process, stores: int = 0) -> int:
    """How many batches a dispatcher is about to send before its next write, or before one after `stores`."""
    to_leave = 0
    for effect in process.actor.effects._todo:
        if isinstance(effect, Store):
            stores -= 1
            if stores < 0:
                break
        to_leave += isinstance(effect, Deliver)
    return to_leave


class Answer:
    """The client's answer, in place of an awaitable."""

    def __init__(self) -> None:
        self.call: Callable[[Delivery], None]

    def then(self, call: Callable[[Delivery], None]) -> None:
        """Call this with the answer."""
        self.call = call


class Sink:
    """The way to the client."""

    name = receiver = "the client"
    settings = "its settings"
    takes_several = True

    def __init__(self, process: Process):
        self._process = process
        self._left_ms: list[int] = []
        self.on_their_way: dict[str, Batch] = {}
        self._sent = set(process.world.outbox.batches)  # the keys of batches that may go again

    def begin(self, batch: Batch, held_up_ms: int, done: Callable[[Delivery], None]) -> bool:
        """Send a batch once."""
        self.deliver(batch).then(done)
        return True

    def deliver(self, batch: Batch) -> Answer:
        """Send a batch once."""
        world = self._process.world
        answer = Answer()
        with world.effect(self._process, "Deliver", Deliver(batch)):
            if world.outbox.batches.get(batch.key) is None or batch.key in self.on_their_way:
                raise Violation(Invariant.WRITTEN_FIRST, f"{batch.key} is sent at once")
            if len(self.on_their_way) >= world.changes.in_flight_max:
                raise Violation(Invariant.WRITTEN_FIRST, f"{len(self.on_their_way) + 1} are on their way")
            if any(not set(batch.videos).isdisjoint(one.videos) for one in self.on_their_way.values()):
                raise Violation(Invariant.ONE_BATCH, f"{batch.key} and {list(self.on_their_way)}")
            self._check_attempts()
            self._check_refused(batch)
            self._check_rate(world.clock.now_ms, world.changes.rate_max_per_s(world.clock.now_ms))
            self.on_their_way[batch.key] = batch
            world.outside.deliver(self._process, batch, answer)
        return answer

    def _check_attempts(self) -> None:
        world = self._process.world
        world.attempts += 1
        # Several are stored together before they leave. A kill between leaves those that had not left.
        more, kept = world.outbox.totals.attempts - world.attempts, stored_to_leave(self._process) - 1
        if not kept <= more <= kept + world.stored_and_lost:
            found = f"{more} more are stored, {kept} are to leave, {world.stored_and_lost} were lost in kills"
            raise Violation(Invariant.ATTEMPTS, found)

    def _check_refused(self, batch: Batch) -> None:
        """Check that what is refused leaves alone, and that no batch is too wide, unless it goes again."""
        world, width = self._process.world, len(batch.entries)
        if batch.key in self._sent:
            return
        self._sent.add(batch.key)
        refused = [video for video in batch.videos if video in world.outbox.refused]
        if refused and width > 1:
            raise Violation(Invariant.ALONE, f"{len(refused)} refused videos leave among {width}")
        incarnation, too_wide = world.client.too_wide
        is_known = incarnation == self._process.incarnation and width >= too_wide
        if is_known or width > world.client.width:
            raise Violation(Invariant.NARROW, f"{width} videos leave")

    def _check_rate(self, now_ms: int, rate_max_per_s: int) -> None:
        self._left_ms = [one for one in self._left_ms if now_ms - one < 1000] + [now_ms]
        # A late timer may make up for one interval, and one attempt leaves whatever the rate at a drain.
        if rate_max_per_s and len(self._left_ms) > rate_max_per_s + 2:
            raise Violation(Invariant.RATE, f"{len(self._left_ms)} attempts in a second")


class Connection:
    """One connection to an nsqd, as the consumer has it."""

    def __init__(self, number: int, queue: Any, bodies: Bodies):
        self.number = number
        self.queue = queue
        self.parser = FrameParser(bodies)
        self.is_broken = False
        self.stamps: dict[bytes, int] = {}  # of the messages that came, by their ids
        self.arrives_ms = self.reaches_ms = 0  # when the last bytes do: here, and at nsqd


class Source:
    """The connections of one consumer to all nsqds."""

    def __init__(self, process: Process, listener: Listener):
        self.process = process
        self.connections: dict[int, Connection] = {}
        self._listener = listener
        self._world = process.world
        has_ids, kind = process.world.plan.play_ids, process.world.machines.identified
        self._bodies = kind(TOPIC, PLAY_ID) if has_ids else _bodies
        place = consumers_of(process.world.plan.consumers).index(process.name)
        self._numbers = count(process.incarnation * 1000 + place * 1_000_000)
        for queue in self._world.outside.queues:
            self._world.clock.after(0, self._world.run, process, self.connect, queue)

    @property
    def ready_count(self) -> int:
        """Not used here."""
        raise AssertionError

    @property
    def nsqds(self) -> list[Any]:
        """None is told of: their addresses are for the log alone."""
        return []

    def connect(self, queue: Any) -> None:
        """Connect, unless there is a connection."""
        if any(one.queue is queue for one in self.connections.values()):
            return
        connection = Connection(next(self._numbers), queue, self._bodies)
        self.connections[connection.number] = connection
        self._world.outside.connect(self, connection)
        # Two that share a node id tell it, as one alone would be taken for the other until its first message.
        tells = not self._world.plan.moves or self._world.plan.nodes_are_told
        terms = replace(TERMS, node_id=queue.node, host="one") if tells else TERMS
        self._listener.connected(connection.number, queue.source, terms)

    def disconnected(self, connection: Connection) -> None:
        """Handle a lost connection."""
        del self.connections[connection.number]
        self._listener.disconnected(connection.number)

    def refused(self, connection: Connection, error: bytes) -> None:
        """Hand over nsqd's refusal of a FIN."""
        self._listener.refused(connection.number, error)

    def received(self, connection: Connection, data: bytes) -> None:
        """Hand over one read."""
        parsed: Parsed = connection.parser.feed(data)
        if parsed.messages:
            connection.stamps.update(_stamps(parsed))
            self._listener.received(connection.number, parsed)
            self._world.outside.check_outstanding(self._world.outstanding)

    # Calls of a consumer. Unlike `Source`, these raise for a connection that is gone.

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """Send RDY."""
        self._check_paused(ready_count)
        with self._world.effect(self.process, "SetReadyCount", SetReadyCount(connection, ready_count)):
            self._world.outside.set_ready_count(self.connections[connection], ready_count)

    def finish(self, connection: int, ids: bytes, ready_count: int) -> None:
        """Send RDY and FINs."""
        self._check_paused(ready_count)
        with self._world.effect(self.process, "Finish", Finish(connection, ids, ready_count)):
            one = self.connections[connection]
            texts = _texts(ids)
            names = [(one.queue.name, int(text, 16), one.stamps[text]) for text in texts]
            self._world.oracle.finished(names)
            self._world.outside.finish(one, texts, ready_count)

    def _check_paused(self, ready_count: int) -> None:
        if ready_count and self.process.actor._paused:
            raise Violation(Invariant.PAUSED, f"RDY {ready_count}")

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish dead letters."""
        with self._world.effect(self.process, "DeadLetter", DeadLetter(0, connection, bodies, {})):
            self._world.outside.dead_letter(self, self.connections[connection], bodies, done)

    def reconnect(self, connection: int) -> None:
        """Replace a connection."""
        with self._world.effect(self.process, "Reconnect", Reconnect(connection)):
            one = self.connections[connection]
            self._world.outside.reconnect(one)
            self.disconnected(one)
            self.connect(one.queue)

    def look(self, connection: int, done: Callable[[int | None], None]) -> None:
        """Ask how many messages wait."""
        with self._world.effect(self.process, "Look", Look(connection)):
            self._world.outside.look(self, self.connections[connection], done)

    def close(self) -> None:
        """Nothing."""


def _texts(ids: bytes | bytearray) -> list[bytes]:
    return [bytes(ids[at : at + HEX_ID_BYTES]) for at in range(0, len(ids), HEX_ID_BYTES)]


def _stamps(parsed: Parsed) -> dict[bytes, int]:
    stamps = dict(zip(_texts(parsed.plays.ids), parsed.plays.arrived_ns, strict=True))
    return stamps | {one.id: one.arrived_ns for one in parsed.bad}
