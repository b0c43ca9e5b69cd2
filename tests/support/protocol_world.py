"""The four actors wired in memory: the real rules; simulated links, disks, queues and a client.

One seed decides everything. An actor can be killed before and after every single effect of it, and
at any other moment; it starts again from what its disk has, with new links. After `heal` no fault
happens, and `converged` must become true.
"""

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any

from actors.core.bodies import Bodies
from actors.core.counting import CONSUMER, DISPATCHER, Counting
from actors.core.deliveries import Deliveries
from actors.core.dispatching import Dispatching, Outcome
from actors.core.effects import Commit, DeadLetter, Deliver, Finish, Forget, Send, Store
from actors.core.frames import FrameParser
from actors.core.ledger import Ledger
from actors.core.outbox import Batch
from actors.core.schedule import Rule
from actors.core.seen import SeenIds
from actors.core.shards import counter_of, shard_of
from tests.support.play_oracle import PlayOracle
from tests.support.simulated_client import LedgerDisk, OutboxDisk, SimulatedClient
from tests.support.simulated_faults import Faults
from tests.support.simulated_links import SimulatedLinks
from tests.support.simulated_queue import SimulatedQueue

SHARDS = 2
COUNTERS = [counter_of(shard) for shard in range(SHARDS)]
PAIRS = [(CONSUMER, name) for name in COUNTERS] + [(DISPATCHER, name) for name in COUNTERS]
START_MS = 1_795_502_904_000
WINDOW_MS = 3_600_000
FIRST_MESSAGE_NUMBER = 1 << 40
NO_PLAYS = (b"", b"[]", b'{"video_id":1}', b"\xff" * 9)
RULE = Rule(realtime_below=6, deadline_ms=2000, realtime_linger_ms=0, overdue_linger_ms=100)


class Killed(Exception):
    """The actor was killed in the middle of what it did."""


class World:
    """Everything, and one step after another."""

    def __init__(
        self,
        seed: int,
        videos: int,
        faults: Faults,
        steps_below: int = 0,
        counting: type[Counting] = Counting,
        dispatching: type[Dispatching] = Dispatching,
    ):
        self.random = Random(seed)
        self.faults = faults
        self.now_ms = START_MS
        self._trace: deque[tuple[int, tuple[Any, ...]]] = deque(maxlen=400)
        self.steps_below = steps_below
        self.videos = [self.random.randbytes(16) for _ in range(videos)]
        # Two nsqds that give the same ids: only their names tell the messages apart.
        sources = ("a:4150/plays", "b:4150/plays")
        self.queues = [SimulatedQueue(source, FIRST_MESSAGE_NUMBER) for source in sources]
        self.produced: dict[bytes, int] = {}
        self.bad_produced = 0
        self.oracle = PlayOracle()
        self.ledgers = [LedgerDisk() for _ in range(SHARDS)]
        self.outbox = OutboxDisk()
        self.client = SimulatedClient(self.oracle.oldest_untold_ns, steps_below)
        self.kills = 0
        self._counting, self._dispatching = counting, dispatching
        self._alive: dict[str, Any] = {}
        self._links = SimulatedLinks(PAIRS)
        self._connections: dict[int, tuple[SimulatedQueue, FrameParser]] = {}
        self._unread: dict[int, bytes] = {}
        self._connection_numbers = 0
        self._letters: list[tuple[Deliveries, int]] = []
        self._on_the_wire: tuple[Dispatching, Batch] | None = None
        self._strays: list[Batch] = []
        self._healed = self._draining = False

    # Steps

    def step(self) -> None:
        """One thing happens, to somebody, at random."""
        happenings = [
            (2.0, self._produce), (2.0, self._read), (3.0, self._link_up), (3.0, self._start_one),
            (9.0, self._deliver_mail), (1.0, self._notice_loss), (3.0, self._answer),
            (1.0, self._acknowledge_letter), (1.0, self._wake), (1.5, self._pass_time),
            (0.5, self._arrive_late), (self.faults.kill, self._kill_one),
            (self.faults.disconnect, self._disconnect), (self.faults.time_out, self._time_out),
        ]
        weights = [weight for weight, _ in happenings]
        self.random.choices(happenings, weights)[0][1]()

    def heal(self) -> None:
        """From now on no fault, no new play, everybody alive; and nothing waits for chance."""
        self.faults, self._healed = Faults(), True
        self._strays.clear()

    def drain(self) -> None:
        """The service stops in order: the consumer holds nothing, now the dispatcher is told."""
        consumer = self._alive.get(CONSUMER)
        assert consumer is not None and consumer.outstanding == 0 and self._links.complete
        self._draining = True
        self._perform(DISPATCHER, self._alive[DISPATCHER].drain(self.now_ms))

    @property
    def counted(self) -> bool:
        """Whether all that was produced is committed and finished."""
        consumer = self._alive.get(CONSUMER)
        held = consumer is None or consumer.outstanding > 0
        return not held and self._links.complete and all(queue.empty for queue in self.queues)

    def settle(self) -> None:
        """One round in which everybody does all that can be done, then a little time passes."""
        for _ in range(len(COUNTERS) + 2):
            self._start_one()
        for _ in PAIRS:
            self._link_up()
        for _ in range(200):
            self._read()
            self._notice_loss()
            self._deliver_mail()
            self._acknowledge_letter()
        self._answer()
        self.now_ms += 50
        self._wake()

    @property
    def converged(self) -> bool:
        """Whether nothing is held, waits or is on its way anywhere."""
        dispatcher, consumer = self._alive.get(DISPATCHER), self._alive.get(CONSUMER)
        counters = [self._alive.get(name) for name in COUNTERS]
        return (
            dispatcher is not None and consumer is not None and None not in counters
            and all(queue.empty for queue in self.queues)
            and consumer.outstanding == 0
            and dispatcher.drained
            and not self.outbox.batches
            and all(one.ledger.pending_count == 0 for one in counters)
        )

    @property
    def trace(self) -> list[str]:
        """The last things that happened: the time in ms since the start, who, what."""
        return [f"{ms:>7} " + " ".join(map(str, facts)) for ms, facts in self._trace]

    def leftovers(self) -> str:
        """What is not converged, for a failure's text."""
        held = {name: vars(one) for name, one in self._alive.items()}
        return f"{held}\nwritten down: {self.outbox.batches}"

    # What can happen

    def _produce(self) -> None:
        if self._healed:
            return
        queue = self.random.choice(self.queues)
        for _ in range(self.random.choice((1, 1, 3, 12))):
            arrived_ns = (self.now_ms - self.random.choice((0, 0, 1, 500, 5000))) * 1_000_000
            if self.random.random() < self.faults.bad_body:
                queue.put(self.random.choice(NO_PLAYS), arrived_ns)
                self.bad_produced += 1
                continue
            video = self.random.choice(self.videos)
            queue.put(b'{"video_id":"%b"}' % video.hex().encode(), arrived_ns)
            self.produced[video] = self.produced.get(video, 0) + 1

    def _read(self) -> None:
        consumer = self._alive.get(CONSUMER)
        if consumer is None or not all(self._links.has(CONSUMER, name) for name in COUNTERS):
            return
        for queue in self.queues:
            if not any(of is queue for of, _ in self._connections.values()):
                self._connect(consumer, queue)
        number = self.random.choice(list(self._connections))
        queue, parser = self._connections[number]
        given = queue.give(number, self.random.randint(1, 8), self.random)
        data = self._unread.pop(number, b"") + given
        cut = len(data) if self._healed else self.random.randint(0, len(data))
        if cut < len(data):
            self._unread[number] = data[cut:]
        if data[:cut]:
            parsed = parser.feed(data[:cut])
            if parsed.messages:
                self._perform(CONSUMER, consumer.received(number, queue.source, parsed))

    def _connect(self, consumer: Deliveries, queue: SimulatedQueue) -> None:
        self._connection_numbers += 1
        number = self._connection_numbers
        bodies = Bodies()
        self._connections[number] = (
            queue, FrameParser(bodies.video, lambda video: shard_of(video, SHARDS))
        )
        queue.connect(number)
        consumer.connected(number)

    def _deliver_mail(self) -> None:
        mail = self._links.some_mail(self._alive, self.random)
        if mail is None:
            return
        name, peer, messages = mail
        self._log(name, "reads from", peer, messages)
        actor = self._alive[name]
        if name == CONSUMER:
            for message in messages:
                if self._alive.get(name) is actor:  # it may be killed on the way
                    self._perform(name, actor.counted(COUNTERS.index(peer), message.numbers))
        elif name == DISPATCHER:
            self._perform(name, actor.handle(COUNTERS.index(peer), messages, self.now_ms))
        else:
            fresh = self.oracle.fresh_plays(messages)
            self._perform(name, actor.handle(messages, self.now_ms), fresh)

    def _answer(self) -> None:
        if self._on_the_wire is None:
            return
        (dispatcher, batch), self._on_the_wire = self._on_the_wire, None
        faults, luck = self.faults, self.random.random()
        if luck < faults.refuse:
            outcome = Outcome.REFUSED
        elif luck < faults.refuse + faults.lose_answer:
            outcome = Outcome.UNKNOWN
            self.random.choice((self.client.take, self._strays.append, _lose))(batch)
        else:
            outcome = Outcome.ACCEPTED
            self.client.take(batch)
        self._log("batch", batch.key, outcome)
        if dispatcher is self._alive.get(DISPATCHER):
            self._perform(DISPATCHER, dispatcher.delivered(outcome, self.now_ms))

    def _arrive_late(self) -> None:
        """A batch whose sender gave up on it long ago reaches the client all the same."""
        if self._strays:
            self.client.take(self._strays.pop(self.random.randrange(len(self._strays))))

    def _acknowledge_letter(self) -> None:
        if not self._letters:
            return
        consumer, number = self._letters.pop(0)
        if consumer is self._alive.get(CONSUMER):
            self._perform(CONSUMER, consumer.dead_lettered(number))

    def _wake(self) -> None:
        dispatcher = self._alive.get(DISPATCHER)
        if dispatcher is None:
            return
        wakeup_ms = dispatcher.wakeup_ms()
        if self._healed and (wakeup_ms is None or wakeup_ms > self.now_ms):
            return  # healed, it must get by on the wake-ups that it asks for
        self._perform(DISPATCHER, dispatcher.wake(self.now_ms))

    def _pass_time(self) -> None:
        self.now_ms += self.random.choice((0, 1, 40, 300))
        if self.random.random() < self.faults.stall:
            self.now_ms += 1500

    def _time_out(self) -> None:
        if self._connections:
            number = self.random.choice(list(self._connections))
            self._connections[number][0].time_out(number, self.random)

    def _disconnect(self) -> None:
        consumer = self._alive.get(CONSUMER)
        if self._connections and consumer is not None:
            number = self.random.choice(list(self._connections))
            self._connections.pop(number)[0].disconnect(number)
            self._unread.pop(number, None)
            consumer.disconnected(number)

    # Life, death and links

    def _start_one(self) -> None:
        dead = [name for name in (DISPATCHER, *COUNTERS, CONSUMER) if name not in self._alive]
        if not dead:
            return
        name = self.random.choice(dead)
        if name == DISPATCHER:
            self._alive[name] = self._dispatching(
                RULE, SHARDS, 20, "service", self.random.random,
                list(self.outbox.batches.values()), self.outbox.totals,
            )
        elif name == CONSUMER:
            self._alive[name] = Deliveries(SHARDS)
        else:
            accounts, chunks, tallies = self.ledgers[COUNTERS.index(name)].load()
            seen = SeenIds(WINDOW_MS, chunks)
            self._alive[name] = self._counting(Ledger(seen, accounts, tallies, self.steps_below))
        self._log(name, "started")

    def _link_up(self) -> None:
        """The supervisor links two that live; the old link is closed then, read or not."""
        missing = self._links.missing(self._alive)
        if not missing:
            return
        one, counter = pair = self.random.choice(missing)
        self._links.renew(pair)
        self._log(one, "and", counter, "are linked")
        shard, actor = COUNTERS.index(counter), self._alive[one]
        if one == CONSUMER:
            self._perform(one, actor.linked(shard))
        else:
            self._perform(one, actor.linked(shard, self.now_ms))

    def _notice_loss(self) -> None:
        """An end of file is read, after all that came before it."""
        lost = self._links.some_end(self.random)
        if lost is None:
            return
        survivor, dead = lost
        if survivor == DISPATCHER and survivor in self._alive:
            shard = COUNTERS.index(dead)
            self._perform(survivor, self._alive[survivor].lost(shard, self.now_ms))

    def _kill_one(self) -> None:
        if self._alive:
            self._kill(self.random.choice(list(self._alive)))

    def _kill(self, name: str) -> None:
        self.kills += 1
        self._log(name, "killed")
        del self._alive[name]
        self._links.cut(name, self.random)
        if name == CONSUMER:
            for number, (queue, _) in self._connections.items():
                queue.disconnect(number)
            self._connections.clear()
            self._unread.clear()
        if name == DISPATCHER and self._on_the_wire is not None:
            batch = self._on_the_wire[1]
            self._on_the_wire = None
            self.random.choice((self.client.take, self._strays.append, _lose))(batch)

    # Effects

    def _perform(self, name: str, effects: Iterable[Any], fresh: Any = ()) -> None:
        try:
            for effect in effects:
                self._maybe_kill(name)
                self._carry_out(name, effect, fresh)
            self._maybe_kill(name)
            if self._draining and name == DISPATCHER and self._alive[name].drained:
                assert self.client.totals == self.produced, "drained, and not all is published"
        except Killed:
            self._kill(name)

    def _maybe_kill(self, name: str) -> None:
        if self.random.random() < self.faults.kill_at_effect:
            raise Killed

    def _carry_out(self, name: str, effect: Any, fresh: Any) -> None:
        self._log(name, effect)
        match effect:
            case Send():
                self._links.post(name, effect.peer, effect.message)
            case Commit():
                disk = self.ledgers[COUNTERS.index(name)]
                disk.commit(effect.changes)
                self.oracle.committed(fresh, disk.totals())
            case Store():
                self.outbox.store(effect.batch, effect.totals)
            case Forget():
                self.outbox.forget(effect.key)
            case Deliver():
                assert self._on_the_wire is None, "two batches on their way"
                self._on_the_wire = (self._alive[name], effect.batch)
            case Finish():
                self._connections[effect.connection][0].finish(effect.connection, effect.ids)
            case DeadLetter():
                self._letters.append((self._alive[name], effect.number))
            case _:
                raise AssertionError(f"an effect that nobody knows: {effect!r}")

    def _log(self, *facts: Any) -> None:
        self._trace.append((self.now_ms - START_MS, facts))  # made a text only when a run fails


def _lose(batch: Batch) -> None:
    """A batch that never reaches the client."""
