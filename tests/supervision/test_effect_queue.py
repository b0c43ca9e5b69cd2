"""Effects are carried out in order; behind one that the disk does not take they wait. In virtual time."""

import asyncio

import pytest

from actors.core.dispatcher.effects import Forget
from actors.core.effects import Send
from actors.core.messages import Counted, Recall
from actors.supervision.effect_queue import RETRY_S, Performer
from actors.system.exits import NotWritten, StoreFailure
from tests.support.virtual_time import run_virtually


class Disk:
    """What was carried out; it takes no `Forget` while it is full."""

    def __init__(self):
        self.done, self.full, self.ended = [], False, 0

    def carry_out(self, effect):
        if self.full and isinstance(effect, Forget):
            raise NotWritten("the disk is full")
        self.done.append(effect)

    def end(self):
        self.ended += 1


WRITE, COUNTED, RECALL = Forget("a"), Send("consumer", Counted([1])), Send("counter-0", Recall())


def test_what_stands_behind_a_write_that_fails_waits_for_it():
    async def run():
        disk = Disk()
        one = Performer(disk.carry_out, disk.end)
        disk.full = True
        one.perform([RECALL, WRITE, COUNTED])
        one.perform([WRITE, RECALL])
        await asyncio.sleep(10)
        assert (disk.done, disk.ended) == ([RECALL], 0)
        disk.full = False
        await asyncio.sleep(2 * RETRY_S)
        assert (disk.done, disk.ended) == ([RECALL, WRITE, COUNTED, WRITE, RECALL], 1)
        one.perform([RECALL])
        assert (disk.done[-1], disk.ended) == (RECALL, 2)

    run_virtually(run)


def test_what_a_peer_that_is_gone_was_to_be_told_is_not_told_to_the_next():
    async def run():
        disk = Disk()
        one = Performer(disk.carry_out)
        disk.full = True
        one.perform([WRITE, COUNTED, RECALL])
        one.forget("consumer")
        disk.full = False
        await asyncio.sleep(2 * RETRY_S)
        assert disk.done == [WRITE, RECALL]

    run_virtually(run)


def test_damage_is_not_waited_for():
    def carry_out(effect):
        raise StoreFailure("damaged")

    with pytest.raises(StoreFailure):
        Performer(carry_out).perform([WRITE])
