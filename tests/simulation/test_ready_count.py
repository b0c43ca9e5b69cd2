"""Several nsqds in virtual time: lone plays are read at once, also beside the backlog of another nsqd and
after one; a backlog gets all of its share of max_in_flight; and the shares follow the load. The real consumer
with its reader: see `reading.py`.
"""

import asyncio
import functools
from random import Random
from uuid import UUID

import pytest
from msgspec import Struct

from actors.core.consumer.ready_count import QUIET_MS, ReadyCount, ReadyCounts
from actors.core.consumer.turns import Turns
from actors.sources.connection import BatchConnection
from actors.sources.offers import OUTPUT_BUFFER_TIMEOUT_MS
from tests.simulation import buffering_nsqd, reading
from tests.simulation.broken_counting import DoesNotShare
from tests.simulation.buffering_nsqd import BufferingNsqd
from tests.simulation.reading import PATIENCE_S, PORT, Reading
from tests.support.virtual_time import run_virtually

VIDEOS = [str(UUID(int=number)) for number in range(1, 101)]
BACKLOG = 20_000
SHARE = 1250  # half of max_in_flight
ALL = 2500
LONE_EVERY_S = 0.023
OLD_S = 60.0  # so old that it must be a backlog
STOP_S = 0.1
STOPS_SHARE = 0.2  # the share of lone plays at which a process is stopped
BUFFER_S = OUTPUT_BUFFER_TIMEOUT_MS / 1000
AT_ONCE_S = 0.005
PAUSE_S = (OUTPUT_BUFFER_TIMEOUT_MS + QUIET_MS) / 1000  # then RDY is 1 again
# for the backlog, a fifth more than with RDY at its share all the time
LIMITS_S = {
    "all quick": 0.14,
    "nsqd slow": 0.5,
    "consumer slow": 0.33,
    "counters slow": 0.77,
    "all slow": 1.16,
}


class Machine(Struct, frozen=True):
    """How fast each process is."""

    nsqd: buffering_nsqd.Speed = buffering_nsqd.Speed(send_s=5e-6, finish_s=3e-6)
    ours: reading.Speed = reading.Speed()


MACHINES = {
    "all quick": Machine(),
    "nsqd slow": Machine(nsqd=buffering_nsqd.Speed(send_s=20e-6, finish_s=10e-6)),
    "consumer slow": Machine(ours=reading.Speed(play_s=10e-6)),
    "counters slow": Machine(ours=reading.Speed(commit_s=20e-3)),
    "all slow": Machine(
        buffering_nsqd.Speed(send_s=20e-6, finish_s=20e-6), reading.Speed(1e-3, 20e-6, 20e-3, 20e-6)
    ),
}


class Found(Struct):
    """What was found. `ready_counts`: RDYs of the busy nsqd during the backlog. `after`: those after it.

    `took_s`: how long the backlog took. All times are of the virtual clock, whatever the machine is like.
    """

    ready_counts: list[int]
    after: list[int]
    lone_s: list[float]
    lone_after_s: list[float]
    counted: int
    put: int
    took_s: float


def drain(name, age_s=OLD_S, stops=False):
    """Drain a backlog of this age from one nsqd. Lone plays come on the other, and later on the first one.

    `stops`: now and then a process is stopped for a while.
    """
    machine = MACHINES[name]

    async def scene():
        random, loop = Random(1), asyncio.get_running_loop()
        busy, quiet = (BufferingNsqd(machine.nsqd, random, VIDEOS) for _ in range(2))
        world = Reading([busy, quiet], machine.ours, patch)
        busy.put(BACKLOG, age_s)
        await world.start()
        lone, lone_after = {}, {}
        while busy.waiting:
            assert loop.time() < PATIENCE_S, "the backlog is not drained"
            await asyncio.sleep(LONE_EVERY_S)
            lone[quiet.put(1)] = loop.time()
            if stops and random.random() < STOPS_SHARE:
                random.choice([world.process, *(one.process for one in world.counters)]).stop(STOP_S)
        took_s = loop.time()
        await world.until(lambda: world.counted >= BACKLOG + len(lone), "all to be counted")
        await asyncio.sleep(PAUSE_S)
        for _ in range(10):
            await asyncio.sleep(LONE_EVERY_S)
            lone_after[busy.put(1)] = loop.time()
        put = BACKLOG + len(lone) + len(lone_after)
        await world.until(lambda: world.counted >= put, "all to be counted")
        return Found(
            [one.ready_count for one in busy.ready_counts if one.depth],
            [one.ready_count for one in busy.ready_counts if not one.depth],
            [quiet.received_s[number] - put_s for number, put_s in lone.items()],
            [busy.received_s[number] - put_s for number, put_s in lone_after.items()],
            world.counted,
            put,
            took_s,
        )

    with pytest.MonkeyPatch.context() as patch:
        return run_virtually(scene)


drained = functools.cache(drain)


@pytest.mark.parametrize("stops", [False, True], ids=["", "with stops"])
@pytest.mark.parametrize("name", MACHINES)
def test_a_backlog_gets_all_of_its_share_and_is_drained_as_fast_as_the_machine_allows(name, stops):
    found = drained(name, OLD_S, stops)
    assert found.counted == found.put
    assert max(found.ready_counts) == SHARE
    if not stops:
        assert found.took_s < LIMITS_S[name]


@pytest.mark.parametrize("age_s", [0.05, 1.0])
@pytest.mark.parametrize("name", MACHINES)
def test_a_young_backlog_is_drained_as_fast(name, age_s):
    found = drain(name, age_s)
    assert found.counted == found.put
    assert max(found.ready_counts) == SHARE
    assert found.took_s < LIMITS_S[name]


@pytest.mark.parametrize("name", MACHINES)
def test_a_lone_play_on_another_nsqd_does_not_wait_for_the_backlog(name):
    found = drained(name, OLD_S, False)
    assert len(found.lone_s) >= 5
    assert sorted(found.lone_s)[len(found.lone_s) // 2] < 0.2 * BUFFER_S
    assert max(found.lone_s) < BUFFER_S


@pytest.mark.parametrize("name", MACHINES)
def test_stops_hold_a_lone_play_up_for_as_long_as_they_last(name):
    found = drained(name, OLD_S, True)
    # The consumer and both counters may be stopped one after the other.
    assert max(found.lone_s) < 3 * STOP_S + BUFFER_S


@pytest.mark.parametrize("name", MACHINES)
def test_a_second_after_a_backlog_each_lone_play_is_read_at_once(name):
    found = drained(name, OLD_S, False)
    assert found.after[-1] == 1
    assert max(found.lone_after_s) < AT_ONCE_S


@pytest.mark.parametrize("plays_a_second", [50, 150, 1000])
@pytest.mark.parametrize("name", [name for name in MACHINES if name != "all slow"])
def test_lone_plays_are_read_at_once_at_any_rate(name, plays_a_second):
    async def scene():
        loop, nsqd = asyncio.get_running_loop(), BufferingNsqd(MACHINES[name].nsqd, Random(1), VIDEOS)
        world = Reading([nsqd], MACHINES[name].ours, patch)
        await world.start()
        await asyncio.sleep(0.1)  # to be connected
        put_s = {}
        for _ in range(300):
            put_s[nsqd.put(1)] = loop.time()
            await asyncio.sleep(1 / plays_a_second)
        await world.until(lambda: world.counted == 300, "all to be counted")
        waits_s = sorted(nsqd.received_s[number] - at_s for number, at_s in put_s.items())
        return waits_s, world.consumer.rules.stats(0, [], 0)

    with pytest.MonkeyPatch.context() as patch:
        waits_s, stats = run_virtually(scene)
    assert waits_s[len(waits_s) // 2] < AT_ONCE_S
    assert stats.reads_by_ticker <= 0.01 * stats.reads


def lone_waits(nsqds, stats_answer=True, *overrides):
    """Keep one nsqd busy, and put lone plays on the others. Returns how long each of those waited, in s."""

    async def scene():
        loop, random = asyncio.get_running_loop(), Random(1)
        busy, *quiet = (BufferingNsqd(MACHINES["all quick"].nsqd, Random(1), VIDEOS) for _ in range(nsqds))
        world = Reading(
            [busy, *quiet], MACHINES["all quick"].ours, patch, *overrides, stats_answer=stats_answer
        )
        await world.start()
        waits_s = []
        for _ in range(60):
            for _ in range(random.randint(1, 8)):
                busy.put(3)
                await asyncio.sleep(random.uniform(0.001, 0.2))
            one, put_s = random.choice(quiet), loop.time()
            number = one.put(1)
            await world.until(functools.partial(one.received_s.__contains__, number), "the lone play")
            waits_s.append(one.received_s[number] - put_s)
        await world.until(lambda: not busy.waiting, "the busy one to be read")
        return waits_s

    with pytest.MonkeyPatch.context() as patch:
        return run_virtually(scene)


@pytest.mark.parametrize(("nsqds", "max_in_flight"), [(2, 1), (7, 3), (12, 1)])
def test_with_more_nsqds_than_messages_allowed_they_take_turns_and_none_waits_a_second(nsqds, max_in_flight):
    """pynsq would share RDY by a timer: one that is idle for 10 s gets none until all are idle."""
    assert max(lone_waits(nsqds, True, f"nsq.max_in_flight={max_in_flight}")) < 1


class Shared(Struct):
    """RDYs and shares by nsqd, from two seconds after the load has come; and the waits of lone plays."""

    ready_counts: list[tuple[int, ...]]
    shares: list[tuple[int, ...]]
    lone_s: list[float]


def shared(loads, lasts_s, *, rates=False, speed=MACHINES["all slow"].ours, stats_answer=True):
    """Load three nsqds, by backlogs or by plays a second, and put lone plays on a fourth one."""

    async def scene():
        random, loop = Random(1), asyncio.get_running_loop()
        nsqds = [BufferingNsqd(MACHINES["all slow"].nsqd, random, VIDEOS) for _ in range(4)]
        world = Reading(nsqds, speed, patch, stats_answer=stats_answer)
        await world.start()
        found, lone = Shared([], [], []), {}
        while loop.time() < lasts_s:
            for nsqd, load in zip(nsqds, loads, strict=False):
                # A backlog is kept up, so that the loads stay what they are.
                nsqd.put(
                    round(load * 0.02) if rates else max(0, load - len(nsqd.waiting)), 0 if rates else OLD_S
                )
            if random.random() < 0.2:
                lone[nsqds[3].put(1)] = loop.time()
            await asyncio.sleep(0.02)
            if loop.time() >= 2:
                found.ready_counts.append(tuple(one.ready_counts[-1].ready_count for one in nsqds))
                found.shares.append(world.shares())
        await world.until(lambda: lone.keys() <= nsqds[3].received_s.keys(), "the lone plays")
        found.lone_s = [nsqds[3].received_s[number] - put_s for number, put_s in lone.items()]
        return found

    with pytest.MonkeyPatch.context() as patch:
        return run_virtually(scene)


@pytest.mark.parametrize("load", [10_000, 200_000])
def test_an_nsqd_with_ten_times_the_load_gets_five_times_the_ready_count_within_two_seconds(load):
    found = shared([10 * load, load, load], 6)
    assert found.ready_counts
    for first, *others in found.ready_counts:
        assert first >= 5 * max(others), found.ready_counts
        assert sum([first, *others]) <= ALL
    assert max(found.lone_s) < 0.1


@pytest.mark.parametrize("name", ["all slow", "all quick"])
@pytest.mark.parametrize("plays_a_second", [300, 1000])
def test_ten_times_the_plays_a_second_get_five_times_the_share_where_nobody_says_what_waits(
    plays_a_second, name
):
    loads = [10 * plays_a_second, plays_a_second, plays_a_second]
    found = shared(loads, 6, rates=True, speed=MACHINES[name].ours, stats_answer=False)
    assert found.shares
    for first, *others in found.shares:
        assert first >= 5 * max(others), found.shares
    assert max(found.lone_s) < 0.1


# Mistakes made on purpose, which these tests must find.


class SeesNoBacklog(ReadyCount):
    """Has room for one, always."""

    def after_read(self, messages, now_ms, wall_ms, newest_age_ms):
        super().after_read(1, now_ms, 20.0 * now_ms, 0.0)


class NeverFlushes(ReadyCount):
    """Leaves it to nsqd's ticker to flush what is the last of a backlog."""

    def flush(self, now_ms):
        self.flush_at_ms = now_ms + QUIET_MS
        return False


def test_rdy_that_sees_no_backlog_is_found_out(monkeypatch):
    monkeypatch.setattr(ReadyCounts, "ready_count_type", SeesNoBacklog)
    with pytest.raises(AssertionError, match="the backlog is not drained"):
        drain("all slow")


def test_rdy_that_leaves_lone_plays_in_nsqds_buffer_is_found_out(monkeypatch):
    monkeypatch.setattr(ReadyCounts, "ready_count_type", NeverFlushes)
    assert max(drain("all quick").lone_after_s) > AT_ONCE_S


def test_shares_that_are_all_of_it_are_found_out(monkeypatch):
    monkeypatch.setattr(ReadyCounts, "_share", DoesNotShare._share)
    found = drain("counters slow")
    assert max(found.ready_counts) > SHARE
    assert 0 in found.ready_counts, "at times too much is outstanding, and nothing is asked for"


def test_shares_that_are_equal_whatever_the_load_are_found_out(monkeypatch):
    def fair_shares(self):
        return dict.fromkeys(self._by_connection, self._max_in_flight // len(self._by_connection))

    monkeypatch.setattr(ReadyCounts, "_fair_shares", fair_shares)
    found = shared([100_000, 10_000, 10_000], 3)
    assert any(first < 5 * max(others) for first, *others in found.ready_counts)


def test_an_nsqd_whose_load_is_not_looked_at_is_found_out(monkeypatch):
    monkeypatch.setattr(ReadyCounts, "looked", lambda self, connection, waiting: None)
    found = shared([100_000, 10_000, 10_000], 3)
    assert any(first < 5 * max(others) for first, *others in found.ready_counts)


def test_turns_that_are_not_handed_on_are_found_out(monkeypatch):
    def tick(self, now_ms, in_flight):
        if not self._turns:
            hands_on(self, now_ms, in_flight)

    hands_on = Turns.tick
    monkeypatch.setattr(Turns, "tick", tick)
    with pytest.raises(AssertionError, match="the lone play"):
        lone_waits(3, True, "nsq.max_in_flight=1")


def test_an_nsqd_that_is_asked_for_nothing_is_found_out(monkeypatch):
    def set_ready_count(self, ready_count):
        is_the_busy_one = self.port == PORT
        asked(self, ready_count if is_the_busy_one else 0)

    asked = BatchConnection.set_ready_count
    monkeypatch.setattr(BatchConnection, "set_ready_count", set_ready_count)
    with pytest.raises(AssertionError, match="all to be counted"):
        drain("all quick")
