"""A number of publishes below which no processor can go, whatever it knows of the future.

Pure. Owns what a play demands (`Demand`: be told in a publish between two instants) and the bound over
many of them. Promises a number that is never above the true minimum; docs/publishing.md has the proof,
and tests hold it against the exact minimum. Refuses to know the schedule: it shares no rule with it.

Times are whole numbers of any one unit; demands are closed at both ends, and a publish takes no time.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from msgspec import Struct

# How many calls a window proves before another takes over, at every 2nd, 4th, 8th … start twice as many:
# short windows follow bursts, long ones lose less at their ends. More takes longer and gains little.
REACH_MIN = 8
# Steps over demands, some 0.2 µs each; when they are used up, the bound is what was proved until then.
STEPS_MAX = 30_000_000


class Play(NamedTuple):
    """One play: when it came on the queue, when it was received, and the total that it made."""

    video: object
    arrived: int
    received: int
    total: int


class Mode(Struct, frozen=True, kw_only=True):
    """What the user chose, by the names of the settings; times in the unit of the plays."""

    deadline: int
    realtime_linger: int = 0
    overdue_linger: int = 0
    realtime_below: int = 100
    batch_size_max: int = 20
    every_play: bool = False


class Demand(NamedTuple):
    """A publish from `first` to `last` has to carry the video. `alone`: and nothing but this play of it."""

    video: object
    first: int
    last: int
    alone: bool = False


def demand(play: Play, mode: Mode) -> Demand:
    """What one play demands.

    One whose deadline had passed when it was received is granted `overdue_linger`, as the service is.
    """
    video, arrived, received, total = play
    realtime = total < mode.realtime_below
    if realtime:
        last = received + mode.realtime_linger
    elif arrived + mode.deadline <= received:
        last = received + mode.overdue_linger
    else:
        last = arrived + mode.deadline
    return Demand(video, received, last, realtime and mode.every_play)


def demands(plays: Iterable[Play], mode: Mode) -> list[Demand]:
    """What plays demand in a mode, as `publishes_min` takes it."""
    return needed(demand(play, mode) for play in plays)


def needed(wanted: Iterable[Demand]) -> list[Demand]:
    """Those that no other of the same video implies, by `last`."""
    by_video: dict[object, list[Demand]] = {}
    for one in wanted:
        by_video.setdefault(one.video, []).append(one)
    kept = [one for of_video in by_video.values() for one in _innermost(of_video)]
    kept.sort(key=lambda one: one.last)
    return kept


def publishes_min(wanted: Iterable[Demand], batch_size_max: int, steps_max: int = STEPS_MAX) -> int:
    """Publishes of at most `batch_size_max` videos that are needed for all of these, at the least.

    `wanted`: by `last`, as `demands` and `needed` return them.
    """
    chain = _Chain(list(wanted), batch_size_max, steps_max)
    return chain.longest()


def timer_publishes(plays: Sequence[Play], mode: Mode) -> int:
    """What a plain timer makes: every `deadline`, from the first play on, all that changed, in batches.

    No rival: it tells the first plays of a video up to `deadline` late.
    """
    begin = min((play.received for play in plays), default=0)
    changed = {((play.received - begin) // mode.deadline, play.video) for play in plays}
    windows = Counter(window for window, _ in changed)
    return sum(-(-videos // mode.batch_size_max) for videos in windows.values())


class _Chain:
    """The best chain of disjoint windows. `proved[i]`: calls proved by demands up to the `i`th alone."""

    def __init__(self, wanted: list[Demand], batch_size_max: int, steps_max: int):
        self._videos = [one.video for one in wanted]
        self._firsts = [one.first for one in wanted]
        self._lasts = [one.last for one in wanted]
        self._alone = [one.alone for one in wanted]
        self._batch_size_max = batch_size_max
        self._steps_left = steps_max
        self._proved = [0] * len(wanted)

    def longest(self) -> int:
        """The number of calls that the best chain proves."""
        self._open(-1, 0, inf)
        calls = starts = 0
        for at, proved in enumerate(self._proved):
            # A window opens only where another call was just proved: opening it earlier is as good.
            if proved > calls:
                calls = proved
                starts += 1
                if self._steps_left > 0:
                    self._open(at, calls, REACH_MIN * (starts & -starts))
        return calls

    def _open(self, at: int, before: int, calls_max: float) -> None:
        """A window that opens just after the `at`th demand ends, when `before` calls are proved.

        Demands come in by `last`. `forced`: pairwise disjoint ones, so a call each. `need`: those of
        one video pairwise disjoint, so a place each. `matched`: how many of `need` the places of the
        forced calls can serve at most; the others need further calls.
        """
        firsts, lasts, videos, alone = self._firsts, self._lasts, self._videos, self._alone
        proved, batch_size_max = self._proved, self._batch_size_max
        opened = lasts[at] if at >= 0 else -inf
        forced = need = matched = calls = 0
        forced_until = opened
        told_until: dict[object, float] = {}
        places = _Places(batch_size_max)
        place = at
        for place in range(at + 1, len(lasts)):
            first = firsts[place]
            if first <= opened:
                continue
            last, video, counts = lasts[place], videos[place], alone[place]
            if first > forced_until:
                forced, forced_until = forced + 1, last
                matched += places.add(first, last)
            if not counts and first > told_until.get(video, opened):
                told_until[video] = last
                counts = True
            if counts:
                need += 1
                matched += places.use(first, last)
            proved_here = forced - (matched - need) // batch_size_max  # rounded up
            if proved_here > calls:
                calls = proved_here
                proved[place] = max(proved[place], before + calls)
                if calls >= calls_max:
                    break
        self._steps_left -= place - at


class _Places:
    """The places of the forced calls, and how many needs can have one: a matching that is never too small.

    Needs come by `last`, and each gets the earliest place that it can have. No matching is larger: where
    another gives that place to a need that ends later, or leaves it empty, the two can be exchanged.
    """

    def __init__(self, batch_size_max: int):
        self._batch_size_max = batch_size_max
        self._lasts: list[int] = []
        self._free: list[int] = []
        self._next: list[int] = [0]  # the first that may have a place, from here on
        self._waiting: deque[int] = deque()  # the ends of needs without a place

    def add(self, first: int, last: int) -> int:
        """A forced call between these two, after all others. How many needs that waited get a place."""
        waiting = self._waiting
        while waiting and waiting[0] < first:
            waiting.popleft()
        used = min(len(waiting), self._batch_size_max)
        for _ in range(used):
            waiting.popleft()
        at = len(self._lasts)
        self._lasts.append(last)
        self._free.append(self._batch_size_max - used)
        self._next[at] = at if used < self._batch_size_max else at + 1
        self._next.append(at + 1)
        return used

    def use(self, first: int, last: int) -> int:
        """A need between these two. 1 when there is a place for it, else 0, and it waits for one."""
        at = self._with_place(bisect_left(self._lasts, first))
        if at == len(self._lasts):
            self._waiting.append(last)
            return 0
        self._free[at] -= 1
        if not self._free[at]:
            self._next[at] = at + 1
        return 1

    def _with_place(self, at: int) -> int:
        following = self._next
        while following[at] != at:
            following[at] = following[following[at]]
            at = following[at]
        return at


def _innermost(wanted: list[Demand]) -> list[Demand]:
    """Those of one video that contain no other: whoever meets the inner one has met the outer."""
    kept = [one for one in wanted if one.alone]
    opened: float = -inf
    for one in sorted(wanted, key=lambda one: (one.last, -one.first)):
        if not one.alone and one.first > opened:
            opened = one.first
            kept.append(one)
    return kept
