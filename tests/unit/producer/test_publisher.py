"""When the producer sends what, exactly: the real publisher in virtual time, with a made-up queue."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from actors.sources.security import Security
from producer import publisher, workload
from producer.pace import LAG_MAX_S, Pace
from producer.publisher import IN_FLIGHT_MAX, LAST_ANSWERS_MAX_S, TICK_S, Publisher
from producer.writer import PublishOutcome
from tests.support.virtual_time import run_virtually

PLAYS = 4000
SECONDS = 2.0


class Queue:
    """What `Writer` is to a publisher, on one connection. It answers at once, as long as it answers."""

    def __init__(
        self,
        settled: Callable[[Any, PublishOutcome], None],
        opened: Callable[[str], None],
        closed: Callable[[str, str, bool], None],
        refused: Callable[[str, str], None],
        security: Security,
    ):
        self.open: list[str] = []
        self.connecting = False
        self.answers = True
        self.unanswered: list[Any] = []
        self.sent: list[tuple[float, int]] = []
        self._settled, self._opened = settled, opened

    @property
    def in_flight(self) -> int:
        return len(self.unanswered)

    def connect_to(self, addresses: Iterable[str]) -> None:
        if not self.open:
            self.open = list(addresses)
            self._opened(self.open[0])

    def leave(self, addresses: Collection[str]) -> None:
        pass

    def tick(self) -> None:
        pass

    def publish(self, command: bytes, batch: Any) -> None:
        self.sent.append((now_s(), batch.size))
        self.unanswered.append(batch)
        if self.answers:
            asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        while self.unanswered:
            self._settled(self.unanswered.pop(0), PublishOutcome.ACKNOWLEDGED)

    def close(self) -> None:
        while self.unanswered:
            self._settled(self.unanswered.pop(0), PublishOutcome.UNKNOWN)


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Locator:
    """Knows one queue."""

    @property
    def tombstoned(self) -> set[str]:
        return set()

    async def nsqds(self) -> list[str]:
        return ["queue:4150"]

    async def run(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def play(monkeypatch):
    """Runs a paced publisher in virtual time, and beside it a scene of (publisher, queue)."""
    monkeypatch.setattr(publisher, "Writer", Queue)
    monkeypatch.setattr(publisher, "time", SimpleNamespace(monotonic=now_s))

    def play(scene: Callable[[Publisher, Queue], Any]) -> Publisher:
        async def run() -> Publisher:
            load = workload.make(1, PLAYS, 20, 0)
            running = Publisher(load, "plays", Locator(), Pace(PLAYS / SECONDS), lambda line: None)
            task = asyncio.ensure_future(running.run())
            await asyncio.sleep(0)
            await scene(running, running._writer)
            await task
            return running

        return run_virtually(run)

    return play


def sent_between(queue: Queue, from_s: float, to_s: float) -> int:
    return sum(plays for at_s, plays in queue.sent if from_s <= at_s < to_s)


def test_a_paced_run_is_spread_evenly_over_its_time_and_ends_with_it(play):
    seen = []

    async def scene(running: Publisher, queue: Queue) -> None:
        seen.append(queue)

    running = play(scene)
    (queue,) = seen
    a_tick = PLAYS / SECONDS * TICK_S
    for number in range(8):
        sent = sent_between(queue, number * SECONDS / 8, (number + 1) * SECONDS / 8)
        assert sent == pytest.approx(PLAYS / 8, abs=a_tick + 1)
    assert max(plays for _, plays in queue.sent) <= a_tick + 1
    # The last play is due when the time is over but for its own share of it.
    assert running.ended_s - running.started_s == pytest.approx(SECONDS, abs=1.1 * TICK_S)
    assert running.deliveries.acknowledged_plays == PLAYS


def test_a_run_that_a_queue_kept_waiting_goes_on_at_its_pace_and_is_later_by_that(play):
    seen = []

    async def scene(running: Publisher, queue: Queue) -> None:
        seen.append(queue)
        await asyncio.sleep(1.0)
        queue.answers = False
        await asyncio.sleep(3.0)
        assert queue.in_flight == IN_FLIGHT_MAX
        queue.answers = True
        queue.answer()

    running = play(scene)
    (queue,) = seen
    a_tick = PLAYS / SECONDS * TICK_S
    last_s = max(at_s for at_s, _ in queue.sent if at_s < 4.0)
    first_s = min(at_s for at_s, _ in queue.sent if at_s >= 4.0)
    assert sent_between(queue, first_s, first_s + TICK_S / 2) <= PLAYS / SECONDS * LAG_MAX_S + 1
    assert sent_between(queue, 4.1, 4.35) == pytest.approx(PLAYS / 8, abs=a_tick + 1)
    waited_s = first_s - last_s - LAG_MAX_S
    assert running.ended_s == pytest.approx(SECONDS + waited_s, abs=1.1 * TICK_S)
    assert running.deliveries.acknowledged_plays == PLAYS


@pytest.mark.parametrize("answered_s", [None, 0.5])
def test_a_stopped_run_waits_for_answers_under_way_and_not_for_ever(play, answered_s):
    async def scene(running: Publisher, queue: Queue) -> None:
        await asyncio.sleep(1.0)
        queue.answers = False
        await asyncio.sleep(0.1)
        assert queue.in_flight == IN_FLIGHT_MAX
        running.stop("stopped by a test")
        sent = len(queue.sent)
        if answered_s is not None:
            await asyncio.sleep(answered_s)
            queue.answer()
        while running.ended_s is None:
            await asyncio.sleep(0.001)
        assert len(queue.sent) == sent, "it sent more after it was stopped"

    running = play(scene)
    waited_s = LAST_ANSWERS_MAX_S if answered_s is None else answered_s
    assert running.ended_s == pytest.approx(1.1 + waited_s, abs=0.002)
    deliveries = running.deliveries
    assert (deliveries.unknown_plays == 0) == (answered_s is not None)
    assert 0 < deliveries.waiting_plays < PLAYS
