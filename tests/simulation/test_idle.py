"""How often the consumer wakes up while nothing comes, in virtual time, and how soon it is wide awake again.

The real consumer with its source: see `reading.py`.
"""

import asyncio
from collections.abc import Iterator
from random import Random
from uuid import UUID

import pytest

from actors.core.consumer.ready_count import TICK_MS
from actors.core.consumer.rules import LOOK_EVERY_MS
from actors.core.consumer.stalls import QUIET_LOOK_MS, SILENT_MS
from actors.sources.nsqd import NsqdSource
from tests.simulation import buffering_nsqd, reading
from tests.simulation.buffering_nsqd import BufferingNsqd
from tests.simulation.reading import Reading
from tests.support.virtual_time import run_virtually

LASTS_S = 60.0
LATE_S = 0.002
NSQD = buffering_nsqd.Speed(send_s=5e-6, finish_s=3e-6)
VIDEOS = [str(UUID(int=1))]


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as one:
        yield one


def noted(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[float]:
    """When that method is called from now on."""
    called_s: list[float] = []
    method = getattr(owner, name)

    def call(*arguments: object) -> object:
        called_s.append(asyncio.get_running_loop().time())
        return method(*arguments)

    patch.setattr(owner, name, call)
    return called_s


@pytest.mark.parametrize("nsqds", [1, 3])
def test_a_consumer_to_which_nothing_comes_ticks_once_a_second_and_seldom_looks(patch, nsqds):
    async def scene() -> None:
        read_from = [BufferingNsqd(NSQD, Random(1), VIDEOS) for _ in range(nsqds)]
        world = Reading(read_from, reading.Speed(), patch)
        ticks_s = noted(patch, type(world.consumer.rules), "tick")
        source_ticks_s = noted(patch, NsqdSource, "_tick")
        await world.start()
        read_from[0].put(100)
        await world.until(lambda: world.counted == 100, "the plays")
        await asyncio.sleep((SILENT_MS + LOOK_EVERY_MS) / 1000)
        for one in (ticks_s, source_ticks_s, world.looks_s):
            one.clear()
        loop = asyncio.get_running_loop()
        quiet_s = loop.time()
        await asyncio.sleep(LASTS_S)
        assert len(ticks_s) == pytest.approx(LASTS_S, abs=1)
        for at_s in ticks_s:
            assert min(abs(at_s - other_s) for other_s in source_ticks_s) <= LATE_S, "they wake it together"
        assert len(world.looks_s) <= nsqds * ((loop.time() - quiet_s) * 1000 / QUIET_LOOK_MS + 1)
        for one in (ticks_s, world.looks_s):
            one.clear()
        number = read_from[0].put(1)
        await world.until(lambda: world.counted == 101, "the play")
        came_s = read_from[0].received_s[number]
        await asyncio.sleep(2)
        assert ticks_s[0] - came_s <= TICK_MS / 1000 + LATE_S
        assert world.looks_s[0] - came_s <= TICK_MS / 1000 + LATE_S

    run_virtually(scene)
