"""The counter's process: what it tells while its disk is full."""

import asyncio
from types import SimpleNamespace

import pytest

from actors.config import Settings
from actors.core.columns import pack_numbers
from actors.core.counter.accounts import Accounts
from actors.core.counter.changes import Tallies
from actors.core.messages import Counted, Plays
from actors.core.stats import decode
from actors.counter import Counter
from actors.supervision.actor import StartArgs
from actors.system.exits import WriteUnavailable


class Disk:
    """A ledger's store that may be full."""

    commits = 0

    is_full = False

    def load(self):
        return Accounts(), [], Tallies(counted=10)

    def commit(self, changes):
        if self.is_full:
            raise WriteUnavailable("the disk is full")


class Host:
    """The process of an actor, with a clock that stands still and timers that the test calls."""

    def __init__(self):
        self.sent, self.timers = [], []
        self.monotonic_ms = self.wall_ns = lambda: 10**9
        self.say_resumed = lambda: None
        self.say_loading = lambda done, total, what: None

    def send(self, peer, message):
        self.sent.append(message)

    def call_later(self, delay_s, call):
        self.timers.append(call)
        return SimpleNamespace(cancel=lambda: None)


@pytest.fixture
def counter():
    actor = Counter(
        StartArgs(id="counter-0", incarnation=1, start="", options=Settings()), Host(), lambda *_: Disk()
    )
    asyncio.run(actor.init())
    return actor


def play(counter, number):
    plays = Plays(number, "a/plays", number.to_bytes(8, "big"), bytes(16), pack_numbers([number]))
    counter.handle("consumer", [plays])


def counted(counter):
    stats = decode(counter.stats())
    return stats.counted, stats.redelivered


def test_a_play_is_told_as_counted_once_the_disk_has_it(counter):
    assert counted(counter) == (10, 0)
    play(counter, 1)
    assert counted(counter) == (11, 0)
    counter._store.is_full = True
    for number in (2, 3):
        play(counter, number)
        assert counted(counter) == (11, 0)
    counter._store.is_full = False
    counter.host.timers[0]()
    assert counted(counter) == (13, 0)
    assert counter.host.sent.count(Counted([1])) == counter.host.sent.count(Counted([3])) == 1


def test_a_redelivery_is_told_at_once_as_it_needs_no_commit(counter):
    for _ in range(2):
        play(counter, 1)
    assert counted(counter) == (11, 1)
    counter._store.is_full = True
    play(counter, 2)
    assert counted(counter) == (11, 1)
