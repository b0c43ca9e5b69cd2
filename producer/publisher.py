"""Carries a workload to the queue: keeps connected, sends what is due, books every outcome.

Owns when something is sent and how much may be in flight. Promises to end only when every play has
an outcome, when it is stopped, or when the queue will not have the plays; `deliveries` then says
what became of each. What an outcome means for a play is `deliveries`' affair, the wire `writer`'s.
"""

import asyncio
import time
from collections.abc import Callable

from producer.deliveries import Deliveries, MessageBatch
from producer.discovery import Locate, NotThereYet
from producer.pace import Pace
from producer.workload import Workload
from producer.writer import PublishOutcome, Writer, frame, mpub

MPUB_PLAYS_MAX = 1000  # 55 kB a command: nsqd takes 5 MB, and a larger one is no faster.
IN_FLIGHT_MAX = 8  # MPUBs a connection: enough that nsqd never waits for the producer.
TICK_S = 0.005  # How often a paced run looks for what is due.
RETRY_S = 0.5  # How often a connection that is not there is tried.
LAST_ANSWERS_MAX_S = 2.0  # How long a stopped run waits for the answers still under way.
REFUSALS_MAX = 3  # In a row. A queue that refuses three times will refuse the fourth.
QUEUE = "the queue"  # What is waited for while no address is known.


class Publisher:
    """One run. `say` takes a line for the user; `pace` None is as fast as the queue takes it."""

    def __init__(
        self,
        workload: Workload,
        topic: str,
        locate: Locate,
        pace: Pace | None,
        say: Callable[[str], None],
    ):
        self.deliveries = Deliveries(workload.order)
        self.started_s: float | None = None  # Monotonic, when the first connection was ready.
        self.ended_s: float | None = None
        self.stopped_because: str | None = None
        self._frames = [frame(b'{"video_id":"%b"}' % guid.encode()) for guid in workload.videos]
        self._topic, self._locate, self._pace, self._say = topic, locate, pace, say
        self._refusals = 0
        self._waited_for: set[str] = set()
        self._ended = asyncio.Event()
        self._settled_all = asyncio.Event()

    @property
    def seconds(self) -> float:
        """How long the run took from its first connection on; 0 when there was none, or before the end."""
        if self.started_s is None or self.ended_s is None:
            return 0.0
        return self.ended_s - self.started_s

    async def run(self) -> None:
        """Until every play has an outcome, or `stop`. Called once, inside the loop."""
        self._writer: Writer[MessageBatch] = Writer(
            self._on_settled, self._on_opened, self._on_closed, self._on_refused
        )
        tasks = [asyncio.create_task(self._keep_connected())]
        if self._pace is not None:
            tasks.append(asyncio.create_task(self._pump_regularly()))
        ended = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # A task that fails must not leave a run that never ends.
            await self._await_last_answers()
        finally:
            for task in [ended, *tasks]:
                task.cancel()
            self._writer.close()
            self.ended_s = time.monotonic()

    def stop(self, because: str) -> None:
        """Send nothing more; `run` ends when the answers under way are in, or after 2 s."""
        self.stopped_because = self.stopped_because or because
        self._ended.set()

    async def _await_last_answers(self) -> None:
        if self.deliveries.in_flight_plays == 0:
            return
        self._settled_all.clear()
        try:
            await asyncio.wait_for(self._settled_all.wait(), LAST_ANSWERS_MAX_S)
        except TimeoutError:
            pass  # Closing the connection settles the rest, as unknown.

    async def _keep_connected(self) -> None:
        addresses: list[str] = []
        while True:
            if not self._writer.open:
                try:
                    addresses = await self._locate()
                except NotThereYet as missing:
                    self._say_waiting(QUEUE, str(missing))
            self._writer.connect_to(addresses)
            self._writer.end_silent_connections()
            await asyncio.sleep(RETRY_S)

    async def _pump_regularly(self) -> None:
        while True:
            self._pump()
            await asyncio.sleep(TICK_S)

    def _pump(self) -> None:
        """Send what may be sent now."""
        if self.started_s is None and self._writer.connecting:
            return  # The first plays wait until all nsqds had their chance to get some.
        while not self._ended.is_set() and (open_connections := len(self._writer.open)):
            self.started_s = self.started_s or time.monotonic()
            if self._writer.in_flight >= IN_FLIGHT_MAX * open_connections:
                return
            due_plays = self._due_plays()
            batch = self.deliveries.take(min(MPUB_PLAYS_MAX, due_plays)) if due_plays else None
            if batch is None:
                return
            videos = self.deliveries.videos_of(batch)
            command = mpub(self._topic, map(self._frames.__getitem__, videos), batch.size)
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
        self._pump()

    def _on_closed(self, address: str, reason: str, was_open: bool) -> None:
        if self._ended.is_set():
            return
        if was_open:
            unknown_plays = self.deliveries.unknown_plays
            lost = f"; {unknown_plays} plays are of unknown outcome by now" if unknown_plays else ""
            self._say(f"lost nsqd at {address} ({reason}){lost}; connecting again")
        else:
            self._say_waiting(address, f"nsqd at {address} ({reason})")
        self._pump()  # What came back may go to another nsqd.

    def _on_refused(self, address: str, error: str) -> None:
        self._refusals += 1
        if self._refusals >= REFUSALS_MAX:
            self.stop(f"nsqd at {address} refused the plays {self._refusals} times: {error}")

    def _say_waiting(self, what: str, description: str) -> None:
        """Once for each thing that is waited for, until a connection is there."""
        if what not in self._waited_for:
            self._waited_for.add(what)
            self._say(f"waiting for {description}")
