"""The leases of one channel, by the time at which each times out. Pure.

Owns how long a lease is kept. A lease whose messages are all settled stays in the heap until its deadline,
or until the settled leases outnumber the live ones: then the heap is rebuilt without them. So its size
follows the messages in flight, not all messages ever delivered.
"""

from heapq import heapify, heappop, heappush

from .subscriber import Lease, Progress, Subscriber

_SETTLED_KEPT = 64  # so that a channel with little in flight does not rebuild its heap all the time


class Leases:
    """A heap of leases."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Lease]] = []
        self._live = 0
        self._order = 0  # breaks ties

    def start(
        self,
        progress: Progress,
        subscriber: Subscriber,
        start: int,
        stop: int,
        given_ms: int,
        deadline_ms: int,
    ) -> Lease:
        """Start a lease of the messages from `start` to before `stop`. It times out at `deadline_ms`."""
        lease = Lease(progress, subscriber, start, stop, given_ms)
        self._order += 1
        self._live += 1
        heappush(self._heap, (deadline_ms, self._order, lease))
        return lease

    def settle_one(self, lease: Lease) -> None:
        """Record that one message of the lease is no longer in flight."""
        lease.outstanding -= 1
        if not lease.outstanding:
            self.settled(1)

    def settled(self, leases: int) -> None:
        """Record that `leases` leases have just lost their last message in flight."""
        self._live -= leases
        if len(self._heap) > 2 * self._live + _SETTLED_KEPT:
            self._heap = [entry for entry in self._heap if entry[2].outstanding]
            heapify(self._heap)

    def take_expired(self, now_ms: int) -> list[Lease]:
        """Remove the leases that have timed out. Returns those with messages in flight, by deadline."""
        expired = []
        while self._heap and (self._heap[0][0] <= now_ms or not self._heap[0][2].outstanding):
            lease = heappop(self._heap)[2]
            if lease.outstanding:
                self._live -= 1
                expired.append(lease)
        return expired

    def clear(self) -> None:
        """Forget all leases."""
        self._heap.clear()
        self._live = 0
