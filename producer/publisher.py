"""Sends a workload to the queue: keeps connections, sends the plays that are due, records outcomes.

It decides when plays are sent and how many may be in flight. A run ends when every play has an
outcome, when it is stopped, or when the queue keeps refusing plays. Then `deliveries` has the state
of each play. `writer` does the talking to nsqd.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from random import Random

from actors.sources.security import PLAIN, Security
from producer.deliveries import Deliveries, MessageBatch
from producer.discovery import Locator, NotThereYet
from producer.pace import Pace
from producer.retries import Retries
from producer.workload import Workload
from producer.writer import PublishOutcome, Writer, frame, mpub

MPUB_PLAYS_MAX = 1000  # 55 kB a command. nsqd takes up to 5 MB, but a larger command is no faster.
IN_FLIGHT_MAX = 8  # MPUBs on each connection: enough that nsqd never waits for the producer.
TICK_S = 0.005  # A paced run looks this often whether plays are due.
CHECK_S = 1.0  # A tick of the writer's: it counts seconds without an answer in ticks.
LOOK_S = 0.25  # The producer looks this often for missing connections.
LAST_ANSWERS_MAX_S = 2.0  # How long a stopped run waits for the answers still under way.
REFUSALS_MAX = 3  # In a row. After that many, the queue is expected to refuse always.
QUEUE = "the queue"  # The name for what the run waits for while no address is known.


class Publisher:
    """One run. `say` prints a line for the user. `pace`: None means as fast as the queue allows.

    `play_id`: the key under which each play gets an id of its own, or "" for none.
    """

    def __init__(
        self,
        workload: Workload,
        topic: str,
        locator: Locator,
        pace: Pace | None,
        say: Callable[[str], None],
        security: Security = PLAIN,
        play_id: str = "",
    ):
        self.deliveries = Deliveries(workload.order)
        self.started_s: float | None = None  # Monotonic, when the first connection was ready.
        self.ended_s: float | None = None
        self.stopped_because: str | None = None
        guids = [guid.encode() for guid in workload.videos]
        self._frames = [frame(b'{"video_id":"%b"}' % guid) for guid in guids]
        self._with_ids = _WithIds(guids, play_id.encode("ascii")) if play_id else None
        self._topic, self._locator, self._pace, self._say = topic, locator, pace, say
        self._security = security
        self._retries = Retries(Random())
        self._refusals = 0
        self._waited_for: set[str] = set()
        self._ended = asyncio.Event()
        self._settled_all = asyncio.Event()

    @property
    def seconds(self) -> float:
        """The duration of the run since its first connection; 0 without one, or before the end."""
        if self.started_s is None or self.ended_s is None:
            return 0.0
        return self.ended_s - self.started_s

    async def run(self) -> None:
        """Send plays until each has an outcome, or until `stop`. Call it once, inside the loop."""
        self._writer: Writer[MessageBatch] = Writer(
            self._on_settled, self._on_opened, self._on_closed, self._on_refused, self._security
        )
        forever = (self._keep_connected(), self._locator.run(), self._check_regularly())
        tasks = [asyncio.create_task(one) for one in forever]
        if self._pace is not None:
            tasks.append(asyncio.create_task(self._pump_regularly()))
        ended = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # Raises if a task failed: otherwise the run would never end.
            await self._await_last_answers()
        finally:
            for task in [ended, *tasks]:
                task.cancel()
            self.ended_s = time.monotonic()
            self._writer.close()

    def stop(self, because: str) -> None:
        """Send nothing more. `run` ends after the last answers, or after `LAST_ANSWERS_MAX_S`."""
        self.stopped_because = self.stopped_because or because
        self._ended.set()

    async def _await_last_answers(self) -> None:
        if self.deliveries.in_flight_plays == 0:
            return
        self._settled_all.clear()
        try:
            await asyncio.wait_for(self._settled_all.wait(), LAST_ANSWERS_MAX_S)
        except TimeoutError:
            pass  # Closing the connections settles the MPUBs that have no answer.

    async def _keep_connected(self) -> None:
        while True:
            try:
                addresses = await self._locator.nsqds()
            except NotThereYet as missing:
                addresses = []
                if not self._writer.open:
                    self._say_waiting(QUEUE, str(missing))
            now_s = time.monotonic()
            self._writer.connect_to(one for one in addresses if self._retries.is_due(one, now_s))
            self._writer.leave(self._locator.tombstoned)
            await asyncio.sleep(LOOK_S)

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            self._writer.tick()

    async def _pump_regularly(self) -> None:
        while True:
            self._pump()
            await asyncio.sleep(TICK_S)

    def _pump(self) -> None:
        """Send all plays that are due, as far as `IN_FLIGHT_MAX` allows."""
        if self.started_s is None and self._writer.connecting:
            return  # Wait until each nsqd is connected or has failed, so that all get the first plays.
        while not self._ended.is_set() and (open_connections := len(self._writer.open)):
            self.started_s = self.started_s or time.monotonic()
            if self._writer.in_flight >= IN_FLIGHT_MAX * open_connections:
                return
            due_plays = self._due_plays()
            batch = self.deliveries.take(min(MPUB_PLAYS_MAX, due_plays)) if due_plays else None
            if batch is None:
                return
            videos = self.deliveries.videos_of(batch)
            frames = (
                self._with_ids.frames(videos) if self._with_ids else map(self._frames.__getitem__, videos)
            )
            command = mpub(self._topic, frames, batch.size)
            self._writer.publish(command, batch)

    def _due_plays(self) -> int:
        if self._pace is None:
            return MPUB_PLAYS_MAX
        return self._pace.due(time.monotonic(), self.deliveries.released_plays)

    def _on_settled(self, batch: MessageBatch, outcome: PublishOutcome) -> None:
        match outcome:
            case PublishOutcome.ACKNOWLEDGED:
                self.deliveries.acknowledge(batch)
                self._refusals = 0
            case PublishOutcome.REFUSED | PublishOutcome.NOT_SENT:
                self.deliveries.give_back(batch)
            case PublishOutcome.UNKNOWN:
                self.deliveries.lose(batch)
        if self.deliveries.in_flight_plays == 0:
            self._settled_all.set()
        if self.deliveries.finished:
            self._ended.set()
        elif self._pace is None and outcome is PublishOutcome.ACKNOWLEDGED:
            self._pump()

    def _on_opened(self, address: str) -> None:
        self._say(f'connected to nsqd at {address}, topic "{self._topic}"')
        self._waited_for -= {address, QUEUE}
        self._retries.worked(address)
        self._pump()

    def _on_closed(self, address: str, reason: str, was_open: bool) -> None:
        if self.ended_s is not None:
            return  # We closed it.
        self._retries.failed(address, time.monotonic())
        goes_on = not self._ended.is_set()
        if was_open:
            unknown_plays = self.deliveries.unknown_plays
            lost = f"; {unknown_plays} plays have an unknown outcome so far" if unknown_plays else ""
            comes_back = goes_on and address not in self._locator.tombstoned
            next_step = "; connecting again" if comes_back else ""
            self._say(f"lost nsqd at {address} ({reason}){lost}{next_step}")
        elif goes_on:
            self._say_waiting(address, f"nsqd at {address} ({reason})")
        self._pump()  # Plays that were given back may go to another nsqd.

    def _on_refused(self, address: str, error: str) -> None:
        self._refusals += 1
        if self._refusals >= REFUSALS_MAX:
            self.stop(f"nsqd at {address} refused the plays {self._refusals} times: {error}")

    def _say_waiting(self, what: str, description: str) -> None:
        """Say once what the run waits for. `what` names it; a connection to it ends the wait."""
        if what not in self._waited_for:
            self._waited_for.add(what)
            self._say(f"waiting for {description}")


class _WithIds:
    """Plays with ids that no other run makes: a number that was drawn for the run, and the play's own."""

    def __init__(self, guids: list[bytes], key: bytes):
        run = secrets.token_hex(8).encode()
        self._heads = [b'{"video_id":"%b","%b":"%b' % (guid, key, run) for guid in guids]
        self._numbers = count()

    def frames(self, videos: Iterable[int]) -> Iterator[bytes]:
        """A message for each of these videos, which are given by their numbers."""
        for video, number in zip(videos, self._numbers, strict=False):
            yield frame(b'%b%016x"}' % (self._heads[video], number))
