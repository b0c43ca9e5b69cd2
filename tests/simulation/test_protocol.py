"""The whole protocol in memory, with faults between any two effects: safe at every step, and
converged once the faults stop. And the proof that the checks would notice: protocols broken on
purpose.
"""

import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from actors.core.counting import Counting
from actors.core.dispatching import Dispatching, Outcome
from actors.core.effects import Commit, Deliver, Store
from tests.support.protocol_world import COUNTERS, World
from tests.support.simulated_faults import Faults

STEPS = 600
ROUNDS_TO_CONVERGE_MAX = 600  # 30 s of the world's time: deadlines of 2 s, pauses of 10 s at most
RUNS = int(os.environ.get("PROTOCOL_RUNS", "200"))


def likely(*rates):
    return st.sampled_from((0.0, *rates))


faults = st.builds(
    Faults,
    kill_at_effect=likely(0.01, 0.05, 0.2),
    kill=likely(0.1, 0.5),
    disconnect=likely(0.1, 0.5),
    time_out=likely(0.1, 0.5),
    refuse=likely(0.1, 0.5),
    lose_answer=likely(0.1, 0.5),
    stall=likely(0.05, 0.3),
    bad_body=likely(0.1),
)


def run(world, steps=STEPS, drains=False):
    """Faults for so many steps, then none; and everything that must be true in the end."""
    for _ in range(steps):
        world.step()
    world.heal()
    for _ in range(ROUNDS_TO_CONVERGE_MAX):
        if drains and world.counted:
            world.drain()
            drains = False
        world.settle()
        if world.converged and not drains:
            break
    else:
        raise AssertionError(f"it does not converge:\n{world.leftovers()}")
    committed, published = {}, {}
    for disk in world.ledgers:
        committed |= disk.totals()
        published |= disk.published()
    assert committed == world.produced, "the totals are not exact"
    assert world.client.totals == world.produced, "the client's totals are not exact"
    assert published == world.produced, "the ledgers do not know what the client knows"
    assert sum(disk.tallies.counted for disk in world.ledgers) == sum(world.produced.values())
    assert sum(disk.tallies.dead_lettered for disk in world.ledgers) == world.bad_produced


@settings(max_examples=RUNS, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    videos=st.sampled_from((1, 3, 12, 60)),
    faults=faults,
    steps_below=st.sampled_from((0, 0, 6)),
    drains=st.booleans(),
)
def test_totals_are_exact_and_told_once_whoever_dies_and_whatever_is_lost(
    seed, videos, faults, steps_below, drains
):
    world = World(seed, videos, faults, steps_below)
    try:
        run(world, drains=drains)
    except AssertionError:
        note("\n".join(world.trace))
        raise


def test_without_faults_nothing_is_told_twice_and_nobody_dies():
    world = World(1, 12, Faults())
    run(world)
    assert world.kills == 0


# Protocols broken on purpose: each must be caught by the checks above.


class AnswersBeforeCommit(Counting):
    """FIN before commit: a play is lost when the counter dies in between."""

    def handle(self, inbox, now_ms):
        effects = super().handle(inbox, now_ms)
        return sorted(effects, key=lambda effect: isinstance(effect, Commit))


class DeliversBeforeStore(Dispatching):
    """A batch leaves before it is written down: the next life tells the same totals again."""

    def handle(self, shard, inbox, now_ms):
        effects = super().handle(shard, inbox, now_ms)
        return [one for one in effects if isinstance(one, Deliver)] + [
            one for one in effects if not isinstance(one, Deliver)
        ]


class BelievesEveryRefusal(Dispatching):
    """A batch without an answer counts as refused, though the client may have taken it."""

    def delivered(self, outcome, now_ms, retry_after_ms=None):
        if outcome is Outcome.UNKNOWN:
            outcome = Outcome.REFUSED
        return super().delivered(outcome, now_ms, retry_after_ms)


class ForgetsItsDoubt(Dispatching):
    """A refusal is believed, though an attempt before it had no answer and may have got through."""

    def delivered(self, outcome, now_ms, retry_after_ms=None):
        if outcome is Outcome.REFUSED:
            self._doubtful = False
        return super().delivered(outcome, now_ms, retry_after_ms)


class ForgetsWhatWasAccepted(Dispatching):
    """The acceptance is not written down: after a death in between it is told under a new key."""

    def delivered(self, outcome, now_ms, retry_after_ms=None):
        effects = super().delivered(outcome, now_ms, retry_after_ms)
        if outcome is not Outcome.ACCEPTED:
            return effects
        self._unrecorded.clear()
        return [one for one in effects if not isinstance(one, Store)]


NASTY = Faults(kill_at_effect=0.03, kill=0.1, refuse=0.2, lose_answer=0.3, disconnect=0.1)


@pytest.mark.parametrize(
    "broken",
    [
        {"counting": AnswersBeforeCommit},
        {"dispatching": DeliversBeforeStore},
        {"dispatching": BelievesEveryRefusal},
        {"dispatching": ForgetsItsDoubt},
        {"dispatching": ForgetsWhatWasAccepted},
    ],
    ids=lambda broken: next(iter(broken.values())).__name__,
)
def test_the_checks_catch_a_protocol_that_is_broken_on_purpose(broken):
    for seed in range(200):
        try:
            run(World(seed, 3, NASTY, **broken))
        except (AssertionError, KeyError):
            return
    raise AssertionError("two hundred runs of a broken protocol, and no check noticed")


def test_every_actor_is_killed_in_the_runs():
    killed = set()
    for seed in range(20):
        world = World(seed, 3, NASTY)
        for _ in range(STEPS):
            world.step()
        killed |= {line.split()[1] for line in world.trace if line.endswith("killed")}
    assert killed == {"consumer", "dispatcher", *COUNTERS}
