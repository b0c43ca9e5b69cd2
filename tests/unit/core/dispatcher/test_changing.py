"""What somebody changes of a dispatcher while it runs: a pause, the limits, the lingers."""

import random

import pytest
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_videos
from actors.core.dispatcher.attempts import Attempts, Outcome
from actors.core.dispatcher.batches import ON_ITS_WAY
from actors.core.dispatcher.changing import Controls
from actors.core.dispatcher.effects import Deliver
from actors.core.dispatcher.lead_time import LeadTime, PublishTime
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.dispatcher.schedule import MANY, Schedule
from actors.core.effects import Send
from actors.core.messages import Collect, Collected, Pending, Recorded
from actors.core.triggers import Trigger

MS = 1_000_000
NOW_MS = 1_000_000
RULE = Rule(realtime_below=100, deadline_ms=60_000, realtime_linger_ms=0, overdue_linger_ms=1000)
RUNS = Controls(rate_max_per_s=0.0, in_flight_max=8, realtime_linger_ms=0, overdue_linger_ms=1000)
PAUSED = structs.replace(RUNS, paused=True)
VIDEOS = [number.to_bytes(16, "big") for number in range(200)]


class Pair:
    """A dispatcher and its only counter, which has one total of every video: its ordinal."""

    def __init__(self, **options):
        self.rules = DispatcherRules(
            RULE, 1, 20, service="service", jitter=lambda: 1.0, in_flight_max=8, **options
        )
        self.totals = {}
        self.left = []  # the batches that left: their trigger and their videos
        self.keys = []
        self.answer(self.rules.linked(0, NOW_MS), NOW_MS)

    def answer(self, effects, now_ms):
        """Answer what the counter is asked for. Returns what is left of the effects."""
        for effect in effects:
            match effect:
                case Send(message=Collect() as asks):
                    self.collected(asks, now_ms)
                case Deliver():
                    self.left.append((effect.batch.trigger, effect.batch.videos))
                    self.keys.append(effect.batch.key)
                    self.rules.departs(effect.batch.key, now_ms)

    def collected(self, asks, now_ms):
        videos = unpack_videos(asks.videos)
        arrived_ns = pack_numbers(NOW_MS * MS for _ in videos)
        totals = pack_numbers(self.totals[video] for video in videos)
        self.answer(
            self.rules.handle(0, [Collected(asks.number, asks.videos, totals, arrived_ns)], now_ms), now_ms
        )

    def play(self, videos, ordinal, now_ms=NOW_MS):
        self.totals |= dict.fromkeys(videos, ordinal)
        arrived_ns, ordinals = (pack_numbers(one for _ in videos) for one in (now_ms * MS, ordinal))
        self.answer(self.rules.handle(0, [Pending(b"".join(videos), arrived_ns, ordinals)], now_ms), now_ms)

    def use(self, controls, now_ms):
        self.rules.use_controls(controls, now_ms)
        self.answer(self.rules.wake(now_ms), now_ms)

    def deliver(self, outcome, now_ms):
        for held in self.rules.batches.within(*ON_ITS_WAY):
            self.answer(self.rules.delivered(held.content.key, outcome, now_ms), now_ms)


def test_nothing_leaves_in_a_pause_and_all_that_is_due_leaves_after_it_in_full_batches():
    pair = Pair()
    pair.use(PAUSED, NOW_MS)
    pair.play(VIDEOS[:45], 1)
    pair.play(VIDEOS[45:50], 100)
    for later_ms in (0, 59_000, 60_000, 3_600_000):
        pair.answer(pair.rules.wake(NOW_MS + later_ms), NOW_MS + later_ms)
    assert pair.left == [] and pair.rules.wakeup_ms() is None
    assert pair.rules.stats().pending_videos == 50
    pair.use(RUNS, NOW_MS + 3_600_000)
    assert [len(videos) for _, videos in pair.left] == [20, 20, 10]


def test_what_is_on_its_way_ends_as_usual_and_what_failed_waits_for_the_end_of_the_pause():
    pair = Pair()
    pair.play(VIDEOS[:1], 1)
    pair.use(PAUSED, NOW_MS)
    pair.play(VIDEOS[1:2], 1, NOW_MS + 1)
    pair.deliver(Outcome.ACCEPTED, NOW_MS + 10)
    assert len(pair.left) == 1 and pair.rules.totals.realtime == 1
    pair.use(RUNS, NOW_MS + 20)
    pair.use(PAUSED, NOW_MS + 20)
    pair.deliver(Outcome.UNKNOWN, NOW_MS + 30)
    pair.answer(pair.rules.wake(NOW_MS + 100_000), NOW_MS + 100_000)
    pair.answer(pair.rules.client_started(NOW_MS + 100_000), NOW_MS + 100_000)
    assert len(pair.left) == 2
    pair.use(RUNS, NOW_MS + 200_000)
    assert len(pair.left) == 3 and pair.keys[1] == pair.keys[2], "a batch in doubt goes again as it is"


def test_a_batch_that_is_being_made_when_the_pause_begins_leaves():
    pair = Pair()
    pair.totals[VIDEOS[0]] = 1
    (asks,) = (
        one.message
        for one in pair.rules.handle(
            0, [Pending(VIDEOS[0], pack_numbers([NOW_MS * MS]), pack_numbers([1]))], NOW_MS
        )
        if isinstance(one, Send)
    )
    pair.use(PAUSED, NOW_MS)
    assert not pair.rules.drained
    pair.collected(asks, NOW_MS + 1)
    assert len(pair.left) == 1


def test_a_deadline_that_a_pause_made_late_is_late_and_not_by_the_client():
    pair = Pair()
    pair.play(VIDEOS[:3], 100)
    pair.use(PAUSED, NOW_MS + 1000)
    pair.use(RUNS, NOW_MS + 100_000)
    pair.deliver(Outcome.ACCEPTED, NOW_MS + 100_010)
    totals = pair.rules.totals
    assert (totals.deadline, totals.late, totals.late_by_client) == (1, 3, 0)


def test_a_pause_is_no_work_of_ours_so_lead_times_stay_as_they_are():
    pair = Pair()
    pair.play(VIDEOS[:40], 1)
    pair.deliver(Outcome.ACCEPTED, NOW_MS)
    pair.use(PAUSED, NOW_MS)
    pair.play(VIDEOS[40:60], 1, NOW_MS)  # due when the last one left
    before_ms = pair.rules._lead_time.apart_ms
    pair.use(RUNS, NOW_MS + 3_600_000)
    assert len(pair.left) == 3
    assert pair.rules._lead_time.apart_ms <= before_ms


def test_a_drain_in_a_pause_publishes_nothing_and_is_over_once_nothing_is_on_its_way():
    pair = Pair()
    pair.play(VIDEOS[:1], 1)
    pair.use(PAUSED, NOW_MS)
    pair.play(VIDEOS[1:3], 1)
    pair.answer(pair.rules.drain(NOW_MS + 1, 5000), NOW_MS + 1)
    assert not pair.rules.drained
    pair.deliver(Outcome.ACCEPTED, NOW_MS + 2)
    assert not pair.rules.drained
    pair.answer(pair.rules.handle(0, [Recorded([pair.keys[0]])], NOW_MS + 3), NOW_MS + 3)
    assert pair.rules.drained and len(pair.left) == 1
    pair.use(RUNS, NOW_MS + 4)
    assert not pair.rules.drained
    assert pair.left[1:] == [(Trigger.DRAIN, VIDEOS[1:3])]


def test_no_shortage_is_told_of_in_a_pause():
    pair = Pair()
    pair.rules._lead_time.measure(1000)
    pair.use(PAUSED, NOW_MS)
    pair.play([number.to_bytes(16, "big") for number in range(20_000)], 100)
    assert pair.rules.shortage(NOW_MS + 59_000) is None
    pair.rules.use_controls(RUNS, NOW_MS + 59_000)
    assert pair.rules.shortage(NOW_MS + 59_000) is not None


# The limits


def test_a_rate_that_is_raised_lets_the_next_attempt_leave_sooner_and_one_that_is_lowered_later():
    one = Attempts(lambda: 1.0, rate_max_per_s=0.01)
    one.left(NOW_MS)
    assert one.next_ms() == NOW_MS + 100_000
    one.use_limits(10, 1, NOW_MS + 10)
    assert one.next_ms() == NOW_MS + 100
    one.use_limits(0, 1, NOW_MS + 10)
    assert one.next_ms() == NOW_MS
    one.use_limits(1, 1, NOW_MS + 10)
    assert one.next_ms() == NOW_MS + 1000


def test_a_rate_is_exact_after_it_was_changed():
    one, left = Attempts(lambda: 1.0, rate_max_per_s=1), []
    for now_ms in range(NOW_MS, NOW_MS + 20_000):
        if now_ms == NOW_MS + 10_000:
            one.use_limits(10, 1, now_ms)
        if one.may_leave(now_ms):
            one.left(now_ms)
            one.accepted(now_ms, now_ms)
            left.append(now_ms)
    assert sum(now_ms < NOW_MS + 10_000 for now_ms in left) == 10
    assert sum(now_ms >= NOW_MS + 10_000 for now_ms in left) == 100


def test_a_new_limit_does_not_hold_up_the_first_attempt_of_all():
    one = Attempts(lambda: 1.0)
    one.use_limits(0.001, 1, 5)
    assert one.may_leave(5)


def test_a_pause_that_the_client_asked_for_outlasts_a_change_of_the_rate():
    one = Attempts(lambda: 1.0, rate_max_per_s=1)
    one.left(NOW_MS)
    one.failed(NOW_MS, retry_after_ms=30_000)
    one.use_limits(1000, 8, NOW_MS)
    assert one.next_ms() == NOW_MS + 30_000


def test_fewer_at_once_hold_from_the_next_attempt_on_and_more_at_once_too():
    one = Attempts(lambda: 1.0, in_flight_max=4)
    for _ in range(4):
        one.left(NOW_MS)
    one.use_limits(0, 2, NOW_MS)
    for left in (3, 2, 1):
        assert one.room <= 0
        one.accepted(NOW_MS, NOW_MS)
        assert one.on_their_way == left
    assert one.room > 0
    one.use_limits(0, 3, NOW_MS)
    one.left(NOW_MS)
    assert one.room > 0


def test_a_client_that_has_too_much_to_do_still_gets_one_at_a_time_after_a_change():
    one = Attempts(lambda: 0.0, in_flight_max=4)
    one.left(NOW_MS)
    one.failed(NOW_MS, busy=True)
    one.use_limits(0, 8, NOW_MS)
    one.left(NOW_MS)
    assert one.room <= 0
    one.accepted(NOW_MS, NOW_MS)
    one.left(NOW_MS)
    assert one.room > 0, "each accepted batch allows one more"


def test_what_waited_for_a_limit_that_was_raised_is_the_clients_until_then_and_ours_from_then_on():
    one = Attempts(lambda: 1.0, rate_max_per_s=0.01)
    one.left(NOW_MS)
    one.accepted(NOW_MS, NOW_MS)
    one.use_limits(0, 1, NOW_MS + 10)
    assert one.delays.offered_ms(NOW_MS + 10, NOW_MS + 5010) == NOW_MS + 5010


def test_deadlines_begin_sooner_when_fewer_attempts_may_leave():
    pair = Pair(rate_max_per_s=100.0)
    pair.rules._lead_time.measure(10)
    pair.play(VIDEOS, 100)
    before_ms = pair.rules.wakeup_ms()
    pair.rules.use_controls(structs.replace(RUNS, rate_max_per_s=1.0), NOW_MS)
    assert before_ms is not None and pair.rules.wakeup_ms() <= before_ms - 8000


# The lingers


@pytest.mark.parametrize("many", [False, True])
def test_lingering_videos_are_due_as_if_the_linger_had_always_been_the_new_one(many):
    randoms = random.Random(1)
    rules = [
        Rule(100, 60_000, randoms.choice((0, 20, 500)), randoms.choice((0, 700, 5000))) for _ in range(8)
    ]
    facts = [(NOW_MS - randoms.choice((0, 90_000)), randoms.choice((1, 100, 200))) for _ in range(3 * MANY)]
    changed, fresh = (
        Schedule(rule, 20, LeadTime(60_000, slack_ms=0, publish_time=PublishTime(0)))
        for rule in (rules[0], rules[-1])
    )
    for one in (changed, fresh):
        if many:
            videos = b"".join(VIDEOS[: len(facts)])
            arrived_ns, ordinals = (pack_numbers(column) for column in zip(*facts, strict=True))
            arrived_ns = pack_numbers(arrived_ms * MS for arrived_ms, _ in facts)
            one.offer_all(Pending(videos, arrived_ns, ordinals), NOW_MS)
        else:
            for video, (arrived_ms, ordinal) in zip(VIDEOS, facts, strict=False):
                one.offer(video, arrived_ms, ordinal, NOW_MS)
        first = one.take(NOW_MS)[1]
        one.offer(first[0], NOW_MS, 5, NOW_MS)  # waits for the answer to its batch
    for rule in rules[1:]:
        changed.use_rule(rule)
    told_ms = NOW_MS + 58_000
    assert changed.late(VIDEOS, told_ms, told_ms) == fresh.late(VIDEOS, told_ms, told_ms)
    for one in (changed, fresh):
        for video in [video for video in VIDEOS if one.taken(video) is not None]:
            one.fail(video)
    while fresh.waiting:
        due_ms = fresh.next_due_ms()
        assert changed.next_due_ms() == due_ms
        (trigger, videos), (_, others) = fresh.take(due_ms), changed.take(due_ms)
        assert {fresh.taken(one).latest_ms for one in videos} == {
            changed.taken(one).latest_ms for one in others
        }, trigger
        assert changed.late(others, told_ms, told_ms) == fresh.late(videos, told_ms, told_ms)
    assert changed.waiting == 0


def test_a_shorter_linger_lets_what_lingers_leave_at_once():
    pair = Pair()
    pair.use(structs.replace(RUNS, realtime_linger_ms=30_000), NOW_MS)
    pair.play(VIDEOS[:2], 5)
    assert pair.left == [] and pair.rules.wakeup_ms() == NOW_MS + 30_000
    pair.use(RUNS, NOW_MS + 1)
    assert pair.left == [(Trigger.REALTIME, VIDEOS[:2])]


def test_a_video_of_a_batch_that_an_earlier_dispatcher_made_is_not_taken_for_a_pending_one():
    one = Schedule(RULE, 20, LeadTime(60_000))
    one.hold(VIDEOS[:1])
    one.use_rule(structs.replace(RULE, realtime_linger_ms=500, overdue_linger_ms=0))
    one.fail(VIDEOS[0])
    assert one.waiting == 0
