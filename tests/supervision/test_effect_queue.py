"""Effects are carried out in order. They wait behind a write that fails. In virtual time."""

import asyncio

import pytest

from actors.supervision.effect_queue import RETRY_S, EffectQueue
from tests.support.virtual_time import run_virtually


class Full(Exception):
    """The disk is full."""


class Disk:
    """The effects that were carried out. A full disk takes no `WRITE`."""

    def __init__(self):
        self.done, self.full, self.ended = [], False, 0
        self.tried = []  # what came of the writes that were tried again

    def carry_out(self, effect):
        if self.full and effect == WRITE:
            raise Full
        self.done.append(effect)

    def end(self):
        self.ended += 1


class Host:
    """Whether what is sent now is held back, and how often it was written."""

    def __init__(self):
        self.is_corked, self.written = False, 0

    def call_later(self, delay_s, call):
        return asyncio.get_running_loop().call_later(delay_s, call)

    def cork(self):
        self.is_corked = True

    def uncork(self):
        self.is_corked = False
        self.written += 1


WRITE, COUNTED, RECALL = "write", "tell the consumer", "tell the counter"


def test_what_stands_behind_a_write_that_fails_waits_for_it():
    async def run():
        disk = Disk()
        one = EffectQueue(disk.carry_out, Full, Host(), disk.tried.append, disk.end)
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


def test_each_failure_is_told_and_that_the_write_worked_at_last_is_told_once():
    async def run():
        disk = Disk()
        one = EffectQueue(disk.carry_out, Full, Host(), disk.tried.append)
        one.perform([WRITE])
        assert disk.tried == []
        disk.full = True
        one.perform([RECALL, WRITE, WRITE])
        await asyncio.sleep(2.5 * RETRY_S)
        assert [type(one) for one in disk.tried] == [Full] * 3
        disk.full = False
        await asyncio.sleep(2 * RETRY_S)
        assert disk.tried[3:] == [None]
        one.perform([WRITE])
        assert disk.tried[3:] == [None]

    run_virtually(run)


def test_what_a_peer_that_is_gone_was_to_be_told_is_not_told_to_the_next():
    async def run():
        disk = Disk()
        one = EffectQueue(disk.carry_out, Full, Host(), disk.tried.append)
        disk.full = True
        one.perform([WRITE, COUNTED, RECALL])
        one.forget(lambda effect: effect == COUNTED)
        disk.full = False
        await asyncio.sleep(2 * RETRY_S)
        assert disk.done == [WRITE, RECALL]

    run_virtually(run)


def test_damage_is_not_waited_for():
    def carry_out(effect):
        raise ValueError("damaged")

    with pytest.raises(ValueError):
        EffectQueue(carry_out, Full, Host(), print).perform([WRITE])


def test_all_that_is_sent_together_is_written_once_also_while_a_write_fails_and_after_damage():
    async def run():
        host, corked = Host(), []

        def carry_out(effect):
            corked.append(host.is_corked)
            if effect == WRITE:
                raise Full
            if effect == "damage":
                raise ValueError

        one = EffectQueue(carry_out, Full, host, [].append)
        one.perform([RECALL, COUNTED])
        assert (host.is_corked, host.written) == (False, 1)
        with pytest.raises(ValueError):
            one.perform([RECALL, "damage"])
        assert (host.is_corked, host.written) == (False, 2)
        one.forget(lambda effect: True)
        one.perform([RECALL, WRITE, COUNTED])
        assert (host.is_corked, host.written) == (False, 3)
        assert corked == [True] * 6

    run_virtually(run)
