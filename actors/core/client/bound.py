"""A lower bound on the number of publishes, even for a processor that knows the future.

Pure. Defines what a play demands (`Demand`: a publish of its video between two instants) and the bound for
many demands. A "call" is a publish, and a "place" is room for one video in it. The bound is never above the
true minimum: docs/publishing.md has the proof, and tests compare it with the exact minimum. It shares no rule
with the schedule.

Times are whole numbers in any one unit. A demand includes both of its ends, and a publish takes no time.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from msgspec import Struct

# A window proves this many calls before the next one takes over; every 2nd start proves twice as many, every
# 4th four times, and so on. Short windows follow bursts; long windows lose less at their ends. A larger
# number takes longer and gains little.
REACH_MIN = 8
# Steps over demands, some 0.2 µs each. When they are used up, the bound is what was proved so far.
STEPS_MAX = 30_000_000


class Play(NamedTuple):
    """One play: its video, its arrival on the queue, when it was received, and the total that it made."""

    video: object
    arrived: int
    received: int
    total: int


class Mode(Struct, frozen=True, kw_only=True):
    """The values of the settings with these names. Times are in the same unit as the plays' times."""

    deadline: int
    realtime_linger: int = 0
    overdue_linger: int = 0
    realtime_below: int = 100
    batch_size_max: int = 20
    every_play: bool = False


class Demand(NamedTuple):
    """A publish between `first` and `last` must have the video. `alone`: with only this one play of it."""

    video: object
    first: int
    last: int
    alone: bool = False


def demand(play: Play, mode: Mode) -> Demand:
    """The demand of one play.

    A play that was received after its deadline may wait for `overdue_linger`, as in the service.
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
    """The demands of plays in a mode, without implied ones, sorted by `last`."""
    return needed(demand(play, mode) for play in plays)


def needed(wanted: Iterable[Demand]) -> list[Demand]:
    """Drop demands implied by another demand of the same video; sorted by `last`."""
    by_video: dict[object, list[Demand]] = {}
    for one in wanted:
        by_video.setdefault(one.video, []).append(one)
    kept = [one for of_video in by_video.values() for one in _innermost(of_video)]
    kept.sort(key=lambda one: one.last)
    return kept


def publishes_min(wanted: Iterable[Demand], batch_size_max: int, steps_max: int = STEPS_MAX) -> int:
    """A lower bound on the publishes that meet all of these demands, each of at most `batch_size_max` videos.

    `wanted`: sorted by `last`, as `demands` and `needed` return them.
    """
    chain = _Chain(list(wanted), batch_size_max, steps_max)
    return chain.longest()


def timer_publishes(plays: Sequence[Play], mode: Mode) -> int:
    """The publishes of a plain timer, which sends all changed videos every `deadline` after the first play.

    Such a timer is not a fair rival: it publishes the first plays of a video up to `deadline` late.
    """
    begin = min((play.received for play in plays), default=0)
    changed = {((play.received - begin) // mode.deadline, play.video) for play in plays}
    windows = Counter(window for window, _ in changed)
    return sum(-(-videos // mode.batch_size_max) for videos in windows.values())


class _Chain:
    """The best chain of disjoint windows. `_proved[i]`: calls proved by the demands up to the `i`th."""

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
            # A window opens only where one more call was just proved: opening it later gains nothing.
            if proved > calls:
                calls = proved
                starts += 1
                if self._steps_left > 0:
                    self._open(at, calls, REACH_MIN * (starts & -starts))
        return calls

    def _open(self, at: int, before: int, calls_max: float) -> None:
        """Open a window just after the `at`th demand ends, where `before` calls are proved.

        Demands are taken by `last`. `forced` counts pairwise disjoint demands, which need a call each. `need`
        counts demands that are pairwise disjoint within their video, which need a place each. `matched`: how
        many of `need` the places of the forced calls can serve at most; the others need further calls.
        """
        firsts, lasts, videos, alone = self._firsts, self._lasts, self._videos, self._alone
        proved, batch_size_max = self._proved, self._batch_size_max
        opened = lasts[at] if at >= 0 else -inf
        forced = need = matched = calls = 0
        forced_until = opened
        published_until: dict[object, float] = {}
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
            if not counts and first > published_until.get(video, opened):
                published_until[video] = last
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
    """The places of the forced calls, matched with as many needs as possible.

    Needs are added by `last`, and each gets the earliest place that it can have. No matching is larger: if
    another matching gives that place to a need that ends later, or leaves it empty, the two can be exchanged.
    """

    def __init__(self, batch_size_max: int):
        self._batch_size_max = batch_size_max
        self._lasts: list[int] = []
        self._free: list[int] = []
        self._next: list[int] = [0]  # the first call from here on that may have a free place
        self._waiting: deque[int] = deque()  # the ends of needs that have no place yet

    def add(self, first: int, last: int) -> int:
        """Add a forced call, later than all others. Returns how many needs without a place get one in it."""
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
        """Add a need. Returns 1 if it gets a place; else 0, and a later call may have one for it."""
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
    """The demands of one video that contain no other: a publish that meets the inner one meets the outer."""
    kept = [one for one in wanted if one.alone]
    opened: float = -inf
    for one in sorted(wanted, key=lambda one: (one.last, -one.first)):
        if not one.alone and one.first > opened:
            opened = one.first
            kept.append(one)
    return kept
