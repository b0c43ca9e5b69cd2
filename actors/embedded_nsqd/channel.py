"""One channel: which messages are ready, which are in flight to whom, which are deferred. Pure.

Callers pass monotonic milliseconds; no method touches a socket, a clock or a disk. `deliver` returns
the frames to send to each subscriber. `changed` collects the progress (and attempts) that the journal does
not have yet. Memory is bounded: messages that do not fit are counted in `unread` and stay in the journal,
until the caller reads them back and passes them to `load`, in order.

The rules are nsqd's (nsqd/channel.go), with one exception: the messages in flight to a subscriber that
leaves are ready again at once. What an ephemeral channel drops is in `ephemeral.py`.
"""

import random
from collections import deque
from heapq import heappop, heappush
from itertools import repeat

from . import limits
from .frames import with_attempts
from .leases import Leases
from .names import is_ephemeral
from .segment import Segment
from .subscriber import Lease, Progress, Subscriber

NOT_IN_FLIGHT = "ID not in flight"
NOT_OWNED = "client does not own message"


class Channel:
    """The messages of one channel, and its subscribers.

    `cursor`: a sequence number. The channel has taken in all of its segments up to it. `ready_count`,
    `ready_bytes` (of frames) and `deferred_count` count what is in memory; `unread` counts the messages that
    only the journal has. `message_count`, `requeue_count` and `timeout_count` only grow, as in GET /stats.
    """

    def __init__(
        self, name: str, row: int, cursor: int, sampler: random.Random, is_durable: bool = True
    ) -> None:
        """`row`: its id in the journal. `cursor`: the channel does not get the segments up to it.

        `is_durable`: whether its topic has a journal, which keeps the backlog. Without one, messages that do
        not fit in memory are dropped, as nsqd does for an ephemeral topic.
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
        self._leases = Leases()
        self._order = 0  # breaks ties of `_deferred`

    # What comes in.

    def offer(self, segment: Segment, now_ms: int, delay_ms: int = 0) -> None:
        """Take in a segment that was just published. If memory has no room, it is left for `load`."""
        self.message_count += segment.count
        if not self.unread and self._has_room():
            self._hold(Progress(segment), now_ms, delay_ms)
        else:
            self._leave_unread(segment)
        self.cursor = segment.sequence if not self.unread else self.cursor

    def load(self, progress: Progress, now_ms: int, delay_ms: int = 0) -> None:
        """Take in the next segment after `cursor`, read from the journal."""
        self.unread -= progress.remaining
        self.cursor = progress.segment.sequence
        if progress.remaining:
            self._hold(progress, now_ms, delay_ms)

    def skip_to(self, sequence: int) -> None:
        """Record that nothing is left to read up to `sequence`."""
        self.cursor = max(self.cursor, sequence)
        self.unread = 0

    def wants_more(self) -> bool:
        """Whether to read on in the journal: it has more, memory has room, and a subscriber is ready."""
        return (
            self.unread > 0
            and self.ready_count < limits.REFILL_BELOW_MESSAGES
            and self._has_room()
            and not self.is_paused
            and any(subscriber.room() > 0 for subscriber in self.subscribers)
        )

    # What goes out.

    def deliver(self, now_ms: int) -> list[tuple[Subscriber, list[bytes]]]:
        """Give each ready subscriber its share, in turn. Returns (subscriber, frames to send) pairs.

        One call gives a subscriber at most GIFT_BYTES_MAX, or one larger message. Send them, and call again
        until the result is empty: a subscriber whose socket buffer is full then gets no more.
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
                # Moved to the end of the line, so that another subscriber gets the next message.
                del self.subscribers[subscriber]
                self.subscribers[subscriber] = None
            if not self._ready:
                break
        return gifts

    def finish(self, subscriber: Subscriber, ids: list[bytes]) -> list[tuple[bytes, str]]:
        """Finish (FIN) messages. Returns the ids that could not be finished, each with nsqd's reason."""
        pop = subscriber.in_flight.pop
        failures = []
        settled_leases = 0
        last: Progress | None = None
        for id in ids:
            entry = pop(id, None)
            if entry is None:
                failures.append((id, self._why_not(id)))
                continue
            lease, index = entry
            # This repeats `Leases.settle_one`: a call per message would cost more than all the rest.
            lease.outstanding -= 1
            if not lease.outstanding:
                settled_leases += 1
            progress = lease.progress
            progress.finished[index] = 1
            progress.remaining -= 1
            if progress is not last:
                self.changed.add(progress)
                last = progress
            if not progress.remaining:
                del self._unfinished[progress.segment.sequence]
        subscriber.finish_count += len(ids) - len(failures)
        self._leases.settled(settled_leases)
        return failures

    def requeue(self, subscriber: Subscriber, id: bytes, delay_ms: int, now_ms: int) -> str | None:
        """Put a message back (REQ), ready after `delay_ms`. Returns None, or why it is not possible."""
        entry = subscriber.in_flight.pop(id, None)
        if entry is None:
            return self._why_not(id)
        lease, index = entry
        self._leases.settle_one(lease)
        subscriber.requeue_count += 1
        self.requeue_count += 1
        lease.progress.count_attempt(index)
        self.changed.add(lease.progress)
        if delay_ms:
            self._defer(lease.progress, index, index + 1, now_ms + delay_ms)
        else:
            self._make_ready(lease.progress, index, index + 1)
        return None

    def touch(self, subscriber: Subscriber, id: bytes, now_ms: int) -> str | None:
        """Restart the timeout of a message (TOUCH). Returns None, or why it is not possible.

        The new timeout ends at most MESSAGE_TIMEOUT_MAX_MS after the delivery.
        """
        entry = subscriber.in_flight.pop(id, None)
        if entry is None:
            return self._why_not(id)
        lease, index = entry
        self._leases.settle_one(lease)
        given_ms = lease.given_ms
        deadline_ms = min(now_ms + subscriber.message_timeout_ms, given_ms + limits.MESSAGE_TIMEOUT_MAX_MS)
        touched = self._leases.start(lease.progress, subscriber, index, index + 1, given_ms, deadline_ms)
        subscriber.in_flight[id] = (touched, index)
        return None

    def expire(self, now_ms: int) -> None:
        """Make ready the messages that have timed out, and the deferred ones that are due."""
        for lease in self._leases.take_expired(now_ms):
            self.timeout_count += lease.outstanding
            self._take_back(lease)
        while self._deferred and self._deferred[0][0] <= now_ms:
            _, _, progress, start, stop = heappop(self._deferred)
            self.deferred_count -= stop - start
            self._make_ready(progress, start, stop)

    # Subscribers.

    def add_subscriber(self, subscriber: Subscriber) -> None:
        """Give messages to this client too."""
        self.subscribers[subscriber] = None

    def remove_subscriber(self, subscriber: Subscriber) -> None:
        """Give no more to this client; its messages in flight are ready again."""
        del self.subscribers[subscriber]
        leases = {lease: None for lease, _ in subscriber.in_flight.values()}
        for lease in leases:
            self._take_back(lease)
        self._leases.settled(len(leases))

    def empty(self, through: int) -> None:
        """Forget every message up to the sequence number `through`."""
        self.cursor = through
        self.unread = self.ready_count = self.ready_bytes = self.deferred_count = 0
        self._unfinished.clear()
        self._ready.clear()
        self._deferred.clear()
        self._leases.clear()
        self.changed.clear()
        for subscriber in self.subscribers:
            subscriber.in_flight.clear()

    # Facts.

    def has_finished(self, sequence: int) -> bool:
        """Whether every message of that segment is finished here."""
        return sequence <= self.cursor and sequence not in self._unfinished

    @property
    def depth(self) -> int:
        """How many messages are ready, in memory or in the journal."""
        return self.ready_count + self.unread

    @property
    def in_flight_count(self) -> int:
        """How many messages are in flight to all subscribers."""
        return sum(len(subscriber.in_flight) for subscriber in self.subscribers)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight or delayed, nor was finished since the last flush."""
        return not (self.in_flight_count or self._deferred or self.changed)

    # Helpers.

    def _has_room(self) -> bool:
        return self.ready_count < limits.MEMORY_MESSAGES_MAX and self.ready_bytes < limits.MEMORY_BYTES_MAX

    def _leave_unread(self, segment: Segment) -> None:
        """Leave a segment that was just published in the journal, if there is one."""
        if self.is_durable:
            self.unread += segment.count

    def _pass_over(self, progress: Progress, start: int, stop: int) -> None:
        """Count unfinished messages as finished: nobody gets them."""
        progress.finished[start:stop] = b"\1" * (stop - start)
        progress.remaining -= stop - start
        self.changed.add(progress)
        if not progress.remaining:
            del self._unfinished[progress.segment.sequence]

    def _hold(self, progress: Progress, now_ms: int, delay_ms: int) -> None:
        self._unfinished[progress.segment.sequence] = progress
        for start, stop in progress.unfinished_spans():
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
        lease = self._leases.start(progress, subscriber, start, stop, now_ms, deadline_ms)
        indices = range(start, stop)
        subscriber.in_flight.update(
            zip(segment.ids(start, stop), zip(repeat(lease), indices, strict=False), strict=False)
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
        """Give a sample. The messages that the sampling client does not get count as finished, as in nsqd."""
        for index in range(start, stop):
            if self._sampler.randrange(100) <= subscriber.sample_rate:
                self._give(progress, subscriber, index, index + 1, now_ms, frames)
            else:
                self._pass_over(progress, index, index + 1)

    def _take_back(self, lease: Lease) -> None:
        self.changed.add(lease.progress)  # it has more attempts
        for start, stop in lease.take_back():
            self._make_ready(lease.progress, start, stop)

    def _why_not(self, id: bytes) -> str:
        owned = any(id in subscriber.in_flight for subscriber in self.subscribers)
        return NOT_OWNED if owned else NOT_IN_FLIGHT
