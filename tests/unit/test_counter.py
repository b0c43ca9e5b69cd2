"""The counter's process: what it tells while its disk is full."""

import asyncio
from types import SimpleNamespace

import pytest

from actors.config import Settings
from actors.core import totals
from actors.core.columns import pack_numbers, unpack_numbers
from actors.core.counter.accounts import Accounts
from actors.core.counter.changes import Tallies
from actors.core.messages import Collect, Collected, Counted, Plays
from actors.core.stats import decode
from actors.counter import Counter
from actors.supervision.actor import StartArgs
from actors.supervision.effect_queue import RETRY_S
from actors.system.exits import WriteUnavailable


class Disk:
    """A ledger's store that may be full."""

    commits = 0
    made = 0

    is_full = False

    def load(self):
        return Accounts(), [], Tallies(counted=10)

    def commit(self, changes):
        if self.is_full:
            raise WriteUnavailable("the disk is full")
        self.made += 1


class Host:
    """The process of an actor, with a clock that stands still and timers that the test calls."""

    def __init__(self):
        self.sent, self.addressed, self.timers = [], [], []
        self.monotonic_ms = self.wall_ns = lambda: 10**9
        self.say_resumed = lambda: None
        self.say_loading = lambda done, total, what: None

    def send(self, peer, message):
        self.sent.append(message)
        self.addressed.append((peer, message))

    def cork(self):
        """Do nothing: what is sent is noted at once."""

    uncork = cork

    def call_later(self, delay_s, call):
        self.timers.append((delay_s, call))
        return SimpleNamespace(cancel=lambda: None)

    def pass_time(self, until_s=0.0):
        """Call the timers that are due."""
        due = [call for delay_s, call in self.timers if delay_s <= until_s]
        self.timers = [(delay_s, call) for delay_s, call in self.timers if delay_s > until_s]
        for call in due:
            call()


@pytest.fixture
def counter():
    actor = Counter(
        StartArgs(id="counter-0", incarnation=1, start="", options=Settings()), Host(), lambda *_: Disk()
    )
    asyncio.run(actor.init())
    return actor


def plays_of(number):
    return Plays(number, "a/plays", number.to_bytes(8, "big"), bytes(16), pack_numbers([number]))


def play(counter, number):
    counter.handle("consumer", [plays_of(number)])
    counter.host.pass_time()


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
    counter.host.pass_time(RETRY_S)
    assert counted(counter) == (13, 0)
    assert counter.host.sent.count(Counted([1])) == counter.host.sent.count(Counted([3])) == 1


def test_a_redelivery_is_told_at_once_as_it_needs_no_commit(counter):
    for _ in range(2):
        play(counter, 1)
    assert counted(counter) == (11, 1)
    counter._store.is_full = True
    play(counter, 2)
    assert counted(counter) == (11, 1)


def test_a_counter_that_ends_in_order_has_written_what_came_again(counter):
    for _ in range(2):
        play(counter, 1)
    made = counter._store.made
    counter._store.close = lambda: None
    asyncio.run(counter.terminate())
    assert counter._store.made == made + 1


def test_what_both_peers_sent_meanwhile_is_one_commit(counter):
    counter.handle("consumer", [plays_of(1), plays_of(2)])
    counter.handle("dispatcher", [Collect(7, bytes(16))])
    counter.handle("consumer", [plays_of(3)])
    assert (counter._store.made, counter.host.sent) == (0, [])
    counter.host.pass_time()
    assert counter._store.made == 1
    assert Counted([1, 2, 3]) in counter.host.sent
    (collected,) = [one for one in counter.host.sent if isinstance(one, Collected)]
    assert list(unpack_numbers(collected.totals)) == [3]


def test_what_comes_a_while_after_the_last_commit_is_handled_at_once_and_its_answer_too(counter):
    """No timer for a lone play: nothing else can have come while a commit was made."""
    now_ms = counter.host.monotonic_ms()
    counter.host.monotonic_ms = lambda: now_ms
    for number, (later_ms, at_once) in enumerate([(1, False), (2, True), (0, False), (1, False), (2, True)]):
        now_ms += later_ms
        counter.handle("consumer", [plays_of(number)])
        assert (Counted([number]) in counter.host.sent) is at_once
        counter.host.pass_time()
        assert Counted([number]) in counter.host.sent


def test_a_commit_that_took_long_is_followed_by_what_came_meanwhile_together(counter):
    now_ms = counter.host.monotonic_ms() + 1000
    counter.host.monotonic_ms = lambda: now_ms

    def slowly(changes):
        nonlocal now_ms
        now_ms += 50
        counter._store.made += 1

    counter._store.commit = slowly
    counter.handle("consumer", [plays_of(1)])
    assert counter._store.made == 1
    counter.handle("consumer", [plays_of(2)])
    counter.handle("dispatcher", [Collect(7, bytes(16))])
    counter.host.pass_time()
    assert counter._store.made == 2


def test_a_counter_goes_on_once_a_consumer_sent_something_and_says_so_once(counter):
    said = []
    counter.host.say_resumed = lambda: said.append(1)
    counter.handle("dispatcher", [Collect(7, bytes(16))])
    assert not said
    for number in range(3):
        play(counter, number)
    assert said == [1]


def test_what_a_lost_consumer_sent_is_answered_before_the_next_one_comes(counter):
    """Each consumer numbers its messages from 1: the wrong one would finish plays that are not counted."""
    counter.handle("consumer", [plays_of(1)])
    counter.lost("consumer")
    sent, counter.host.sent = counter.host.sent, []
    assert Counted([1]) in sent
    counter.host.pass_time()
    assert not any(isinstance(one, Counted) for one in counter.host.sent)


def test_a_lost_consumer_takes_no_answer_of_another_one_with_it(counter):
    counter._store.is_full = True
    counter.handle("consumer-0", [plays_of(1)])
    counter.handle("consumer-1", [plays_of(2)])
    counter.host.pass_time()
    counter.lost("consumer-0")
    counter._store.is_full = False
    counter.host.pass_time(RETRY_S)
    assert [one for one in counter.host.addressed if isinstance(one[1], Counted)] == [
        ("consumer-1", Counted([2]))
    ]
    assert counted(counter) == (12, 0)


def total_told(counter):
    """What the counter answers about its video: the total, or why it does not tell it."""
    replies = []
    counter.handle_call(totals.encode(totals.TotalsCall(bytes(16))), replies.append)
    found = totals.decode_found(*replies)
    return found.problem or list(unpack_numbers(found.totals))


def test_a_total_is_told_once_the_disk_has_it_and_why_not_before(counter):
    assert total_told(counter) == []
    play(counter, 1)
    assert total_told(counter) == [1]
    counter._store.is_full = True
    play(counter, 2)
    why = "counter-0 can't write its ledger now, so it tells no total; the log says why"
    assert total_told(counter) == why
    counter._store.is_full = False
    counter.host.pass_time(RETRY_S)
    assert total_told(counter) == [2]


def test_the_window_does_not_run_while_the_disk_is_full(counter):
    """A full disk lasts longer than the window. Meanwhile nothing is finished on nsqd, so it comes again."""
    hour_ms = 3_600_000
    now_ms = counter.host.monotonic_ms()
    counter.host.monotonic_ms = lambda: now_ms
    first, second, third, fourth = (number << 35 for number in range(1, 5))  # each in a bucket of its own
    play(counter, first)
    counter._store.is_full = True
    play(counter, second)
    for _ in range(4):
        now_ms += hour_ms
        counter.host.pass_time(RETRY_S)
    counter._store.is_full = False
    counter.host.pass_time(RETRY_S)
    assert counted(counter) == (12, 0)
    play(counter, third)
    for number in (first, second):
        play(counter, number)
    assert counted(counter) == (13, 2)
    now_ms += 2 * hour_ms
    play(counter, fourth)
    play(counter, first)
    assert counted(counter) == (15, 2), "the window runs again"
