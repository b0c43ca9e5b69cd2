"""Who caused lateness: outages of the client and delays of our own, in virtual time.

These are the dispatcher's rules, with a counter that answers after some time and a client that is away for
some time. The clock is never set.
"""

import heapq
import itertools
from random import Random

import pytest

from actors.core.columns import pack_numbers, unpack_videos
from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.effects import Deliver
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.effects import Send
from actors.core.messages import Collect, Collected, Pending
from actors.core.triggers import Trigger

MS = 1_000_000
START_MS = 1_000_000
OUTAGE_MS = (20_000, 200_000)  # when the client is away, after the start


class World:
    """One dispatcher, one counter, one client. All times in ms."""

    def __init__(self, ours_ms, client_ms, outage_ms=(0, 0), deadline_ms=60_000, **more):
        rule = Rule(deadline_ms=deadline_ms, realtime_linger_ms=0)
        self.rules = DispatcherRules(rule, 1, 20, service="blame", jitter=lambda: 0.5, **more)
        self.now_ms = START_MS
        self.held_up_ms = []
        self.ours_ms, self._client_ms, self._outage_ms = ours_ms, client_ms, outage_ms
        self._videos = {}
        self._heap, self._sequence = [], itertools.count()
        self._perform(self.rules.linked(0, START_MS))

    def at(self, after_ms, call, *arguments):
        heapq.heappush(self._heap, (START_MS + after_ms, next(self._sequence), call, arguments))

    def play(self, video, plays, age_ms=0):
        """A counter announces a pending video. Its last play arrived `age_ms` ago."""
        self._videos[video] = (plays, self.now_ms - age_ms)
        column = video.to_bytes(16, "big")
        stamps = pack_numbers([(self.now_ms - age_ms) * MS])
        pending = Pending(column, stamps, pack_numbers([plays]))
        self._perform(self.rules.handle(0, [pending], self.now_ms))

    def run(self):
        """Run until nothing is left to do. Returns the totals."""
        while True:
            wake_ms = self.rules.wakeup_ms()
            then_ms = self._heap[0][0] if self._heap else None
            if wake_ms is not None and (then_ms is None or wake_ms <= then_ms):
                self.now_ms = max(self.now_ms, wake_ms)
                self._perform(self.rules.wake(self.now_ms))
            elif then_ms is not None:
                _, _, call, arguments = heapq.heappop(self._heap)
                self.now_ms = max(self.now_ms, then_ms)
                call(*arguments)
            else:
                return self.rules.totals

    def _perform(self, effects):
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Collect):
                after_ms = self.now_ms - START_MS + self.ours_ms
                self.at(after_ms, self._collected, effect.message)
            elif isinstance(effect, Deliver):
                self.held_up_ms.append(self.rules.departs(effect.batch.key, self.now_ms))
                away = self._outage_ms[0] <= self.now_ms - START_MS < self._outage_ms[1]
                outcome = Outcome.REFUSED if away else Outcome.ACCEPTED
                after_ms = self.now_ms - START_MS + self._client_ms
                self.at(after_ms, self._answered, effect.batch.key, outcome)

    def _collected(self, message):
        facts = [self._videos[int.from_bytes(video, "big")] for video in unpack_videos(message.videos)]
        totals, stamps = pack_numbers(plays for plays, _ in facts), pack_numbers(at * MS for _, at in facts)
        collected = Collected(message.number, message.videos, totals, stamps)
        self._perform(self.rules.handle(0, [collected], self.now_ms))

    def _answered(self, key, outcome):
        self._perform(self.rules.delivered(key, outcome, self.now_ms))


def test_all_that_an_outage_made_late_is_the_clients_however_long_it_was_and_however_much_waited():
    """20,000 hot videos, refused for three minutes; a thousand publishes until all are published."""
    world = World(ours_ms=4, client_ms=5, outage_ms=OUTAGE_MS)
    for video in range(20_000):
        world.at(video * 3, world.play, video, 100)
    totals = world.run()
    assert totals.videos == 20_000
    assert totals.late > 10_000
    assert totals.late_by_client == totals.late


def test_quiet_videos_that_were_held_for_longer_than_a_deadline_are_late():
    """312 videos are played once in an outage of 22.8 s. The deadline is 5 s."""
    world = World(ours_ms=1, client_ms=2, outage_ms=(0, 22_800), deadline_ms=5000)
    for video in range(312):
        world.at(video, world.play, video, 1)
    totals = world.run()
    assert (totals.late, totals.late_by_client) == (312, 312)


@pytest.mark.parametrize("plays", [1, 100], ids=["quiet", "hot"])
def test_of_a_video_that_waited_on_the_queue_only_the_time_after_that_counts(plays):
    for away_ms, late in ((2000, 0), (10_000, 1)):
        world = World(ours_ms=1, client_ms=2, outage_ms=(0, away_ms), deadline_ms=5000)
        world.at(0, world.play, 1, plays, 60_000)
        assert (world.run().late, world.rules.totals.late_by_client) == (late, late)


def test_what_is_told_in_time_after_an_outage_is_not_late():
    world = World(ours_ms=1, client_ms=2, outage_ms=(0, 3500), deadline_ms=5000)
    world.at(3000, world.play, 1, 100)
    world.at(3000, world.play, 2, 1)
    assert world.run().late == 0


def test_a_dispatcher_that_is_too_slow_itself_blames_nobody_else():
    """More videos are due than it can collect: a publish takes us 400 ms and the client 5 ms."""
    world = World(ours_ms=400, client_ms=5, deadline_ms=2000)
    for video in range(2000):
        world.at(0, world.play, video, 100)
    totals = world.run()
    assert totals.late > 1000
    assert totals.late_by_client < 20 * 5


def test_what_we_make_late_after_an_outage_is_ours():
    """After the outage all is published. Later one batch takes longer to collect than its deadline."""
    world = World(ours_ms=1, client_ms=5, outage_ms=(0, 60_000), deadline_ms=600)
    world.at(0, world.play, 1, 100)
    world.run()
    world.ours_ms = 900
    world.at(100_000, world.play, 2, 1)
    totals = world.run()
    assert (totals.late, totals.late_by_client) == (2, 1)


@pytest.mark.parametrize("client_ms", [5, 3000], ids=["quick", "slow"])
def test_a_client_that_allows_few_publishes_a_second_is_to_blame_for_what_waits(client_ms):
    world = World(ours_ms=1, client_ms=client_ms, deadline_ms=2000, rate_max_per_s=1, in_flight_max=8)
    for video in range(200):
        world.at(0, world.play, video, 1)
    totals = world.run()
    assert totals.late > 0
    assert totals.late_by_client == totals.late


@pytest.mark.parametrize("more", [{"rate_max_per_s": 1}, {"in_flight_max": 1}], ids=["rate", "one at a time"])
def test_what_waits_behind_the_batches_of_a_killed_dispatcher_is_the_clients(more):
    """Eight batches are in doubt at the start. The client takes a second for each of them."""
    entries = [[Entry((1000 + number).to_bytes(16, "big"), 1, 1)] for number in range(8)]
    stored = [make_batch("blame", Trigger.REALTIME, one) for one in entries]
    world = World(ours_ms=1, client_ms=1000, deadline_ms=500, **{"in_flight_max": 8, **more}, stored=stored)
    world.at(100, world.play, 1, 1)
    totals = world.run()
    assert totals.realtime + totals.overdue == 9
    assert (totals.late, totals.late_by_client) == (1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_held_up_is_the_difference_to_a_client_that_is_never_away(seed):
    """Each batch has one video. It is offered when it would leave if the client answered at once."""
    found = []
    for client_ms, outage in ((0, (0, 0)), (7, (300, 1200))):
        random = Random(seed)
        world = World(ours_ms=3, client_ms=client_ms, outage_ms=outage, deadline_ms=60_000)
        world.rules._schedule._batch_size_max = 1
        left_ms = []
        departs = world.rules.departs

        def noted(key, now_ms, departs=departs, left_ms=left_ms, rules=world.rules):
            held_up_ms = departs(key, now_ms)
            (held,) = rules.batches.within("sent")
            left_ms.append((held.content.videos[0], now_ms - held_up_ms))
            return held_up_ms

        world.rules.departs = noted
        for video in range(100):
            world.at(random.randrange(2000), world.play, video, 1)
        world.run()
        found.append(dict(left_ms))
    assert found[0] == found[1]
