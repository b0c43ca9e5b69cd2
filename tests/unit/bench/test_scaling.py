"""How a load grows with plays and videos: as the rules make it in virtual time, and as the document says."""

from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from actors.core.client.bound import Mode, Play
from bench.publishes import MS, replay
from bench.scaling import DAY_S, Costs, Settings, load_of, tables

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"
START_MS = 1_700_000_000_000
WARM_S, SECONDS = 240, 180
MODE = Mode(deadline=60_000 * MS, realtime_linger=0, overdue_linger=1000 * MS, batch_size_max=20)


def steady(plays_a_day, videos, life_days):
    """Plays at random moments, of random videos, each at a random place of its life."""
    chance = Random(1)
    seconds = WARM_S + SECONDS
    moments = sorted(chance.random() * seconds for _ in range(int(plays_a_day * seconds / DAY_S)))
    life = max(1, int(plays_a_day / videos * life_days))
    totals, plays = {}, []
    for moment in moments:
        video = UUID(int=1 + chance.randrange(videos))
        totals[video] = totals.get(video, chance.randrange(life)) + 1
        at_ns = (START_MS + int(moment * 1000)) * MS
        plays.append(Play(video, at_ns, at_ns, totals[video]))
    return plays


@pytest.mark.parametrize(
    ("plays_a_day", "videos"),
    [(1_000_000, 1_000), (1_000_000, 10_000), (1_000_000, 500_000), (100_000, 100_000)],
    ids=["hot", "mixed", "quiet", "few plays"],
)
def test_the_publishes_are_those_that_the_rules_make(plays_a_day, videos):
    costs = Costs()
    told = replay(steady(plays_a_day, videos, costs.life_days), MODE, round(costs.client_ms + costs.own_ms))
    first_ms = START_MS + WARM_S * 1000
    made = sum(first_ms <= one.left_ms < first_ms + SECONDS * 1000 for one in told)
    expected = load_of(plays_a_day, videos, costs).publishes_per_s * SECONDS
    assert made == pytest.approx(expected, rel=0.1)


def test_more_plays_or_videos_fill_nothing_less():
    loads = [load_of(10**plays, 10**videos, Costs()) for plays in range(5, 12) for videos in range(3, 9)]
    for number, load in enumerate(loads):
        for other in ([number + 1] if number % 6 < 5 else []) + ([number + 6] if number < 36 else []):
            for resource, full in load.full.items():
                assert loads[other].full[resource] >= full * 0.999, resource


def test_a_linger_never_makes_more_publishes():
    for plays in range(5, 12):
        for videos in range(3, 9):
            lingering = load_of(10**plays, 10**videos, Costs(), Settings(realtime_linger_ms=1000))
            assert lingering.publishes_per_s <= load_of(10**plays, 10**videos, Costs()).publishes_per_s


def test_the_document_has_the_tables_that_the_command_prints():
    assert "\n".join(tables(Costs())) in DOCUMENT.read_text(encoding="utf-8")
