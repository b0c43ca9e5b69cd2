"""Which videos are played, how often, and in which order. Tests compare the service's totals with it.

The totals are exact: they add up to the plays asked for, and enough videos are quiet. The same seed
makes the same workload on every machine and in every Python. So all random numbers come from
`Random.random()`, the only method whose sequence Python guarantees for ever, and plays are divided in
whole numbers. Pure: it knows nothing of queues, of the clock, or of what is sent.
"""

import uuid
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from random import Random

QUIET_MAX = 99  # The task's bound: a video with fewer than 100 plays is published at once.
BUSY_MIN = QUIET_MAX + 1
PLAYS_MAX = 50_000_000  # A play takes four bytes of memory, so this many take 200 MB.
VIDEOS_MAX = 1_000_000
SEED_MAX = 2**63 - 1
VIRAL_SHARE = 9  # The viral video gets nine times the plays of all other busy videos together.
WEIGHT = 10**12  # Weights are whole numbers: exact everywhere, and fine enough for rank 1,000,000.


class ImpossibleWorkload(ValueError):
    """The numbers asked for exclude each other. The message says which do not, and what to do."""


@dataclass(frozen=True)
class Workload:
    """A fixed list of plays. Play `i` is of the video `videos[order[i]]`."""

    videos: tuple[str, ...]
    totals: dict[str, int]
    order: "array[int]"

    @property
    def plays(self) -> int:
        """The number of plays of all videos."""
        return len(self.order)


def make(
    seed: int,
    plays: int = 100_000,
    videos: int = 100,
    quiet_videos: int = 15,
    distribution: str = "zipf",
) -> Workload:
    """The workload of `seed`: `plays` plays of `videos` videos, in a shuffled order.

    At least `quiet_videos` videos have 1 to 99 plays. The others share the rest by `distribution`.
    They have 100 plays or more each, if there are enough plays for that. Every video has at least
    one play. If there are fewer plays than videos, only as many videos are made as there are plays.
    Raises `ImpossibleWorkload`.
    """
    check(plays, videos, quiet_videos)
    random = Random(seed)
    videos = min(videos, plays)
    guids = _make_guids(random, videos)
    counts = _divide(random, plays, videos, quiet_videos, DISTRIBUTIONS[distribution])
    order = array("I", chain.from_iterable(map(repeat, range(videos), counts)))
    _shuffle(random, order)
    return Workload(guids, dict(zip(guids, counts, strict=True)), order)


def quiet_videos_default(plays: int, videos: int) -> int:
    """15 as in the task, or 15 % of fewer than 100 videos, but at most one for each play."""
    return max(0, min(15, videos * 15 // 100, plays))


def check(plays: int, videos: int, quiet_videos: int) -> None:
    """Raise `ImpossibleWorkload` if the numbers, each allowed by itself, exclude each other."""
    asked = f"{plays} plays of {videos} videos, {quiet_videos} of them quiet"
    if quiet_videos > videos:
        raise ImpossibleWorkload(
            f"{asked}: at most all {videos} videos can be quiet; "
            f"ask for at most {videos} quiet videos, or for at least {quiet_videos} videos"
        )
    if plays < quiet_videos:
        raise ImpossibleWorkload(
            f"{asked}: a quiet video has at least 1 play; "
            f"ask for at least {quiet_videos} plays, or for at most {plays} quiet videos"
        )
    if quiet_videos == videos and plays > QUIET_MAX * videos:
        raise ImpossibleWorkload(
            f"{asked}: a quiet video has at most {QUIET_MAX} plays, and there is no other video "
            f"for the rest; ask for at most {QUIET_MAX * videos} plays, "
            f"or for fewer quiet videos than videos"
        )


def _make_guids(random: Random, count: int) -> tuple[str, ...]:
    guids: dict[str, None] = {}
    while len(guids) < count:
        bits = 0
        for _ in range(4):
            bits = bits << 32 | _below(random, 2**32)
        guids[str(uuid.UUID(int=bits, version=4))] = None
    return tuple(guids)


def _divide(
    random: Random,
    plays: int,
    videos: int,
    quiet_videos: int,
    weigh: Callable[[int], list[int]],
) -> list[int]:
    """The plays of each video: first the busy videos, most played first, then the quiet ones."""
    busy_videos = videos - quiet_videos
    if busy_videos == 0:
        return _all_quiet(random, plays, quiet_videos)
    busy_min = BUSY_MIN if plays >= quiet_videos + BUSY_MIN * busy_videos else 1
    quiet: list[int] = []
    if quiet_videos:
        # The quiet videos must leave `busy_min` plays for each busy video.
        room = (plays - busy_min * busy_videos) // quiet_videos
        quiet = [1 + _below(random, min(QUIET_MAX, room)) for _ in range(quiet_videos)]
    spare = plays - sum(quiet) - busy_min * busy_videos
    return [busy_min + share for share in _apportion(spare, weigh(busy_videos))] + quiet


def _all_quiet(random: Random, plays: int, videos: int) -> list[int]:
    """Random totals of 1 to 99 that add up to `plays`. Each draw leaves the rest possible."""
    counts = []
    for left in range(videos - 1, -1, -1):
        low = max(1, plays - QUIET_MAX * left)
        high = min(QUIET_MAX, plays - left)
        counts.append(low + _below(random, high - low + 1))
        plays -= counts[-1]
    return counts


def _apportion(amount: int, weights: list[int]) -> list[int]:
    """Divide `amount` by weight into whole numbers that add up to it: the largest remainders get one more."""
    whole = sum(weights)
    shares = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda rank: (-(amount * weights[rank] % whole), rank))
    for rank in by_remainder[: amount - sum(shares)]:
        shares[rank] += 1
    return shares


def _zipf(count: int) -> list[int]:
    return [WEIGHT // rank for rank in range(1, count + 1)]


def _uniform(count: int) -> list[int]:
    return [1] * count


def _viral(count: int) -> list[int]:
    return [VIRAL_SHARE * max(1, count - 1)] + [1] * (count - 1)


# How the busy videos share the plays, by the name that --distribution takes.
DISTRIBUTIONS: dict[str, Callable[[int], list[int]]] = {
    "zipf": _zipf,
    "uniform": _uniform,
    "viral": _viral,
}


def _shuffle(random: Random, order: "array[int]") -> None:
    """Shuffle by Fisher and Yates. `Random.shuffle` may draw differently in another Python."""
    draw = random.random
    for last in range(len(order) - 1, 0, -1):
        other = int(draw() * (last + 1))
        order[last], order[other] = order[other], order[last]


def _below(random: Random, bound: int) -> int:
    return int(random.random() * bound)
