"""The four actors wired in memory: the real rules, with simulated links, disks, queues and a client.

One seed decides everything. An actor can be killed before and after every single effect of it, and at
any other moment; it starts again from what its disk has, with new links. A link keeps order; what a
killed actor wrote before may still be read, or be cut off anywhere. After `heal` no fault happens, and
`converged` must become true.
"""

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any

from msgspec import Struct

from actors.core.bodies import Bodies
from actors.core.columns import unpack_ids, unpack_numbers, unpack_videos
from actors.core.counting import CONSUMER, DISPATCHER, Counting
from actors.core.deliveries import Deliveries
from actors.core.dispatching import Dispatching, Outcome
from actors.core.effects import Commit, DeadLetter, Deliver, Finish, Forget, Send, Store
from actors.core.frames import FrameParser
from actors.core.ledger import Ledger
from actors.core.messages import Plays, Rejected
from actors.core.outbox import Batch
from actors.core.schedule import Rule
from actors.core.seen import SeenIds
from actors.core.shards import counter_of, shard_of
from tests.support.simulated_client import LedgerDisk, OutboxDisk, SimulatedClient
from tests.support.simulated_queue import SimulatedQueue

SHARDS = 2
COUNTERS = [counter_of(shard) for shard in range(SHARDS)]
PAIRS = [(CONSUMER, name) for name in COUNTERS] + [(DISPATCHER, name) for name in COUNTERS]
START_MS = 1_795_502_904_000
WINDOW_MS = 3_600_000


class Faults(Struct, frozen=True):
    """How likely each fault is: a run has a random subset of them."""

    kill_at_effect: float = 0.0
    kill: float = 0.0
    disconnect: float = 0.0
    time_out: float = 0.0
    refuse: float = 0.0
    lose_answer: float = 0.0
    stall: float = 0.0
    bad_body: float = 0.0


class Killed(Exception):
    """The actor was killed in the middle of what it did."""


class Link:
    """A pipe between two incarnations: what each end has written and the other has not yet read."""

    def __init__(self, ends: tuple[str, str]):
        self.inboxes: dict[str, deque[Any]] = {end: deque() for end in ends}
        self.dead_end: str | None = None

    def peer_of(self, name: str) -> str:
        """The other end."""
        return next(end for end in self.inboxes if end != name)


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
        self.queues = [SimulatedQueue("a:4150/plays", 1 << 40), SimulatedQueue("b:4150/plays", 1 << 40)]
        self.produced: dict[bytes, int] = {}
        self.bad_produced = 0
        self.history: dict[bytes, list[int]] = {}
        self.ledgers = [LedgerDisk() for _ in range(SHARDS)]
        self.outbox = OutboxDisk()
        self.client = SimulatedClient(self._oldest_untold_ns, steps_below)
        self.kills = 0
        self._counting, self._dispatching = counting, dispatching
        self._counted: set[tuple[str, int]] = set()
        self._alive: dict[str, Any] = {}
        self._links: dict[tuple[str, str], Link] = {}
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
        assert consumer is not None and consumer.outstanding == 0 and len(self._links) == len(PAIRS)
        self._draining = True
        self._perform(DISPATCHER, self._alive[DISPATCHER].drain(self.now_ms))

    @property
    def counted(self) -> bool:
        """Whether all that was produced is committed and finished."""
        consumer = self._alive.get(CONSUMER)
        held = consumer is None or consumer.outstanding > 0
        linked = [link for link in self._links.values() if link.dead_end is None]
        return not held and len(linked) == len(PAIRS) and all(q.empty for q in self.queues)

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
                queue.put(self.random.choice((b"", b"[]", b'{"video_id":1}', b"\xff" * 9)), arrived_ns)
                self.bad_produced += 1
                continue
            video = self.random.choice(self.videos)
            queue.put(b'{"video_id":"%b"}' % video.hex().encode(), arrived_ns)
            self.produced[video] = self.produced.get(video, 0) + 1

    def _read(self) -> None:
        consumer = self._alive.get(CONSUMER)
        if consumer is None or not all((CONSUMER, name) in self._links for name in COUNTERS):
            return
        for queue in self.queues:
            if not any(of is queue for of, _ in self._connections.values()):
                self._connect(consumer, queue)
        number = self.random.choice(list(self._connections))
        queue, parser = self._connections[number]
        data = self._unread.pop(number, b"") + queue.give(number, self.random.randint(1, 8), self.random)
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
        full = [
            (link, name) for link in self._links.values() for name, inbox in link.inboxes.items()
            if inbox and name in self._alive
        ]
        if not full:
            return
        link, name = self.random.choice(full)
        inbox = link.inboxes[name]
        messages = [inbox.popleft() for _ in range(self.random.randint(1, len(inbox)))]
        peer = link.peer_of(name)
        self._log(name, "reads from", peer, messages)
        actor = self._alive[name]
        if name == CONSUMER:
            for message in messages:
                if self._alive.get(name) is actor:  # it may be killed on the way
                    self._perform(name, actor.counted(COUNTERS.index(peer), message.numbers))
        elif name == DISPATCHER:
            self._perform(name, actor.handle(COUNTERS.index(peer), messages, self.now_ms))
        else:
            fresh = self._fresh_plays(messages)
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
            rule = Rule(realtime_below=6, deadline_ms=2000, realtime_linger_ms=0, overdue_linger_ms=100)
            self._alive[name] = self._dispatching(
                rule, SHARDS, 20, "service", self.random.random,
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
        missing = [
            pair for pair in PAIRS
            if pair[0] in self._alive and pair[1] in self._alive
            and (pair not in self._links or self._links[pair].dead_end is not None)
        ]
        if not missing:
            return
        pair = self.random.choice(missing)
        one, counter = pair
        self._links.pop(pair, None)
        self._links[pair] = Link(pair)
        self._log(one, "and", counter, "are linked")
        shard, actor = COUNTERS.index(counter), self._alive[one]
        if one == CONSUMER:
            self._perform(one, actor.linked(shard))
        else:
            self._perform(one, actor.linked(shard, self.now_ms))

    def _notice_loss(self) -> None:
        """An end of file is read, after all that came before it."""
        ended = [
            (pair, link) for pair, link in self._links.items()
            if link.dead_end is not None and not link.inboxes[link.peer_of(link.dead_end)]
        ]
        if not ended:
            return
        pair, link = self.random.choice(ended)
        del self._links[pair]
        dead = link.dead_end
        survivor = link.peer_of(dead)
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
        for pair, link in list(self._links.items()):
            if name not in pair:
                continue
            if link.dead_end is not None:
                del self._links[pair]  # now both ends are gone
                continue
            link.dead_end = name
            link.inboxes[name].clear()
            unread = link.inboxes[link.peer_of(name)]
            for _ in range(self.random.randint(0, len(unread))):
                unread.pop()  # what it had not yet handed to the operating system
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
                self._send(name, effect)
            case Commit():
                self._commit(COUNTERS.index(name), effect, fresh)
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

    def _send(self, name: str, send: Send) -> None:
        pair = (name, send.peer) if name in (CONSUMER, DISPATCHER) else (send.peer, name)
        link = self._links.get(pair)
        if link is not None and link.dead_end is None:
            link.inboxes[send.peer].append(send.message)

    # The oracle: what a ledger must have counted, kept apart from it

    def _fresh_plays(self, messages: list[Any]) -> list[tuple[bytes | None, int, tuple[str, int]]]:
        fresh, names = [], set()
        for message in messages:
            if not isinstance(message, Plays | Rejected):
                continue
            ids = [(message.source, number) for number in unpack_ids(message.ids)]
            if isinstance(message, Plays):
                facts = zip(unpack_numbers(message.arrived_ns), unpack_videos(message.videos), strict=True)
                plays = [(video, stamp, one) for (stamp, video), one in zip(facts, ids, strict=True)]
            else:
                plays = [(None, 0, one) for one in ids]
            new = []
            for play in plays:
                if play[2] not in self._counted and play[2] not in names:
                    names.add(play[2])
                    new.append(play)
            fresh += sorted(new, key=lambda play: (play[1], play[0] or b""))
        return fresh

    def _commit(self, shard: int, commit: Commit, fresh: Any) -> None:
        self.ledgers[shard].commit(commit.changes)
        for video, arrived_ns, name in fresh:
            self._counted.add(name)
            if video is not None:
                self.history.setdefault(video, []).append(arrived_ns)
        for video, total in self.ledgers[shard].totals().items():
            assert total == len(self.history[video]), "a total is not the number of distinct plays"

    def _oldest_untold_ns(self, video: bytes, known: int, total: int) -> int:
        assert total <= len(self.history.get(video, ())), "a total was told before it was committed"
        return min(self.history[video][known:total])

    def _log(self, *facts: Any) -> None:
        self._trace.append((self.now_ms - START_MS, facts))  # made a text only when a run fails


def _lose(batch: Batch) -> None:
    """A batch that never reaches the client."""
