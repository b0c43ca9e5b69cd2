"""How few publishes a rule that does not know the future can make, compared with the bound, which knows it.

    python -m bench.online

online: the best of all rules that know how often each video is played, but not when. rule: our rule, which
knows neither (`Schedule` without a lead time). bound: fewer are impossible, even knowing the future. All
figures are expected numbers: means over random traces. Only "online" in the part "few" is computed.

alike:    every play has the same chance to be of any video. There our rule is the best one
          (docs/publishing.md has the proof), so "online" is the figure of our rule.
all hot:  the shares of that trace. "online" is not known; the figure is a lower bound of it. It comes from
          leaving out plays at random until all videos are alike: the best rule then makes no more publishes.
few:      so few videos and moments that the best rule is found exactly, as a Markov decision process.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations
from math import exp
from random import Random

import numpy as np
from msgspec import Struct

from actors.core.client.bound import Mode, Play, demands, publishes_min

from .command import parser, show
from .publishes import DEADLINE_MS, rule_publishes
from .traces import BURST_MS, MS, PLAYS, make_trace

VIDEOS = 100
SEEDS = 4
BURSTS = 40
BURST_SLOTS, BURST_WAIT = 20, 4  # a burst of 50 ms, and a linger of 10 ms
MIXED = 0.5  # the share of the new values: with all of them, the values could alternate for ever
SLOTS = 40_000  # computing the bound for this many slots takes some seconds
HOT = 1000  # a total that makes a video hot
TOO_LATE = 1e9  # the price of being late, in publishes: more than any rule makes, so that no play is late


class Found(Struct, frozen=True):
    """One line of the table: expected publishes. `at_least`: `online` is only a lower bound."""

    trace: str
    bound: float
    online: float
    rule: float
    at_least: bool = False


def main() -> None:
    """Measure and print the table."""
    parser(__doc__).parse_args()
    rows = []
    for one in _found():
        least, most = ("≥ ", "≤ ") if one.at_least else ("", "")
        rows.append(
            (
                one.trace,
                f"{one.bound:,.1f}",
                f"{least}{one.online:,.1f}",
                f"{one.rule:,.1f}",
                f"{least}{one.online / one.bound:.3f}",
                f"{most}{one.rule / one.online:.3f}",
            )
        )
    show(("", "bound", "online", "rule", "online / bound", "rule / online"), rows)


def best_rate(chances: Sequence[float], wait: int, places: int, within: float = 1e-4) -> float:
    """Publishes per slot that the best rule makes in the long run; at most `within` too low, never too high.

    Time is divided into slots. In each slot, video i is played with the chance `chances[i]`, independently of
    the others. Then there may be publishes of up to `places` videos each. A play has to be published in its
    slot or in one of the `wait` slots after it.
    """
    values = np.zeros((wait + 2,) * len(chances))
    while True:
        gained = _decide(_slot_begins(values, chances), places) - values
        if gained.max() - gained.min() <= within:
            return float(gained.min())  # no rule makes fewer than the least gain of any state
        values += MIXED * (gained - gained.flat[0])


def best_total(chances: Sequence[float], wait: int, places: int, slots: int) -> float:
    """Publishes that the best rule is expected to make if plays come in the first `slots` slots only."""
    values = np.zeros((wait + 2,) * len(chances))
    for _ in range(wait + 1):
        values = _decide(_slot_begins(values, [0.0] * len(chances)), places)
    for _ in range(slots - 1):
        values = _decide(_slot_begins(values, chances), places)
    return float(_slot_begins(values, chances).flat[-1])  # nothing is pending at first


def _slot_begins(values: np.ndarray, chances: Sequence[float]) -> np.ndarray:
    """The values of the states before a slot begins, from their values after the plays of the slot.

    Each axis is a video. An index is the number of slots that the video may still wait, from 0 to `wait`. The
    last index means that the video is not pending.
    """
    for axis, chance in enumerate(chances):
        after = np.moveaxis(values, axis, 0)
        before = np.empty_like(after)
        before[0] = TOO_LATE
        before[1:-1] = after[:-2]
        before[-1] = (1 - chance) * after[-1] + chance * after[-2]
        values = np.moveaxis(before, 0, axis)
    return values


def _decide(values: np.ndarray, places: int) -> np.ndarray:
    """The values of the states before the publishes of a slot are chosen, from their values afterwards."""
    videos = range(values.ndim)
    for _ in range(-(-len(videos) // places)):  # this many publishes cover all videos
        before = values
        for told in combinations(videos, min(places, len(videos))):  # some of them may not be pending
            idle = tuple(slice(-1, None) if video in told else slice(None) for video in videos)
            values = np.minimum(values, 1 + before[idle])
    return values


def slotted(chances: Sequence[float], slots: int, random: Random) -> list[Play]:
    """Plays of hot videos. A slot is a millisecond."""
    return [
        Play(video, slot * MS, slot * MS, HOT)
        for slot in range(slots)
        for video, chance in enumerate(chances)
        if random.random() < chance
    ]


def drawn(shares: Sequence[float], offsets_ms: Sequence[int], total: int, random: Random) -> list[Play]:
    """Plays at these times. The video of each is drawn at random, by its share."""
    videos = random.choices(range(len(shares)), cum_weights=list(accumulate(shares)), k=len(offsets_ms))
    return [Play(video, at * MS, at * MS, total) for video, at in zip(videos, offsets_ms, strict=True)]


def _found() -> Iterator[Found]:
    hot = Mode(deadline=DEADLINE_MS * MS)
    for minutes in (10, 30, 60, 120):
        traces = [_hot([1.0] * VIDEOS, minutes, seed) for seed in range(SEEDS)]
        rule, bound = _mean_rule(traces, hot), _mean_bound(traces, hot)
        yield Found(f"alike: {VIDEOS} hot videos, {PLAYS:,} plays in {minutes} min", bound, rule, rule)
    linger = Mode(deadline=DEADLINE_MS * MS, realtime_linger=10 * MS)
    traces = [_burst(seed) for seed in range(BURSTS)]
    rule, bound = _mean_rule(traces, linger), _mean_bound(traces, linger)
    yield Found(f"alike: a burst, {VIDEOS} realtime videos, linger 10 ms", bound, rule, rule)
    shares = sorted(Counter(play.video for play in make_trace("all hot")).values())
    traces = [_hot(shares, 60, seed) for seed in range(SEEDS)]
    thinned = [_thinned(trace, shares, Random(seed)) for seed, trace in enumerate(traces)]
    least = _mean_rule(thinned, hot)
    yield Found("all hot, 1 h", _mean_bound(traces, hot), least, _mean_rule(traces, hot), at_least=True)
    for videos, wait in ((4, 10), (5, 8), (6, 6)):
        yield _few_hot(videos, places=2, wait=wait)
    for videos in (4, 5, 6):
        yield _few_burst(videos, places=2)


def _hot(shares: Sequence[float], minutes: int, seed: int) -> list[Play]:
    random = Random(seed)
    offsets_ms = sorted(int(random.random() * minutes * 60_000) for _ in range(PLAYS))
    return drawn(shares, offsets_ms, HOT, random)


def _burst(seed: int) -> list[Play]:
    """As many plays within 50 ms as a burst of the trace "bursts" has, all of videos with no earlier play."""
    random = Random(seed)
    offsets_ms = sorted(int(random.random() * BURST_MS) for _ in range(5 * VIDEOS))
    return drawn([1.0] * VIDEOS, offsets_ms, 1, random)


def _thinned(trace: list[Play], shares: Sequence[float], random: Random) -> list[Play]:
    kept: dict[object, float] = {video: min(shares) / share for video, share in enumerate(shares)}
    return [play for play in trace if random.random() < kept[play.video]]


def _few_hot(videos: int, places: int, wait: int) -> Found:
    """Videos played as often as those of the trace "all hot", where a minute has `wait` slots."""
    chances = [1 - exp(-60 / wait / (18.7 / videos * rank)) for rank in range(1, videos + 1)]
    mode = Mode(deadline=wait * MS, batch_size_max=places)
    trace = [slotted(chances, SLOTS, Random(1))]
    online = best_rate(chances, wait, places) * SLOTS
    name = f"few: {videos} hot videos, {places} in a publish, minutes of {wait} moments"
    return Found(name, _mean_bound(trace, mode), online, _mean_rule(trace, mode))


def _few_burst(videos: int, places: int) -> Found:
    """A burst of five plays per video on average, with the shares 1, 1/2, 1/3 …"""
    weights = [1 / rank for rank in range(1, videos + 1)]
    chances = [1 - exp(-5 * videos * weight / sum(weights) / BURST_SLOTS) for weight in weights]
    mode = Mode(deadline=BURST_WAIT * MS, batch_size_max=places)
    traces = [slotted(chances, BURST_SLOTS, Random(seed)) for seed in range(SLOTS // BURST_SLOTS)]
    online = best_total(chances, BURST_WAIT, places, BURST_SLOTS)
    name = f"few: a burst, {videos} videos, {places} in a publish, {BURST_SLOTS} moments, linger {BURST_WAIT}"
    return Found(name, _mean_bound(traces, mode), online, _mean_rule(traces, mode))


def _mean_rule(traces: list[list[Play]], mode: Mode) -> float:
    return sum(rule_publishes(trace, mode) for trace in traces) / len(traces)


def _mean_bound(traces: list[list[Play]], mode: Mode) -> float:
    return sum(publishes_min(demands(trace, mode), mode.batch_size_max) for trace in traces) / len(traces)


if __name__ == "__main__":
    main()
