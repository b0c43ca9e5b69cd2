"""One channel: what waits, what is in flight to whom, what is deferred. Pure.

Callers pass monotonic milliseconds; no method touches a socket, a clock or a disk. deliver()
says what to send to whom. `changed` collects the progress that is not written down yet: the
journal's business. Its memory is bounded: what does not fit is counted in `unread` and stays in
the journal, until the caller reads it back and passes it to load(), in order.

The rules are nsqd's (nsqd/channel.go), but for one: what a leaving subscriber had in flight is
ready again at once.
"""

import random
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import repeat

from . import limits
from .frames import with_attempts
from .names import is_ephemeral
from .segment import Segment
from .subscriber import Progress, Run, Subscriber

NOT_IN_FLIGHT = "ID not in flight"
NOT_OWNED = "client does not own message"


class Channel:
    def __init__(
        self, name: str, row: int, cursor: int, sampler: random.Random, is_durable: bool = True
    ) -> None:
        """`row` names it in the journal. Segments up to `cursor` are not its own.

        Where `is_durable` is false there is no journal to leave a backlog in: what does not fit
        in memory is dropped, as nsqd does for an ephemeral topic.
        """
        self.name = name
        self.row = row
        self.cursor = cursor
        self.is_durable = is_durable
        self.is_ephemeral = is_ephemeral(name)
        self.is_paused = False
        self.subscribers: dict[Subscriber, None] = {}  # in the order of their turns
        self.changed: set[Progress] = set()
        self.unread = 0
        self.ready_count = 0
        self.ready_bytes = 0
        self.deferred_count = 0
        self.message_count = 0
        self.requeue_count = 0
        self.timeout_count = 0
        self._sampler = sampler
        self._unfinished: dict[int, Progress] = {}
        self._ready: deque[tuple[Progress, int, int]] = deque()
        self._deferred: list[tuple[int, int, Progress, int, int]] = []
        self._runs: list[tuple[int, int, Run]] = []
        self._runs_live = 0
        self._order = 0

    # What comes in.

    def offer(self, segment: Segment, now_ms: int, delay_ms: int = 0) -> None:
        """A newly published segment. Without room it is left for load()."""
        if not self.unread and self._has_room():
            self.message_count += segment.count
            self._hold(Progress(segment), now_ms, delay_ms)
        elif self.is_durable:
            self.message_count += segment.count
            self.unread += segment.count
        self.cursor = segment.sequence if not self.unread else self.cursor

    def load(self, segment: Segment, finished: bytes | None, now_ms: int, delay_ms: int = 0) -> None:
        """The next segment after `cursor`, read back. `finished` as in Progress."""
        progress = Progress(segment, finished)
        self.unread -= progress.remaining
        self.cursor = segment.sequence
        if progress.remaining:
            self._hold(progress, now_ms, delay_ms)

    def skip_to(self, sequence: int) -> None:
        """There is nothing left unread up to `sequence`."""
        self.cursor = max(self.cursor, sequence)
        self.unread = 0

    def wants_more(self) -> bool:
        """Whether to read on in the journal: there is more, there is room, there is demand."""
        return (
            self.unread > 0
            and self.ready_count < limits.REFILL_BELOW_MESSAGES
            and self._has_room()
            and not self.is_paused
            and any(subscriber.room() > 0 for subscriber in self.subscribers)
        )

    # What goes out.

    def deliver(self, now_ms: int) -> list[tuple[Subscriber, list[bytes]]]:
        """Gives each ready subscriber its share, in turn: the frames to send to each.

        One call gives a subscriber at most GIFT_BYTES_MAX (or one message): call again until
        nothing comes, so that the caller can stop for a subscriber that does not keep up.
        """
        if self.is_paused or not self._ready:
            return []
        eligible = [subscriber for subscriber in self.subscribers if subscriber.room() > 0]
        gifts = []
        for place, subscriber in enumerate(eligible):
            share = -(-self.ready_count // (len(eligible) - place))
            frames = self._take(subscriber, min(share, subscriber.room()), now_ms)
            if frames:
                gifts.append((subscriber, frames))
                # To the end of the line: the next message is another's.
                del self.subscribers[subscriber]
                self.subscribers[subscriber] = None
            if not self._ready:
                break
        return gifts

    def finish(self, subscriber: Subscriber, ids: list[bytes]) -> list[tuple[bytes, str]]:
        """Finishes messages; those it could not, each with the reason."""
        pop = subscriber.in_flight.pop
        failures = []
        last: Progress | None = None
        for id in ids:
            entry = pop(id, None)
            if entry is None:
                failures.append((id, self._why_not(id)))
                continue
            run, index = entry
            run.outstanding -= 1
            if not run.outstanding:
                self._runs_live -= 1
            progress = run.progress
            progress.finished[index] = 1
            progress.remaining -= 1
            if progress is not last:
                self.changed.add(progress)
                last = progress
            if not progress.remaining:
                del self._unfinished[progress.segment.sequence]
        subscriber.finish_count += len(ids) - len(failures)
        self._drop_settled_runs()
        return failures

    def requeue(self, subscriber: Subscriber, id: bytes, delay_ms: int, now_ms: int) -> str | None:
        """Puts a message back, after `delay_ms`; the reason where it could not."""
        entry = subscriber.in_flight.pop(id, None)
        if entry is None:
            return self._why_not(id)
        progress, index = self._settle(*entry)
        subscriber.requeue_count += 1
        self.requeue_count += 1
        self._count_attempt(progress, index)
        if delay_ms:
            self._defer(progress, index, index + 1, now_ms + delay_ms)
        else:
            self._make_ready(progress, index, index + 1)
        return None

    def touch(self, subscriber: Subscriber, id: bytes, now_ms: int) -> str | None:
        """Starts a message's timeout again, up to MESSAGE_TIMEOUT_MAX_MS from its delivery."""
        entry = subscriber.in_flight.pop(id, None)
        if entry is None:
            return self._why_not(id)
        progress, index = self._settle(*entry)
        given_ms = entry[0].given_ms
        deadline_ms = min(now_ms + subscriber.message_timeout_ms, given_ms + limits.MESSAGE_TIMEOUT_MAX_MS)
        run = self._start_run(progress, subscriber, index, index + 1, given_ms, deadline_ms)
        subscriber.in_flight[id] = (run, index)
        return None

    def expire(self, now_ms: int) -> None:
        """What has timed out is ready again; what was deferred and is due is ready."""
        while self._runs and (self._runs[0][0] <= now_ms or not self._runs[0][2].outstanding):
            run = heappop(self._runs)[2]
            if run.outstanding:
                self._runs_live -= 1
                self.timeout_count += run.outstanding
                self._take_back(run)
        while self._deferred and self._deferred[0][0] <= now_ms:
            _, _, progress, start, stop = heappop(self._deferred)
            self.deferred_count -= stop - start
            self._make_ready(progress, start, stop)

    # Who reads it.

    def add_subscriber(self, subscriber: Subscriber) -> None:
        self.subscribers[subscriber] = None

    def remove_subscriber(self, subscriber: Subscriber) -> None:
        """What it had in flight is ready again."""
        del self.subscribers[subscriber]
        for run in {run: None for run, _ in subscriber.in_flight.values()}:
            self._runs_live -= 1
            self._take_back(run)
        self._drop_settled_runs()

    def empty(self, through: int) -> None:
        """Forgets every message up to the sequence number `through`."""
        self.cursor = through
        self.unread = self.ready_count = self.ready_bytes = self.deferred_count = 0
        self._runs_live = 0
        self._unfinished.clear()
        self._ready.clear()
        self._deferred.clear()
        self._runs.clear()
        self.changed.clear()
        for subscriber in self.subscribers:
            subscriber.in_flight.clear()

    # What can be asked.

    def has_finished(self, sequence: int) -> bool:
        """Whether it needs nothing of that segment any more."""
        return sequence <= self.cursor and sequence not in self._unfinished

    @property
    def depth(self) -> int:
        return self.ready_count + self.unread

    @property
    def in_flight_count(self) -> int:
        return sum(len(subscriber.in_flight) for subscriber in self.subscribers)

    def has_timers(self) -> bool:
        return self._runs_live > 0 or bool(self._deferred)

    # Helpers.

    def _has_room(self) -> bool:
        return self.ready_count < limits.MEMORY_MESSAGES_MAX and self.ready_bytes < limits.MEMORY_BYTES_MAX

    def _hold(self, progress: Progress, now_ms: int, delay_ms: int) -> None:
        self._unfinished[progress.segment.sequence] = progress
        for start, stop in _gaps(progress.finished):
            if delay_ms > 0:
                self._defer(progress, start, stop, now_ms + delay_ms)
            else:
                self._make_ready(progress, start, stop)

    def _make_ready(self, progress: Progress, start: int, stop: int) -> None:
        self._ready.append((progress, start, stop))
        self.ready_count += stop - start
        self.ready_bytes += progress.segment.size(start, stop)

    def _defer(self, progress: Progress, start: int, stop: int, due_ms: int) -> None:
        self._order += 1
        heappush(self._deferred, (due_ms, self._order, progress, start, stop))
        self.deferred_count += stop - start

    def _take(self, subscriber: Subscriber, room: int, now_ms: int) -> list[bytes]:
        frames: list[bytes] = []
        budget = limits.GIFT_BYTES_MAX
        while room > 0 and budget > 0 and self._ready:
            progress, start, stop = self._ready[0]
            segment = progress.segment
            end = segment.stop_within(start, min(stop, start + room), budget)
            size = segment.size(start, end)
            if frames and size > budget:
                break
            if end == stop:
                self._ready.popleft()
            else:
                self._ready[0] = (progress, end, stop)
            self.ready_count -= end - start
            self.ready_bytes -= size
            room -= end - start
            budget -= size
            if subscriber.sample_rate:
                self._give_sample(progress, subscriber, start, end, now_ms, frames)
            else:
                self._give(progress, subscriber, start, end, now_ms, frames)
        return frames

    def _give(
        self,
        progress: Progress,
        subscriber: Subscriber,
        start: int,
        stop: int,
        now_ms: int,
        frames: list[bytes],
    ) -> None:
        segment = progress.segment
        deadline_ms = now_ms + subscriber.message_timeout_ms
        run = self._start_run(progress, subscriber, start, stop, now_ms, deadline_ms)
        indices = range(start, stop)
        subscriber.in_flight.update(
            zip(segment.ids(start, stop), zip(repeat(run), indices, strict=False), strict=False)
        )
        subscriber.message_count += stop - start
        if progress.attempts is None:
            frames.append(segment.frames(start, stop))
            return
        for index in indices:
            attempts = min(progress.attempts.get(index, 0) + 1, limits.ATTEMPTS_MAX)
            frames.append(with_attempts(segment.frames(index, index + 1), attempts))

    def _give_sample(
        self,
        progress: Progress,
        subscriber: Subscriber,
        start: int,
        stop: int,
        now_ms: int,
        frames: list[bytes],
    ) -> None:
        """As nsqd: what a sampling client is not sent, nobody is: it counts as finished."""
        for index in range(start, stop):
            if self._sampler.randrange(100) <= subscriber.sample_rate:
                self._give(progress, subscriber, index, index + 1, now_ms, frames)
                continue
            progress.finished[index] = 1
            progress.remaining -= 1
            self.changed.add(progress)
            if not progress.remaining:
                del self._unfinished[progress.segment.sequence]

    def _start_run(
        self,
        progress: Progress,
        subscriber: Subscriber,
        start: int,
        stop: int,
        given_ms: int,
        deadline_ms: int,
    ) -> Run:
        run = Run(progress, subscriber, start, stop, given_ms)
        self._order += 1
        self._runs_live += 1
        heappush(self._runs, (deadline_ms, self._order, run))
        return run

    def _settle(self, run: Run, index: int) -> tuple[Progress, int]:
        run.outstanding -= 1
        if not run.outstanding:
            self._runs_live -= 1
        self._drop_settled_runs()
        return run.progress, index

    def _take_back(self, run: Run) -> None:
        """What of the run is still in flight is ready again, in as few spans as can be."""
        in_flight = run.subscriber.in_flight
        begun = -1
        for index, id in enumerate(run.progress.segment.ids(run.start, run.stop), run.start):
            entry = in_flight.get(id)
            if entry is not None and entry[0] is run:
                del in_flight[id]
                self._count_attempt(run.progress, index)
                begun = index if begun < 0 else begun
            elif begun >= 0:
                self._make_ready(run.progress, begun, index)
                begun = -1
        if begun >= 0:
            self._make_ready(run.progress, begun, run.stop)
        run.outstanding = 0

    def _count_attempt(self, progress: Progress, index: int) -> None:
        if progress.attempts is None:
            progress.attempts = {}
        progress.attempts[index] = progress.attempts.get(index, 0) + 1

    def _drop_settled_runs(self) -> None:
        # A settled run waits in the heap for its deadline. More of them than live ones, and
        # the heap is made anew: it never grows with what was delivered, only with what is out.
        if len(self._runs) > 2 * self._runs_live + 64:
            self._runs = [entry for entry in self._runs if entry[2].outstanding]
            heapify(self._runs)

    def _why_not(self, id: bytes) -> str:
        owned = any(id in subscriber.in_flight for subscriber in self.subscribers)
        return NOT_OWNED if owned else NOT_IN_FLIGHT


def _gaps(finished: bytearray) -> list[tuple[int, int]]:
    """The runs of unfinished messages, as (start, stop)."""
    gaps = []
    start = finished.find(0)
    while start >= 0:
        stop = finished.find(1, start)
        stop = len(finished) if stop < 0 else stop
        gaps.append((start, stop))
        start = finished.find(0, stop)
    return gaps
