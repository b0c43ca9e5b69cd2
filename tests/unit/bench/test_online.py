"""The best rule that does not know the future. Our rule is the best where all videos are alike."""

from functools import cache
from itertools import combinations, cycle, product
from math import prod
from random import Random

import pytest

from actors.core.client.bound import Mode, Play, demands, publishes_min
from bench.online import HOT, best_rate, best_total, drawn, slotted
from bench.publishes import rule_publishes
from bench.traces import MS


def searched_total(chances, wait, places, slots):
    """The same figure as `best_total`, by trying every choice. Shares no code with `best_total`.

    A state has, for each video, how long it may still wait, or None if it is not pending. Time ends when the
    last play must be published.
    """

    @cache
    def begins(slot, state):
        if slot > slots + wait:
            return 0.0
        total = 0.0
        for played in product((False, True), repeat=len(state)):
            chance = 1.0
            for one, video_chance in zip(played, chances, strict=True):
                here = video_chance if slot <= slots else 0.0
                chance *= here if one else 1 - here
            if chance:
                both = zip(played, state, strict=True)
                total += chance * decides(
                    slot, tuple(wait if one and left is None else left for one, left in both)
                )
        return total

    @cache
    def decides(slot, state):
        pending = [video for video, left in enumerate(state) if left is not None]
        found = []
        if 0 not in state:
            found.append(begins(slot + 1, tuple(None if left is None else left - 1 for left in state)))
        for count in range(1, min(places, len(pending)) + 1):
            for told in combinations(pending, count):
                left = tuple(None if video in told else left for video, left in enumerate(state))
                found.append(1 + decides(slot, left))
        return min(found)

    return begins(1, (None,) * len(chances))


@cache
def rule_makes(videos, wait, places, slots):
    """Every possible trace (for each video in each slot, play or not), and the publishes of our rule."""
    mode, found = Mode(deadline=wait * MS, batch_size_max=places), []
    for played in product((False, True), repeat=videos * slots):
        plays = []
        for at, one in enumerate(played):
            if one:
                slot, video = divmod(at, videos)
                plays.append(Play(video, slot * MS, slot * MS, HOT))
        found.append((played, rule_publishes(plays, mode)))
    return found


def rule_total(chances, wait, places, slots):
    """The publishes that our rule is expected to make: the mean over all possible traces."""
    total = 0.0
    for played, publishes in rule_makes(len(chances), wait, places, slots):
        each = zip(played, cycle(chances), strict=False)
        total += publishes * prod(chance if one else 1 - chance for one, chance in each)
    return total


@pytest.mark.parametrize(
    ("chances", "wait", "places", "slots"),
    [
        ((0.5, 0.5), 1, 1, 4),
        ((0.9, 0.2), 2, 1, 5),
        ((0.3, 0.3, 0.3), 2, 2, 4),
        ((0.8, 0.5, 0.1), 2, 1, 4),
        ((0.8, 0.1, 0.6, 0.3), 3, 2, 5),
        ((0.5, 0.2), 2, 5, 3),
    ],
)
def test_no_rule_makes_fewer_than_the_best(chances, wait, places, slots):
    best = best_total(chances, wait, places, slots)
    assert best == pytest.approx(searched_total(chances, wait, places, slots), abs=1e-9)


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("videos", "wait", "places", "slots"), [(2, 2, 1, 6), (4, 1, 2, 3), (3, 2, 2, 4)])
def test_where_videos_are_alike_our_rule_is_the_best(videos, wait, places, slots, chance):
    alike = (chance,) * videos
    best = best_total(alike, wait, places, slots)
    assert rule_total(alike, wait, places, slots) == pytest.approx(best, abs=1e-9)


def test_where_they_are_not_a_rule_that_knows_how_often_each_is_played_may_be_better():
    unlike = (0.9, 0.3, 0.1)
    assert best_total(unlike, 2, 2, 4) < rule_total(unlike, 2, 2, 4) - 1e-6


@pytest.mark.parametrize(("chance", "wait"), [(0.5, 3), (0.1, 6), (1.0, 2)])
def test_a_video_alone_is_told_when_it_is_due(chance, wait):
    assert best_rate([chance], wait, 1) == pytest.approx(1 / (wait + 1 / chance), abs=2e-4)


def test_in_the_long_run_the_best_rule_lies_between_the_bound_and_ours():
    slots, wait, chances = 10_000, 6, [0.9, 0.6, 0.4, 0.3]
    trace = slotted(chances, slots, Random(1))
    mode = Mode(deadline=wait * MS, batch_size_max=2)
    best = best_rate(chances, wait, 2) * slots
    assert publishes_min(demands(trace, mode), 2) * 1.01 < best < rule_publishes(trace, mode)


def test_with_a_hundred_videos_alike_the_best_rule_is_more_than_a_fiftieth_above_the_bound():
    random = Random(1)
    offsets_ms = sorted(int(random.random() * 1_800_000) for _ in range(50_000))
    trace = drawn([1.0] * 100, offsets_ms, HOT, random)
    mode = Mode(deadline=60_000 * MS)
    assert rule_publishes(trace, mode) > 1.02 * publishes_min(demands(trace, mode), 20)
