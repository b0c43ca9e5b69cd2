"""What a look means: how much waits on the queue, and whether all is published. Pure, no I/O.

A look asks the nsqds first and our children then. A play that was put before the look is therefore on the
queue, or a child has it, or it is published.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from ..core.stats import ConsumerStats, CounterStats, DispatcherStats, NsqdStats, Stats
from ..core.words import counted
from ..sources.nsqd_http import QueueStats
from ..sources.readers import Reader


class NsqdLook(Struct, frozen=True):
    """An nsqd in a look. `queue`: its answer to GET /stats, None without one.

    `missed`: the nsqd can be asked, and this look has no answer of it. `connections`: how many our consumers
    had to it before it was asked, or afterwards, if that is more.
    """

    nsqd: NsqdStats
    queue: QueueStats | None = None
    missed: bool = False
    connections: int = 0

    @property
    def others(self) -> int:
        """How many consumers of our channel are not ours; guessed if nsqd did not tell who they are."""
        if self.queue is None:
            return 0
        if self.queue.others is not None:
            return len(self.queue.others)
        return max(0, self.queue.clients - max(self.connections, self.nsqd.connected))

    @property
    def depth(self) -> int | None:
        """The messages that wait on our topic and on our channel."""
        return None if self.queue is None else self.queue.topic_depth + self.queue.depth


class GoneLook(Struct, frozen=True):
    """An nsqd that has gone (see `gone.py`). `queue`: its answer to GET /stats, None without one.

    `is_unknown`: whether it may have plays for us if it does not answer.
    """

    address: str
    is_unknown: bool
    queue: QueueStats | None = None


class Look(Struct, frozen=True):
    """What one look saw.

    `connections`: how many our consumers have to nsqds. `heard`: the stats of each child that answered.
    `silent`: the ids of the others. `gone`: the nsqds that are not in `nsqds` any more. `unheard`: as in
    `ConsumerStats`.
    """

    nsqds: list[NsqdLook]
    connections: int
    heard: dict[str, Stats]
    silent: list[str] = []
    gone: list[GoneLook] = []
    unheard: list[str] = []

    @property
    def depth(self) -> int | None:
        """The messages that wait on the nsqds that answered; None if none did."""
        depths = [one.depth for one in self.nsqds if one.depth is not None]
        return sum(depths) if depths else None

    @property
    def others(self) -> int:
        """How many consumers on our channel are not ours."""
        return sum(one.others for one in self.nsqds)

    @property
    def named_others(self) -> list[Reader]:
        """Those of them of which it is known who they are."""
        return [each for one in self.nsqds if one.queue is not None for each in one.queue.others or ()]

    @property
    def knows_queue(self) -> bool:
        """Whether each nsqd can be asked what waits. Else `caught_up` judges by our side alone."""
        return bool(self.nsqds) and all(one.queue is not None or one.missed for one in self.nsqds)


def why_not_caught_up(look: Look, paused: Mapping[str, bool] = MappingProxyType({})) -> list[str]:
    """Return what is still to do, and what is not known; empty if all plays are published.

    `paused`: whether somebody has paused "consuming", and "publishing". A pause is a reason only if something
    waits for its end.
    """
    return [
        *(f"{child} did not answer" for child in look.silent),
        *_connections(look),
        *(reason for one in look.nsqds for reason in _nsqd(one)),
        *(reason for one in look.gone for reason in _gone(one)),
        *_ours(look),
        *(
            f"{part} is paused"
            for part in ("consuming", "publishing")
            if paused.get(part) and _waits(look, part)
        ),
    ]


def _waits(look: Look, part: str) -> bool:
    """Whether something waits for the end of a pause, or may do so."""
    if part == "consuming":
        return look.depth != 0 or not look.knows_queue
    stats = look.heard.values()
    pending = any(one.pending_videos for one in stats if isinstance(one, CounterStats))
    return pending or any(
        one.refused or one.republishing or one.in_flight for one in stats if isinstance(one, DispatcherStats)
    )


def _connections(look: Look) -> list[str]:
    if not look.connections:
        return ["no nsqd is connected"]
    return [
        *(f"nsqlookupd {one} does not answer" for one in look.unheard),
        *(f"nsqd {one.nsqd.address} is not connected" for one in look.nsqds if not one.nsqd.connected),
    ]


def _nsqd(one: NsqdLook) -> list[str]:
    nsqd = f"nsqd {one.nsqd.address}"
    if one.nsqd.connected and not one.nsqd.is_checked:
        return [f"the HTTP address of {nsqd} is being checked"]
    if one.queue is None:
        return [f"{nsqd} did not answer GET /stats"] if one.missed else []
    return _queue(nsqd, one.queue)


def _gone(one: GoneLook) -> list[str]:
    if one.queue is None:
        return [f"nsqd {one.address} has gone and may hold plays"] if one.is_unknown else []
    return _queue(f"nsqd {one.address} (no nsqlookupd names it)", one.queue)


def _queue(nsqd: str, queue: QueueStats) -> list[str]:
    found = []
    if depth := queue.topic_depth + queue.depth:
        paused = " (topic paused)" if queue.topic_paused else " (channel paused)" if queue.paused else ""
        found.append(f"{counted(depth, 'message')} on {nsqd}{paused}")
    if queue.in_flight:
        found.append(f"{counted(queue.in_flight, 'message')} of {nsqd} not finished")
    if queue.deferred:
        found.append(f"{counted(queue.deferred, 'message')} deferred on {nsqd}")
    return found


def _ours(look: Look) -> list[str]:
    found = []
    stats = look.heard.values()
    if outstanding := sum(one.outstanding for one in stats if isinstance(one, ConsumerStats)):
        found.append(f"{counted(outstanding, 'message')} in flight")
    if pending := sum(one.pending_videos for one in stats if isinstance(one, CounterStats)):
        found.append(f"{counted(pending, 'video')} to publish")
    if refused := sum(one.refused for one in stats if isinstance(one, DispatcherStats)):
        found.append(f"the client refuses {counted(refused, 'video')}")
    if not found and any(one.in_flight for one in stats if isinstance(one, DispatcherStats)):
        found.append("a batch is being confirmed")
    if any(one.republishing for one in stats if isinstance(one, DispatcherStats)):
        found.append("totals are published again")
    return found
