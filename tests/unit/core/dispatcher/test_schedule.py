"""The schedule of pending videos: by examples, and compared with a list that is sorted each time."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import pack_numbers, unpack_videos
from actors.core.dispatcher import calendar
from actors.core.dispatcher import pending as waiting
from actors.core.dispatcher import schedule as schedules
from actors.core.dispatcher.lead_time import LeadTime, PublishTime
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.schedule import MANY, Schedule
from actors.core.messages import Pending
from actors.core.triggers import Trigger
from tests.support.work import lines_run

RULE = Rule(realtime_below=100, deadline_ms=60_000, realtime_linger_ms=0, overdue_linger_ms=1000)
NOW_MS = 1_000_000


def video(number):
    return number.to_bytes(16, "big")


def which(is_gone):
    """For a column of videos, which of them are gone."""
    return lambda column: np.array([is_gone(each) for each in unpack_videos(column)], bool)


V, W, X = video(1), video(2), video(3)


def schedule(rule=RULE, batch_size_max=20, publish_ms=0, slack_ms=0):
    lead_time = LeadTime(rule.deadline_ms, slack_ms=slack_ms, publish_time=PublishTime(publish_ms))
    return Schedule(rule, batch_size_max, lead_time)


def test_a_video_under_the_bound_is_due_on_receipt():
    one = schedule()
    one.offer(V, NOW_MS - 5000, 99, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    assert one.take(NOW_MS) == (Trigger.REALTIME, [V])


def test_a_video_at_the_bound_is_due_a_deadline_after_its_arrival_on_the_queue():
    one = schedule()
    one.offer(V, NOW_MS - 5000, 100, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 55_000
    assert one.take(NOW_MS) == (Trigger.DEADLINE, [V])


def test_a_video_whose_deadline_has_passed_on_receipt_is_overdue_and_lingers():
    one = schedule()
    one.offer(V, NOW_MS - 60_000, 100, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 1000
    assert one.take(NOW_MS) == (Trigger.OVERDUE, [V])
    assert one.taken(V).overdue


def test_a_video_under_the_bound_is_realtime_however_old_it_is():
    one = schedule()
    one.offer(V, NOW_MS - 600_000, 5, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    assert one.take(NOW_MS)[0] is Trigger.REALTIME
    assert one.taken(V).overdue


def test_realtime_waits_for_the_linger_that_is_asked_for():
    one = schedule(Rule(realtime_linger_ms=250))
    one.offer(V, NOW_MS, 1, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 250


def test_a_video_that_waits_keeps_the_earlier_due_time():
    one = schedule(batch_size_max=1)
    one.offer(V, NOW_MS, 99, NOW_MS)
    one.offer(V, NOW_MS, 101, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    one.offer(W, NOW_MS, 200, NOW_MS)
    one.offer(W, NOW_MS - 10_000, 199, NOW_MS)
    assert one.take(NOW_MS) == (Trigger.REALTIME, [V])
    assert one.next_due_ms() == NOW_MS + 50_000


def test_the_earliest_leave_first_and_the_trigger_is_the_firsts():
    one = schedule(batch_size_max=2)
    one.offer(V, NOW_MS, 100, NOW_MS)
    one.offer(W, NOW_MS - 100, 100, NOW_MS)
    one.offer(X, NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS) == (Trigger.REALTIME, [X, W])
    assert one.take(NOW_MS) == (Trigger.DEADLINE, [V])
    one.offer(video(4), NOW_MS - 60_000, 100, NOW_MS)
    one.offer(video(5), NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS) == (Trigger.REALTIME, [video(5), video(4)])


def test_of_equal_due_times_the_first_offered_leaves_first():
    one = schedule()
    for number in (5, 3, 9, 1):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS)[1] == [video(number) for number in (5, 3, 9, 1)]


def test_nothing_leaves_when_nothing_waits():
    one = schedule()
    assert one.next_due_ms() is None
    with pytest.raises(LookupError):
        one.take(NOW_MS)


def test_a_batch_takes_no_more_than_it_may():
    one = schedule()
    for number in range(50):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert [len(one.take(NOW_MS)[1]) for _ in range(3)] == [20, 20, 10]


def test_a_video_on_its_way_waits_again_for_the_plays_since():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(NOW_MS)
    one.offer(V, NOW_MS, 2, NOW_MS)
    assert len(one) == 1
    one.confirm(V, 1)
    assert one.next_due_ms() == NOW_MS
    assert V in one


def test_what_is_covered_by_a_confirmed_total_waits_no_more():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(NOW_MS)
    one.offer(V, NOW_MS, 3, NOW_MS)
    one.confirm(V, 3)
    assert one.next_due_ms() is None
    assert len(one) == 0


def test_a_video_whose_batch_failed_is_due_when_it_was():
    one = schedule()
    one.offer(V, NOW_MS - 3000, 100, NOW_MS)
    one.take(NOW_MS)
    one.offer(V, NOW_MS, 120, NOW_MS)
    one.fail(V)
    assert one.next_due_ms() == NOW_MS + 57_000
    one.take(NOW_MS)
    one.confirm(V, 119)
    assert V not in one


def test_a_released_video_does_not_wait_again():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(NOW_MS)
    one.release(V)
    assert len(one) == 0
    one.fail(V)
    assert len(one) == 0


def test_videos_whose_counter_is_gone_are_forgotten_but_not_those_on_their_way():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(NOW_MS)
    one.offer(W, NOW_MS, 1, NOW_MS)
    one.forget(which(lambda _: True))
    assert one.next_due_ms() is None
    assert V in one
    assert W not in one


def pending(offers, now_ms, received_ms=0):
    """The message for these offers: (video, arrival in ms relative to `now_ms`, ordinal)."""
    return Pending(
        b"".join(each for each, _, _ in offers),
        pack_numbers((now_ms + age_ms) * 1_000_000 + 999_999 for _, age_ms, _ in offers),
        pack_numbers(ordinal for _, _, ordinal in offers),
        received_ms,
    )


@pytest.mark.parametrize("videos", [1, MANY])
@pytest.mark.parametrize(("ordinal", "age_ms"), [(1, 0), (100, 55_000)], ids=["quiet", "hot"])
def test_what_we_held_before_the_dispatcher_heard_of_it_is_late_and_not_overdue(videos, ordinal, age_ms):
    """A halted counter or dispatcher, or a full disk: the plays were received 70 s ago."""
    one, held_ms = schedule(), 70_000
    names = [video(number) for number in range(videos)]
    message = pending([(name, -held_ms - age_ms, ordinal) for name in names], NOW_MS, NOW_MS - held_ms)
    one.offer_all(message, NOW_MS)
    _, taken = one.take(NOW_MS)
    assert not any(one.taken(name).overdue for name in taken)
    assert one.late(taken, NOW_MS, NOW_MS) == (len(taken), len(taken))


def test_a_deadline_that_is_forgotten_is_not_due():
    one = schedule()
    hot(one, 30_000, 50_000)
    assert one.next_due_ms() == NOW_MS + 30_000
    one.forget(which(lambda each: each == video(10)))
    assert one.next_due_ms() == NOW_MS + 50_000


def test_the_deadlines_that_are_left_begin_as_if_those_that_are_forgotten_had_never_been():
    one = schedule(batch_size_max=2, publish_ms=1000)
    hot(one, *[50_000] * 3)
    assert one.next_due_ms() == NOW_MS + 48_000
    one.forget(which(lambda each: each == video(10)))
    assert one.next_due_ms() == NOW_MS + 49_000


def test_a_video_that_was_put_aside_is_due_after_all_that_is_due_when_it_is_postponed():
    one = schedule(batch_size_max=1)
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(NOW_MS)
    one.offer(V, NOW_MS, 2, NOW_MS)
    one.put_aside(V)
    one.offer(W, NOW_MS + 10, 1, NOW_MS + 10)
    one.postpone(V, NOW_MS + 10)
    assert [one.take(NOW_MS + 10)[1] for _ in range(2)] == [[W], [V]]


def test_the_newest_that_is_due_may_be_a_deadline():
    one = schedule(publish_ms=1000)
    hot(one, 9000, 10_000, 10_001)
    assert one.newest_due(NOW_MS + 9000, without=()) == video(11)
    assert one.newest_due(NOW_MS + 9000, without=[video(11)]) == video(10)
    one.offer(V, NOW_MS, 1, NOW_MS)
    assert one.newest_due(NOW_MS + 9000, without=[video(11)]) == V


@pytest.mark.parametrize("shared", [1, 8])
def test_two_videos_side_by_side_are_not_taken_for_a_third(shared):
    left, middle, right = b"l" * (16 - shared) + b"m" * shared, b"m" * 16, b"m" * 8 + b"r" * 8
    for offered in ([left, right, middle], [left, middle, right]):
        one = schedule()
        for each in offered:
            one.offer(each, NOW_MS, 1, NOW_MS)
        one.confirm(middle, 1)
        assert one.take(NOW_MS)[1] == [left, right]


def test_of_deadlines_in_one_quarter_second_neither_first_nor_last_may_be_what_counts():
    one = schedule(batch_size_max=1, publish_ms=10)
    hot(one, 29_000, *[29_001] * 4, 29_110)
    assert one.next_due_ms() == NOW_MS + 29_001 - 50


def test_of_deadlines_in_one_quarter_second_as_many_go_ahead_as_must():
    one = schedule(batch_size_max=4, publish_ms=10)
    hot(one, *[25] * 5, 150)  # one of the five does not fit into the only batch that is in time
    for number in range(4):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS)[1] == [video(10), *map(video, range(3))]


@pytest.mark.parametrize("many", [1, MANY])
def test_columns_that_do_not_match_are_refused(many):
    for videos, stamps, ordinals in ((2, 1, 2), (1, 1, 0), (1, 2, 1)):
        one, numbers = schedule(), pack_numbers([1] * many)
        with pytest.raises(ValueError):
            one.offer_all(Pending(V * many * videos, numbers * stamps, numbers * ordinals), NOW_MS)


def test_a_backlog_offered_at_once_leaves_in_order_and_leaves_nothing_behind():
    one = schedule()
    offers = [(video(number), -(number * 7919 % 59_000), 100) for number in range(20_000)]
    for at in range(0, len(offers), 4096):
        one.offer_all(pending(offers[at : at + 4096], NOW_MS), NOW_MS)
    taken = []
    while len(one):
        for each in one.take(NOW_MS)[1]:
            assert not one.taken(each).overdue
            one.confirm(each, 100)
            taken.append(each)
    assert taken == [each for each, _, _ in sorted(offers, key=lambda line: line[1])]


def test_the_deadlines_of_many_and_of_one_are_the_same():
    offers = [(X, age_ms, ordinal) for age_ms in (-60_001, -60_000, -59_999, 0) for ordinal in (99, 100)]
    for line in offers:
        alone, together = schedule(), schedule()
        alone.offer(X, NOW_MS + line[1], line[2], NOW_MS)
        together.offer_all(pending([line, *[(W, -50_000, 101)] * MANY], NOW_MS), NOW_MS)
        alone.take(NOW_MS)
        together.take(NOW_MS)
        assert alone.taken(X) == together.taken(X)
        assert together.taken(W) == RULE.due(NOW_MS - 50_000, 101, NOW_MS)


def hot(one, *deadlines_ms, first=10):
    """Offer videos with these deadlines, in ms after now."""
    for number, deadline_ms in enumerate(deadlines_ms, first):
        one.offer(video(number), NOW_MS + deadline_ms - 60_000, 100, NOW_MS)


def test_a_deadline_leaves_by_the_publish_time_and_the_slack_before_it_and_a_linger_does_not():
    one = schedule(publish_ms=700, slack_ms=100)
    hot(one, 59_000)
    assert one.next_due_ms() == NOW_MS + 58_200
    one.offer(W, NOW_MS, 1, NOW_MS + 10)
    assert one.next_due_ms() == NOW_MS + 10
    assert one.take(NOW_MS + 10)[0] is Trigger.REALTIME


def test_a_slower_client_moves_the_deadlines_of_all_that_wait():
    lead_time = LeadTime(60_000, slack_ms=0)
    one = Schedule(RULE, 20, lead_time)
    hot(one, 59_000)
    before_ms = one.next_due_ms()
    lead_time.measure(2000)
    assert one.next_due_ms() == NOW_MS + 59_000 - 3000 != before_ms


def test_a_failed_video_is_due_when_it_was():
    one = schedule(publish_ms=700)
    hot(one, 59_000)
    one.take(NOW_MS)
    one.fail(video(10))
    assert one.next_due_ms() == NOW_MS + 58_300


def test_of_batches_due_together_the_first_leaves_early_enough_for_the_last():
    one = schedule(batch_size_max=2, publish_ms=1000)
    hot(one, *[50_000] * 5)
    for answered_ms in (48_000, 49_000, 50_000):
        assert one.next_due_ms() == NOW_MS + answered_ms - 1000
        assert one.take(NOW_MS + answered_ms - 1000)[0] is Trigger.DEADLINE
    assert one.next_due_ms() is None


def test_batches_due_apart_do_not_hurry_one_another():
    one = schedule(batch_size_max=2, publish_ms=1000)
    hot(one, 10_000, 30_000, 30_500, 50_000)
    assert one.next_due_ms() == NOW_MS + 9000
    hot(one, 10_500, 10_500, first=20)  # now the second batch holds one of these two
    assert one.next_due_ms() == NOW_MS + 8500


def test_deadlines_that_cannot_wait_for_a_realtime_batch_go_ahead_of_it():
    one = schedule(batch_size_max=2, publish_ms=1000)
    hot(one, 2500, 40_000)
    for each in (V, W):
        one.offer(each, NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS) == (Trigger.REALTIME, [V, W])
    assert one.next_due_ms() == NOW_MS + 1500
    for each in (V, W):
        one.confirm(each, 1)
        one.offer(each, NOW_MS, 2, NOW_MS + 900)
    assert one.take(NOW_MS + 1000) == (Trigger.REALTIME, [video(10), V])
    assert one.take(NOW_MS + 2000) == (Trigger.REALTIME, [W, video(11)])


def test_of_several_batches_only_as_many_go_ahead_as_must():
    one = schedule(batch_size_max=4, publish_ms=1000)
    hot(one, *[3500] * 9)  # the two batches after this one take eight in time: one goes ahead
    for number in range(4):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS)[1] == [video(10), *map(video, range(3))]


def test_deadlines_behind_one_that_is_in_time_go_ahead_too_if_they_must():
    one = schedule(batch_size_max=4, publish_ms=1000)
    hot(one, 3000, *[3500] * 8)  # the first is in time; of the others one is not
    for number in range(4):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert one.take(NOW_MS)[1] == [video(10), *map(video, range(3))]


def test_no_deadline_goes_ahead_of_a_video_that_was_due_half_of_one_before():
    one = schedule(batch_size_max=1, publish_ms=1000)
    one.offer(V, NOW_MS, 1, NOW_MS)
    hot(one, *[29_000] * 60)
    assert one.take(NOW_MS)[1] == [video(10)]
    one = schedule(batch_size_max=1, publish_ms=1000)
    one.offer(V, NOW_MS, 1, NOW_MS)
    hot(one, *[30_001] * 60)
    assert one.take(NOW_MS)[1] == [V]


def test_what_a_video_takes_does_not_grow_with_how_many_are_pending():
    def through(videos):
        one = schedule()
        for number in range(videos):
            one.offer(video(number), NOW_MS - number % 977, 100, NOW_MS)
            one.next_due_ms()
        while one.next_due_ms() is not None:
            for each in one.take(NOW_MS)[1]:
                one.confirm(each, 100)
        assert len(one) == 0

    few, many = (lines_run(lambda n=n: through(n)) for n in (300, 3000))
    assert many <= 10 * few


def test_deadlines_that_are_too_far_away_to_begin_first_are_not_looked_at():
    def look(deadlines):
        one = schedule(publish_ms=1000)
        hot(one, *range(10_000, 10_000 + 300 * deadlines, 300))
        return lines_run(one.next_due_ms)

    assert look(20) <= 2 * look(1)


class Naive:
    """A naive schedule: it sorts its list each time and looks at every deadline."""

    def __init__(self, lead_time):
        self.waiting, self.taken, self.later, self.order, self.lead_time = {}, {}, {}, 0, lead_time

    def offer(self, each, age_ms, ordinal, now_ms):
        self.order += 1
        latest_ms, trigger = RULE.latest(now_ms + age_ms, ordinal, now_ms)
        one = (latest_ms, trigger, ordinal, self.order)
        if each in self.taken:
            self.later[each] = self.sooner(self.later.get(each, one), one)
        else:
            self.wait(each, one)

    def answered(self, each):
        self.taken.pop(each, None)
        if each in self.later:
            self.wait(each, self.later.pop(each))

    def due(self, one):
        latest_ms, trigger, _, _ = one
        return latest_ms - (self.lead_time.lead_ms() if trigger is Trigger.DEADLINE else 0)

    def sooner(self, before, one):
        first, second = sorted((before, one), key=self.due)
        return (first[0], first[1], min(first[2], second[2]), first[3])

    def wait(self, each, one):
        before = self.waiting.get(each)
        if before is not None:
            one = self.sooner(before, one)
        if before is None or one[3] != before[3]:
            self.order += 1
            one = (*one[:3], self.order)
        self.waiting[each] = one

    def deadlines(self):
        lines = [(one[0], one[3], each) for each, one in self.waiting.items() if one[1] is Trigger.DEADLINE]
        return [(line[0], line[2]) for line in sorted(lines)]

    def in_time(self, begin_ms, left_out=0):
        """Whether batches from `begin_ms` on keep all deadlines except the first `left_out`."""
        return all(
            begin_ms + self.lead_time.lead_ms(place // SIZE) <= latest_ms
            for place, (latest_ms, _) in enumerate(self.deadlines()[left_out:])
        )

    def others(self):
        return [one for one in self.waiting.values() if one[1] is not Trigger.DEADLINE]

    def next_due(self):
        dues = [self.due(one) for one in self.others()]
        latest = [latest_ms for latest_ms, _ in self.deadlines()]
        if latest:
            dues.append(min(ms - self.lead_time.lead_ms(at // SIZE) for at, ms in enumerate(latest)))
            assert self.in_time(dues[-1]) and not self.in_time(dues[-1] + 1)
        return min(dues, default=None)

    def ordered(self, now_ms):
        """The videos of the next batch, in order."""
        ahead, lingering = [], [self.due(one) for one in self.others()]
        if lingering:
            next_ms = now_ms + ceil(max(self.lead_time.publish_ms, self.lead_time.interval_ms))
            while len(ahead) < SIZE and not self.in_time(next_ms, len(ahead)):
                latest_ms, each = self.deadlines()[len(ahead)]
                if latest_ms > min(lingering) + RULE.deadline_ms // 2:
                    break
                ahead.append(each)
        lines = (
            (self.due(one), one[1] is Trigger.DEADLINE, one[3], each)
            for each, one in self.waiting.items()
            if each not in ahead
        )
        return [*ahead, *(each for *_, each in sorted(lines))][:SIZE]


SIZE = 2
videos = st.integers(1, 6).map(video)
offers = st.tuples(videos, st.integers(-70_000, 0), st.integers(95, 105))
steps = st.one_of(
    st.tuples(st.just("offer"), offers),
    st.tuples(st.just("offer all"), st.lists(offers, min_size=1)),
    st.tuples(st.just("take")),
    st.tuples(st.just("confirm"), videos, st.integers(95, 105)),
    st.tuples(st.just("fail"), videos),
    st.tuples(st.just("release"), videos),
    st.tuples(st.just("forget"), videos),
    st.tuples(st.just("measure"), st.sampled_from((0, 100, 5000, 30_000))),
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(steps, max_size=40),
    st.sampled_from((0, 3000)),
    st.sampled_from((0, 2, 100)),
    st.sampled_from((8, 14)),
)
def test_it_does_what_a_list_sorted_each_time_does(happenings, interval_ms, lone_max, block_bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendar, "BLOCK_BITS", block_bits)
        patch.setattr(waiting, "LONE_MAX", lone_max)
        patch.setattr(waiting, "LONE_FEW", lone_max // 2)
        patch.setattr(waiting, "ROWS_SPARE", 0)
        patch.setattr(waiting, "MOVED_ROWS", 1)
        patch.setattr(schedules, "MANY", 2)
        check_against_the_naive(happenings, interval_ms)


def check_against_the_naive(happenings, interval_ms):
    lead_time = LeadTime(
        RULE.deadline_ms, interval_ms=interval_ms, slack_ms=50, publish_time=PublishTime(1000)
    )
    one, naive, now_ms = Schedule(RULE, SIZE, lead_time), Naive(lead_time), NOW_MS
    for happening, *facts in happenings:
        now_ms += 7
        match happening:
            case "offer":
                each, age_ms, ordinal = facts[0]
                one.offer(each, now_ms + age_ms, ordinal, now_ms)
                naive.offer(each, age_ms, ordinal, now_ms)
            case "offer all":
                one.offer_all(pending(facts[0], now_ms), now_ms)
                known = set(naive.waiting)
                new = [not (line[0] in known or known.add(line[0])) for line in facts[0]]
                for line, _ in sorted(zip(facts[0], new, strict=True), key=lambda pair: not pair[1]):
                    naive.offer(*line, now_ms)  # first the videos that were not pending
            case "take":
                expected = naive.ordered(now_ms)
                if not expected:
                    continue
                trigger, videos = one.take(now_ms)
                assert videos == expected
                assert trigger in {naive.waiting[each][1] for each in naive.waiting}
                naive.taken |= {each: naive.waiting.pop(each) for each in expected}
            case "confirm":
                each, total = facts
                one.confirm(each, total)
                naive.answered(each)
                if each in naive.waiting and naive.waiting[each][2] <= total:
                    del naive.waiting[each]
            case "fail":
                one.fail(facts[0])
                taken = naive.taken.get(facts[0])
                naive.answered(facts[0])
                if taken is not None:
                    naive.wait(facts[0], taken)
            case "release":
                one.release(facts[0])
                naive.answered(facts[0])
            case "forget":
                one.forget(which(lambda each, gone=facts[0]: each == gone))
                naive.waiting.pop(facts[0], None)
                naive.later.pop(facts[0], None)
            case "measure":
                lead_time.measure(facts[0])
        assert one.next_due_ms() == naive.next_due()
        assert not naive.waiting.keys() & naive.taken.keys()
        assert len(one) == len(naive.waiting) + len(naive.taken)
