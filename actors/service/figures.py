"""What the counters and the dispatcher have counted, as it is shown: no count falls when a child is killed.

A killed child tells nothing until its next incarnation is ready. Meanwhile its last figures are shown. The
next incarnation goes on from its store. The store may lack the latest counts, because redeliveries alone are
not committed. Those counts are added from then on. Histograms are not stored: they go on from what the
incarnation before told last, so they fall only if an older answer comes late. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Set
from typing import TypeAlias

from msgspec import Struct, structs

from ..core.stats import ConsumerStats, CounterStats, DispatcherStats, Stats
from ..core.triggers import Trigger

Counting: TypeAlias = CounterStats | DispatcherStats
# The fields that only grow. `counted` is told once it is committed, so nothing is ever added to it.
COUNTS: dict[type[Counting], tuple[str, ...]] = {
    CounterStats: ("counted", "redelivered", "dead_lettered", "reused", "duplicates", "commits"),
    DispatcherStats: (*map(str, Trigger), "videos", "late", "late_by_client", "failed", "rejected"),
}
# The field that goes on from what was told before. It has a `count`, which grows with all that is in it.
GOES_ON: dict[type[Counting], str] = {CounterStats: "commit_duration_s", DispatcherStats: "published"}


class _Shown(Struct):
    """A child's last figures. `lost`: by count, what former incarnations had and their successors do not."""

    incarnation: int
    stats: Counting
    lost: dict[str, int]


class Figures:
    """The figures of all children, kept for as long as the service runs."""

    def __init__(self) -> None:
        self._shown: dict[str, _Shown] = {}
        self._consumers: dict[str, ConsumerStats] = {}  # each goes on from what it told before

    @property
    def reads(self) -> int:
        """How many reads from nsqds had messages: see `ConsumerStats`."""
        return sum(one.reads for one in self._consumers.values())

    @property
    def reads_by_ticker(self) -> int:
        """How many of them left fewer messages in flight than RDY."""
        return sum(one.reads_by_ticker for one in self._consumers.values())

    @property
    def dead_letters(self) -> dict[str, int]:
        """The dead letters by reason."""
        found: Counter[str] = Counter()
        for one in self._consumers.values():
            found.update(one.dead_letters)
        return dict(found)

    @property
    def by_child(self) -> dict[str, Counting]:
        """The figures of each counter and of the dispatcher, as they were shown last."""
        return {child: _with_lost(one) for child, one in self._shown.items()}

    @property
    def children(self) -> Set[str]:
        """The ids of the counters and of the dispatcher, once they have told their figures."""
        return self._shown.keys()

    def shown(self, told: Mapping[str, tuple[int, Stats]]) -> list[Stats]:
        """The figures to show. `told`: by child, its incarnation and what that has told last."""
        consumers: list[Stats] = [one for _, one in told.values() if isinstance(one, ConsumerStats)]
        for child, (incarnation, stats) in told.items():
            if isinstance(stats, ConsumerStats):
                self._take_consumer(child, stats)
            else:
                self._take(child, incarnation, stats)
        return [*consumers, *map(_with_lost, self._shown.values())]

    def _take_consumer(self, child: str, stats: ConsumerStats) -> None:
        before = self._consumers.get(child, stats)
        letters = Counter(before.dead_letters) | Counter(stats.dead_letters)  # of each the larger count
        self._consumers[child] = structs.replace(
            stats,
            reads=max(before.reads, stats.reads),
            reads_by_ticker=max(before.reads_by_ticker, stats.reads_by_ticker),
            dead_letters=dict(letters),
        )

    def _take(self, child: str, incarnation: int, stats: Counting) -> None:
        shown = self._shown.get(child)
        if shown is None:
            self._shown[child] = _Shown(incarnation, stats, {})
            return
        for name in COUNTS[type(stats)]:
            fall = getattr(shown.stats, name) - getattr(stats, name)
            if fall > 0 and incarnation != shown.incarnation:
                shown.lost[name] = shown.lost.get(name, 0) + fall
            elif fall > 0:  # an older answer of the same incarnation
                stats = structs.replace(stats, **{name: getattr(shown.stats, name)})
        name = GOES_ON[type(stats)]
        before = getattr(shown.stats, name)
        if getattr(stats, name).count < before.count:
            stats = structs.replace(stats, **{name: before})
        shown.incarnation, shown.stats = incarnation, stats


def _with_lost(shown: _Shown) -> Counting:
    more = {name: getattr(shown.stats, name) + lost for name, lost in shown.lost.items()}
    return structs.replace(shown.stats, **more)
