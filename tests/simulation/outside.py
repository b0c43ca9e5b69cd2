"""What is outside of the service, and its faults: two nsqds, the wires to them, the way to the client."""

import json
from collections import Counter
from typing import Any, NamedTuple

from actors.core.dispatcher.attempts import About
from actors.core.dispatcher.outbox import Batch
from actors.core.dispatcher.rules import Outcome
from actors.sinks.delivery import Delivery as SinkDelivery

from .checks import Invariant, Violation
from .nsqd import Nsqd
from .oracle import Identity, Produced, name_of
from .plan import BAD, CLIENT_FAULTS, SERVER_ERRORS, Fault, Kind, Play

MESSAGE_TIMEOUT_MS = 1500
STOPPED_MS_MAX = 3000  # a process that is stopped for longer is taken for hung, and killed
RECONNECT_MS = 250
LOOK_TAKES_MS = 3
REFUSALS_MAX = 25  # for the content, in a row: fewer than halving two batches whole takes
A_VIDEO = b'{"video_id":"5fec8982-705f-4a15-8228-3d03c74803e5"'
NO_NAMED_PLAYS = (A_VIDEO + b"}", A_VIDEO + b',"id":7}', A_VIDEO + b',"id":""}', b"", b'{"id":"7"}')
NO_PLAYS = (b"", b"[]", b'{"video_id":1}', b"\xff" * 9)


class Delivery(NamedTuple):
    """A batch that the client accepted: when it left, and when the dispatcher had the answer."""

    left_ms: int
    answered_ms: int
    batch: Batch


class Outside:
    """The world around the processes of one run."""

    def __init__(self, world: Any):
        self.queues = [Nsqd(name, node) for name, node in zip("ab", world.plan.nodes, strict=True)]
        self.accepted: list[Delivery] = []
        self.client_fails = False  # the last publish that was answered was not accepted
        self._world = world
        self._random = world.random
        self._clock = world.clock
        self._videos = [self._random.randbytes(16) for _ in range(world.plan.videos)]
        self._connections: dict[int, tuple[Any, Any]] = {}
        self._fails = {self._videos[number]: how for number, how in world.plan.fails}
        # What the client never takes, or never says that it takes.
        self.never = {self._videos[number] for number in world.plan.refused} | self._fails.keys()
        self._at_work: Counter[str] = Counter()  # by key: attempts that the client has not judged yet
        # How many refusals in a row each incarnation of the dispatcher got. A new incarnation knows of none.
        self._refusals: Counter[int] = Counter()
        self._client_faults = [fault for fault in world.plan.faults if fault.kind in CLIENT_FAULTS]
        for play in world.plan.plays:
            self._clock.at(play.at_ms, self._put, play)

    # nsqd, as the consumer sees it

    def connect(self, source: Any, connection: Any) -> None:
        """Connect a consumer. It gets no message before its RDY."""
        self._connections[connection.number] = (source, connection)
        connection.queue.connect(connection.number)

    def set_ready_count(self, connection: Any, ready_count: int) -> None:
        """Send RDY to nsqd."""
        self._reach(connection, self._ready, connection, ready_count)

    def finish(self, connection: Any, ids: list[bytes], ready_count: int) -> None:
        """Send RDY and FINs to nsqd."""
        self._reach(connection, self._finish, connection, ids, ready_count)

    def reconnect(self, connection: Any) -> None:
        """The consumer closes a connection. nsqd hears of that after all that came before."""
        connection.is_broken = True
        self._reach(connection, self._hang_up, connection)

    def look(self, source: Any, connection: Any, done: Any) -> None:
        """Answer how many messages wait, if the nsqds of this run answer that."""
        waiting = connection.queue.depth if self._world.plan.stats_answer else None
        self._clock.after(LOOK_TAKES_MS, self._world.run, source.process, done, waiting)

    def dead_letter(self, source: Any, connection: Any, letters: list[bytes], done: Any) -> None:
        """Send dead letters to nsqd, and nsqd's answer back."""
        self._reach(connection, self._letters, source, connection, letters, done)

    def check_outstanding(self, outstanding: int) -> None:
        """Check how many messages the consumers hold. A stopped one gets all of its again at each timeout."""
        limit = self._world.plan.max_in_flight
        if self._world.is_troubled(self._clock.now_ms):
            again = STOPPED_MS_MAX // MESSAGE_TIMEOUT_MS
            again += sum(fault.kind is Kind.REDELIVER for fault in self._world.plan.faults)
            limit = (1 + again) * limit + len(self._connections) + 2
        if outstanding > limit:
            raise Violation(Invariant.IN_FLIGHT, f"{outstanding} outstanding, {limit} allowed")

    def consumer_is_gone(self, source: Any) -> None:
        """The consumer was killed: nsqd notices at once, or after some heartbeats."""
        for connection in source.connections.values() if source is not None else ():
            connection.is_broken = True
            self._clock.after(self._random.choice((5, 5, 800)), self._hang_up, connection)

    def strike(self, fault: Fault) -> None:
        """Apply a fault of an nsqd. The client's faults are looked up at each publish."""
        if fault.kind in CLIENT_FAULTS or not fault.who.isdigit():
            return
        queue = self.queues[int(fault.who)]
        if fault.kind is Kind.REDELIVER:
            for number in list(queue.ready):
                queue.time_out(number, queue.held(number))
        elif fault.kind is Kind.LEAK:
            for number in list(queue.ready):
                queue.leak(number, fault.amount)
        else:
            self._cut(queue)
            if self._world.plan.moves:
                queue.move()
        if fault.kind is Kind.NSQD_RESTART:
            queue.restart(fault.amount)
        if fault.kind is Kind.NSQD_CLOCK:
            queue.restart(0)
            queue.set_back(fault.amount)
        if fault.kind is Kind.NSQD_CRASH:
            queue.restart(fault.amount, twice=True)
        self._pump(queue)

    def _put(self, play: Play) -> None:
        queue = self.queues[play.queue]
        video = self._videos[play.video] if play.video != BAD else b""
        body = b'{"video_id":"%b"}' % video.hex().encode() if video else self._random.choice(NO_PLAYS)
        if self._world.plan.play_ids:
            body = self._named(body, play.play_id) if video else self._random.choice(NO_NAMED_PLAYS)
        message = queue.put(self._clock.now_ms, play.age_ms, body)
        name = (queue.name, int(message.id, 16), message.stamp_ns)
        is_named = video and self._world.plan.play_ids
        identity: Identity = (video, play.play_id) if is_named else name
        self._world.oracle.produced[name] = Produced(video, self._clock.now_ms, play.age_ms, identity)
        self._pump(queue)

    def _named(self, body: bytes, play_id: int) -> bytes:
        """This body with an id. Producers write one id in several ways."""
        text = self._random.choice(('"%d"', '"\\u003%d"' if play_id < 10 else '"%d"')) % play_id
        return body.replace(b"{", b'{"id":%b,' % text.encode())

    def _pump(self, queue: Nsqd) -> None:
        for number, (source, connection) in list(self._connections.items()):
            given = queue.give(number, self._random) if number in queue.ready else []
            if not given:
                continue
            data = b"".join(message.frame() for message in given)
            cut = self._random.randint(0, len(data)) if self._random.random() < 0.3 else len(data)
            for part in (data[:cut], data[cut:]):
                if part:
                    self._arrive(source, connection, part)
            self._clock.after(MESSAGE_TIMEOUT_MS, self._time_out, queue, number, given)

    def _arrive(self, source: Any, connection: Any, part: bytes) -> None:
        at_ms = max(connection.arrives_ms, self._clock.now_ms + self._random.randint(0, 4))
        connection.arrives_ms = at_ms
        self._clock.at(at_ms, self._world.run, source.process, self._receive, source, connection, part)

    def _receive(self, source: Any, connection: Any, part: bytes) -> None:
        if not connection.is_broken and connection.number in source.connections:
            source.received(connection, part)

    def _time_out(self, queue: Nsqd, number: int, given: list[Any]) -> None:
        queue.time_out(number, given)
        self._pump(queue)

    def _reach(self, connection: Any, call: Any, *arguments: Any) -> None:
        connection.reaches_ms = max(connection.reaches_ms, self._clock.now_ms + self._random.randint(0, 4))
        self._clock.at(connection.reaches_ms, self._reached, connection, call, arguments)

    def _reached(self, connection: Any, call: Any, arguments: tuple[Any, ...]) -> None:
        if connection.number in self._connections:
            call(*arguments)
            self._pump(connection.queue)

    def _finish(self, connection: Any, ids: list[bytes], ready_count: int) -> None:
        self._ready(connection, ready_count)
        source = self._connections[connection.number][0]
        for message_id in connection.queue.finish(connection.number, ids):
            error = b"E_FIN_FAILED FIN %b failed ID not in flight" % message_id
            connection.arrives_ms = max(connection.arrives_ms, self._clock.now_ms + 2)
            arguments = self._world.run, source.process, self._refuse, source, connection, error
            self._clock.at(connection.arrives_ms, *arguments)

    def _refuse(self, source: Any, connection: Any, error: bytes) -> None:
        if not connection.is_broken and connection.number in source.connections:
            source.refused(connection, error)

    def _ready(self, connection: Any, ready_count: int) -> None:
        connection.queue.ready[connection.number] = ready_count

    def _letters(self, source: Any, connection: Any, letters: list[bytes], done: Any) -> None:
        for letter in map(json.loads, letters):
            name = name_of(letter["source"]), int(letter["id"], 16), letter["arrived_at_ns"]
            self._world.oracle.letters.add(name)
        delay_ms = self._random.choice((1, 4, 60, 400))
        self._clock.after(delay_ms, self._world.run, source.process, self._lettered, source, connection, done)

    def _lettered(self, source: Any, connection: Any, done: Any) -> None:
        if not connection.is_broken and connection.number in source.connections:
            done()

    def _hang_up(self, connection: Any) -> None:
        if self._connections.pop(connection.number, None) is not None:
            connection.queue.disconnect(connection.number)
            self._pump(connection.queue)

    def _cut(self, queue: Nsqd) -> None:
        for source, connection in list(self._connections.values()):
            if connection.queue is queue:
                connection.is_broken = self._random.random() < 0.5  # otherwise nsqd's last bytes still arrive
                self._hang_up(connection)
                delay_ms = self._random.randint(5, 200)
                self._clock.after(delay_ms, self._world.run, source.process, self._lost, source, connection)

    def _lost(self, source: Any, connection: Any) -> None:
        connection.is_broken = True
        if connection.number in source.connections:
            source.disconnected(connection)
            self._clock.after(RECONNECT_MS, self._world.run, source.process, source.connect, connection.queue)

    # The client, as the dispatcher sees it

    def deliver(self, process: Any, batch: Batch, answer: Any) -> None:
        """Send a batch to the client, and its answer back, if there is one."""
        plan, now_ms = self._world.plan, self._clock.now_ms
        self._world.client.sent(batch)
        latency_ms = plan.latency_ms
        if plan.latency_varies_ms:
            latency_ms += self._random.randint(-plan.latency_varies_ms, plan.latency_varies_ms)
        active = [one for one in self._client_faults if one.at_ms <= now_ms < one.at_ms + one.lasts_ms]
        fault = self._random.choice(active) if active else None
        outcome, arrives = Outcome.ACCEPTED, True
        about = About.MOMENT if self._world.client.has(batch) else self._about(batch, fault)
        if about is not About.MOMENT:
            outcome, arrives = Outcome.REFUSED, False
        match fault and fault.kind:
            case Kind.CLIENT_SLOW:
                latency_ms = fault.amount
            case Kind.CLIENT_REFUSES:
                outcome, arrives, about = Outcome.REFUSED, False, About.MOMENT
            case Kind.CLIENT_LIES:
                outcome = Outcome.UNKNOWN
            case Kind.CLIENT_DEAF:
                outcome, arrives = self._random.choice((Outcome.REFUSED, Outcome.UNKNOWN)), False
                about = About.MOMENT
        kind = None if fault is None else fault.kind
        takes, breaks = kind is not Kind.CLIENT_BREAKS, kind in SERVER_ERRORS
        # The first of these videos in a batch decides. A lost answer changes nothing about what is taken.
        how = next((self._fails[video] for video in batch.videos if video in self._fails), "")
        if arrives and how:
            if outcome is Outcome.ACCEPTED and how == "forbids":
                outcome, about = Outcome.REFUSED, About.EVERYTHING
            elif how != "breaks":
                outcome = Outcome.UNKNOWN
            arrives = how in ("takes and closes", "breaks")
            takes, breaks = how == "takes and closes", how == "breaks"
        if arrives:
            self._at_work[batch.key] += 1
            takes_ms = self._random.randint(latency_ms // 2, latency_ms)
            self._clock.after(takes_ms, self._arrived, process, batch, takes, breaks)
        if latency_ms > plan.publish_timeout_ms:
            latency_ms, outcome = plan.publish_timeout_ms, Outcome.UNKNOWN
        about = about if outcome is Outcome.REFUSED else About.MOMENT
        words = "no answer" if outcome is Outcome.UNKNOWN else "" if kind is Kind.CLIENT_DEAF else "422 No"
        is_answer = arrives and outcome is Outcome.ACCEPTED
        arguments = process, batch, answer, outcome, about, is_answer, now_ms, words
        self._clock.after(latency_ms, self._world.run, process, self._answer, *arguments)

    def _arrived(self, process: Any, batch: Batch, takes: bool, breaks: bool) -> None:
        self._at_work[batch.key] -= 1
        # A batch that a killed process had sent may arrive or not.
        if process.alive or self._random.random() < 0.5:
            self._world.log("the client", batch)
            self._world.client.arrived(batch, takes, breaks)

    def _is_faulty(self, at_ms: int) -> bool:
        """Whether the client had a fault at that time, so that more than what it never takes was refused."""
        return any(one.at_ms <= at_ms < one.at_ms + one.lasts_ms for one in self._client_faults)

    def _about(self, batch: Batch, fault: Fault | None) -> About:
        """What the client's refusal of a batch is about; MOMENT if it takes the batch."""
        plan, videos = self._world.plan, set(batch.videos)
        if plan.conflicts and self._at_work[batch.key]:
            return About.CONFLICT
        if fault is not None and fault.kind is Kind.CLIENT_REFUSES_ALL:
            return About.CONTENT if fault.amount == 422 else About.EVERYTHING
        if fault is not None and fault.kind is Kind.CLIENT_PICKY and self._videos[fault.amount] in videos:
            return About.CONTENT
        if 0 < plan.width_max < len(videos):
            return About.WIDTH
        refused = self.never - self._fails.keys()
        return About.MOMENT if refused.isdisjoint(videos) else About.CONTENT

    def _judge_refusal(self, process: Any, batch: Batch, about: About, outcome: Outcome) -> None:
        client = self._world.client
        if about in (About.CONTENT, About.WIDTH):
            client.refuses(batch)
        if about is About.WIDTH:
            client.too_wide = process.incarnation, len(batch.entries)
        if outcome is Outcome.ACCEPTED or about is not About.CONTENT or self.never >= set(batch.videos):
            if outcome is Outcome.ACCEPTED:
                self._refusals.clear()
            return
        self._refusals[process.incarnation] += 1
        if (refusals := self._refusals[process.incarnation]) > REFUSALS_MAX:
            raise Violation(Invariant.ONE_REFUSAL, f"{refusals} refusals in a row")

    def _answer(
        self,
        process: Any,
        batch: Batch,
        answer: Any,
        outcome: Outcome,
        about: About,
        is_answer: bool,
        left_ms: int,
        words: str,
    ) -> None:
        server_error = is_answer and self._world.client.says_no(batch)
        if server_error:
            outcome = Outcome.REFUSED
        self._world.client.heard(batch, outcome, server_error, about)
        self._world.log(process, f"has the answer {outcome} to {batch.key[:6]}")
        self._world.spring(process, "answer", after=False)
        self._judge_refusal(process, batch, about, outcome)
        if outcome is Outcome.ACCEPTED and self.client_fails:
            self._world.trouble()
        is_try = len(batch.videos) == 1 and batch.videos[0] in self._fails.keys() & self._world.refused()
        if (about not in (About.CONTENT, About.WIDTH) and not is_try) or self._is_faulty(left_ms):
            self.client_fails = outcome is not Outcome.ACCEPTED
        if outcome is Outcome.ACCEPTED:
            self.accepted.append(Delivery(left_ms, self._clock.now_ms, batch))
        answer.call(SinkDelivery(outcome, server_error=server_error, about=about, answer=words, why=words))
        self._world.spring(process, "answer", after=True)
