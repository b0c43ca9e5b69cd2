"""Totals that are published again: in full batches, each video once, after all that is due."""

import itertools
from collections import deque

import pytest
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_videos
from actors.core.dispatcher.batches import Phase
from actors.core.dispatcher.collecting import COLLECT_TIMEOUT_MS
from actors.core.dispatcher.effects import Deliver, Store, StoreRepublish
from actors.core.dispatcher.lead_time import PublishTime
from actors.core.dispatcher.outbox import PublishTotals
from actors.core.dispatcher.republish import Place, Republish
from actors.core.dispatcher.republishing import PATIENCE_PUBLISHES
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules, Outcome
from actors.core.effects import Send
from actors.core.messages import (
    NO_ROW,
    Collect,
    Collected,
    CollectedPublished,
    CollectPublished,
    Pending,
    Recorded,
)
from actors.core.shards import counter_of, shard_of
from actors.core.triggers import Trigger

MS = 1_000_000
SHARDS = 2
DEADLINE_MS = 60_000
TOOK_MS = 10
TOTALS = PublishTotals(publish_time=PublishTime(TOOK_MS))


def videos_of(shard, count):
    numbers = (number.to_bytes(16, "big") for number in range(10 * count + 100))
    return [video for video in numbers if shard_of(video, SHARDS) == shard][:count]


class World:
    """Rules with counters that have these videos, each published with a total of 5, and a client."""

    def __init__(self, counts=(30, 15), *, linked=(0, 1), republishes=((), 0), stored=(), outcome=None):
        self.ledgers = [videos_of(shard, count) for shard, count in enumerate(counts)]
        self.now_ms = 1_000_000
        self.batches = []
        self.stored = {}
        self.over = []
        self.outcome = outcome or (lambda batch: Outcome.ACCEPTED)
        self.dead = False
        self.rules = DispatcherRules(
            Rule(deadline_ms=DEADLINE_MS),
            SHARDS,
            20,
            service="s",
            jitter=lambda: 0.5,
            totals=TOTALS,
            republishes=republishes,
            stored=stored,
        )
        for shard in linked:
            self.do(self.rules.linked(shard, self.now_ms))

    def ask(self, videos=b""):
        self.do(self.rules.request_republish("asked for", videos, self.now_ms))

    def do(self, effects):
        """Carry out effects, and those that follow."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case StoreRepublish():
                    if effect.request:
                        self.stored[effect.request.number] = effect.request
                    for number in effect.over:
                        self.stored.pop(number, None)
                        self.over.append(number)
                case Deliver():
                    self.batches.append(effect.batch)
                    self.now_ms += TOOK_MS
                    outcome = self.outcome(effect.batch)
                    if outcome is not None:
                        waiting += self.rules.delivered(effect.batch.key, outcome, self.now_ms)
                case Send(message=CollectPublished()):
                    waiting += self.answers(effect, self.handed_out(effect))
                case Send(message=Collect()):
                    asked = unpack_videos(effect.message.videos)
                    totals, arrived_ns = (pack_numbers(one for _ in asked) for one in (6, self.now_ms * MS))
                    answer = Collected(effect.message.number, effect.message.videos, totals, arrived_ns)
                    waiting += self.answers(effect, answer)

    def answers(self, effect, answer):
        return self.rules.handle(int(effect.peer[-1]), [answer], self.now_ms)

    def handed_out(self, effect):
        message, table = effect.message, self.ledgers[int(effect.peer[-1])]
        if message.videos:
            found, next_row = [one for one in unpack_videos(message.videos) if one in table], NO_ROW
        else:
            end = message.row + message.videos_max
            found, next_row = table[message.row : end], end if end < len(table) else NO_ROW
        totals = pack_numbers(5 for _ in found)
        return CollectedPublished(message.number, b"".join(found), totals, next_row)

    def told(self):
        return [
            one.video for batch in self.batches if batch.trigger is Trigger.REPUBLISH for one in batch.entries
        ]

    def everything(self):
        return [video for ledger in self.ledgers for video in ledger]


def test_all_totals_leave_in_full_batches_over_the_borders_of_the_shards():
    world = World()
    world.ask()
    assert [len(batch.entries) for batch in world.batches] == [20, 20, 5]
    assert world.told() == world.everything()
    assert {one.plays for batch in world.batches for one in batch.entries} == {5}
    assert {one.arrived_ns for batch in world.batches for one in batch.entries} == {0}
    assert world.over == [1] and not world.stored
    figures = world.rules.stats()
    assert (figures.republish, figures.videos, figures.republishing, figures.late) == (3, 45, 0, 0)
    assert world.rules.phase is Phase.IDLE


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0), (20, 20), (40, 0)])
def test_empty_shards_and_shards_that_end_with_a_batch_change_nothing(counts):
    world = World(counts)
    world.ask()
    assert world.told() == world.everything()
    assert len(world.batches) == -(-sum(counts) // 20)
    assert world.over == [1]


def test_named_videos_leave_together_and_unknown_ones_are_passed_over():
    world = World()
    named = [world.ledgers[1][3], world.ledgers[0][7], b"unknown video 16"]
    world.ask(b"".join(named))
    assert sorted(world.told()) == sorted(named[:2])
    assert len(world.batches) == 1
    assert world.over == [1]


def test_many_named_videos_leave_in_full_batches_each_once():
    world = World((100, 100))
    named = [*world.ledgers[0][:33], *world.ledgers[1][:12]]
    world.ask(b"".join(named))
    assert sorted(world.told()) == sorted(named)
    assert [len(batch.entries) for batch in world.batches] == [20, 20, 5]


def test_a_second_republish_of_the_same_totals_has_other_keys():
    world = World()
    world.ask()
    world.ask()
    assert len({batch.key for batch in world.batches}) == 6
    assert world.batches[0].entries == world.batches[3].entries


def test_requests_are_done_in_their_order_and_one_of_all_replaces_the_others():
    world = World(linked=())
    world.ask(world.ledgers[0][0])
    world.ask(world.ledgers[1][0])
    assert list(world.stored) == [1, 2]
    world.ask()
    assert (list(world.stored), world.over) == ([3], [1, 2])
    world.do(world.rules.linked(0, world.now_ms))
    world.do(world.rules.linked(1, world.now_ms))
    assert sorted(world.told()) == sorted(world.everything())


def test_requests_that_wait_for_one_another_are_done_one_after_the_other():
    world = World(linked=())
    first, second = world.ledgers[0][0], world.ledgers[1][0]
    world.ask(first)
    world.ask(second)
    for shard in (0, 1):
        world.do(world.rules.linked(shard, world.now_ms))
    world.do(world.rules.wake(world.now_ms))
    assert world.told() == [first, second]
    assert (world.stored, world.over) == ({}, [1, 2])


def test_a_restarted_dispatcher_goes_on_after_the_last_batch_that_the_client_has():
    first = World(outcome=lambda batch: Outcome.ACCEPTED if len(first.batches) < 2 else None)
    first.ask()
    (request,) = first.stored.values()
    assert request.place == Place(1, SHARDS, 0, 20, 20, 1)
    on_its_way = first.batches[1]
    second = World(republishes=([request], 1), stored=[on_its_way])
    assert second.batches[0] == on_its_way  # in doubt: it goes again as it was
    assert first.told()[:20] + second.told() == first.everything()
    assert second.over == [1]


def test_with_another_number_of_shards_it_begins_anew():
    request = Republish(1, "asked for", place=Place(1, 3, 2, 20, 60, 3))
    world = World(republishes=([request], 1))
    assert world.told() == world.everything()


def test_what_the_client_refuses_is_handed_out_again():
    refusals = iter([Outcome.REFUSED, Outcome.ACCEPTED, Outcome.REFUSED])
    world = World(outcome=lambda batch: next(refusals, Outcome.ACCEPTED))
    world.ask()
    for _ in range(10):
        world.now_ms = max(world.now_ms, world.rules.wakeup_ms() or 0)
        world.do(world.rules.wake(world.now_ms))
    assert world.over == [1]
    assert [len(batch.entries) for batch in world.batches] == [20, 20, 20, 20, 5]
    assert world.batches[0] == world.batches[1]  # the same content under the same key


def test_it_waits_for_a_counter_that_is_gone():
    world = World(linked=(0,))
    world.ask()
    assert world.told() == world.ledgers[0]
    assert world.rules.wakeup_ms() is None
    world.do(world.rules.linked(1, world.now_ms))
    assert world.told() == world.everything()
    assert world.over == [1]


def test_a_silent_counter_does_not_hold_it_up_for_ever_and_is_asked_again():
    world = World((3, 3))
    (ask,) = [one for one in world.rules.request_republish("", b"", world.now_ms) if isinstance(one, Send)]
    assert ask.peer == counter_of(0)
    world.now_ms += COLLECT_TIMEOUT_MS
    world.do(world.rules.wake(world.now_ms))
    assert (world.told(), world.rules.phase, world.rules.wakeup_ms()) == ([], Phase.IDLE, None)
    world.do(world.rules.handle(0, [Recorded(["any"])], world.now_ms))
    assert world.told() == world.everything()


def test_a_drain_leaves_it_for_the_next_start():
    world = World(linked=(0,))
    world.ask()
    world.do(world.rules.drain(world.now_ms))
    world.do(world.rules.linked(1, world.now_ms))
    assert world.told() == world.ledgers[0]
    assert world.rules.drained
    assert list(world.stored) == [1]


def pending(now_ms, *videos, ordinal=1):
    return Pending(
        b"".join(videos), pack_numbers(now_ms * MS for _ in videos), pack_numbers(ordinal for _ in videos)
    )


def offer(world, *videos, ordinal=1, arrived_ms=None):
    message = pending(world.now_ms if arrived_ms is None else arrived_ms, *videos, ordinal=ordinal)
    shards = {shard_of(video, SHARDS) for video in videos}
    assert len(shards) == 1
    return world.rules.handle(shards.pop(), [message], world.now_ms)


def test_a_realtime_video_goes_before_the_next_batch_of_it():
    def take(batch):
        if len(world.batches) == 1:
            offer(world, world.ledgers[0][0])  # while the first batch is on its way
        return Outcome.ACCEPTED

    world = World(outcome=take)
    world.ask()
    assert [batch.trigger for batch in world.batches] == [
        Trigger.REPUBLISH,
        Trigger.REALTIME,
        Trigger.REPUBLISH,
        Trigger.REPUBLISH,
    ]


def test_it_waits_while_deadlines_begin_before_its_publish_would_be_over():
    world = World()
    latest_ms = world.now_ms + DEADLINE_MS
    world.do(offer(world, world.ledgers[0][0], ordinal=100))
    begins_ms = world.rules.wakeup_ms()
    assert begins_ms < latest_ms
    world.now_ms = begins_ms - TOOK_MS + 1
    effects = world.rules.request_republish("", b"", world.now_ms)
    assert [type(one) for one in effects] == [StoreRepublish]
    assert world.rules.wakeup_ms() == begins_ms
    world.now_ms = begins_ms
    world.do(world.rules.wake(begins_ms))
    assert [batch.trigger for batch in world.batches][:2] == [Trigger.DEADLINE, Trigger.REPUBLISH]


def test_it_progresses_while_something_is_always_due():
    def take(batch):
        if len(world.batches) < 500:
            offer(world, world.ledgers[0][len(world.batches) % 7])
        return Outcome.ACCEPTED

    world = World((50, 0), outcome=take)
    world.ask()
    places = [at for at, batch in enumerate(world.batches) if batch.trigger is Trigger.REPUBLISH]
    assert len(places) == 3
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert all(PATIENCE_PUBLISHES <= gap <= 110 for gap in gaps), gaps


def test_the_rate_limit_holds_for_it_too():
    rules = DispatcherRules(Rule(), 1, 20, service="s", jitter=lambda: 0.5, totals=TOTALS, rate_max_per_s=1.0)
    rules.linked(0, 1000)
    (_, ask) = rules.request_republish("", b"", 1000)
    videos, totals = b"".join(videos_of(0, 20)), pack_numbers([3] * 20)
    effects = rules.handle(0, [CollectedPublished(ask.message.number, videos, totals, 20)], 1000)
    (deliver,) = [one for one in effects if isinstance(one, Deliver)]
    (stored,) = rules.delivered(deliver.batch.key, Outcome.ACCEPTED, 1010)
    assert isinstance(stored, StoreRepublish)
    assert rules.wakeup_ms() == 2000
    assert rules.wake(1999) == []
    assert isinstance(rules.wake(2000)[0], Send)


def test_it_is_stored_before_anything_is_sent_and_a_batch_before_it_leaves():
    world = World()
    effects = world.rules.request_republish("asked for", b"", world.now_ms)
    assert isinstance(effects[0], StoreRepublish)
    assert effects[0].request == Republish(1, "asked for", b"", Place(1, SHARDS))
    answer = world.handed_out(effects[1])
    effects = world.rules.handle(0, [answer], world.now_ms)
    assert [type(one) for one in effects] == [Store, Deliver]
    assert effects[1].batch.place == Place(1, SHARDS, 0, 20, 20)
    assert structs.replace(effects[0].batches[-1], place=None).key == effects[1].batch.key


def test_one_that_ends_with_nothing_is_stored_after_the_batch_that_was_accepted_before():
    """Else a dispatcher that is killed then would send that batch again, and count it twice."""
    world = World(counts=(0, 0))
    (video,) = videos_of(0, 1)
    pending = Pending(video, pack_numbers([world.now_ms * MS]), pack_numbers([1]), totals=pack_numbers([1]))
    _, deliver = world.rules.handle(0, [pending], world.now_ms)
    world.rules.request_republish("asked for", b"", world.now_ms)
    effects = world.rules.delivered(deliver.batch.key, Outcome.ACCEPTED, world.now_ms)
    for _ in range(SHARDS):
        (ask,) = [
            one for one in effects if isinstance(one, Send) and isinstance(one.message, CollectPublished)
        ]
        effects = world.answers(ask, world.handed_out(ask))
    first, second = [one for one in effects if not isinstance(one, Send)]
    assert [batch.key for batch in first.batches] == [deliver.batch.key]
    assert (second.over, second.totals.realtime) == ((1,), 1)
