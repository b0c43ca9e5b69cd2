"""The deadlines of pending videos: by example, and against a list that is sorted each time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.outbox import Trigger
from actors.core.schedule import Rule, Schedule

RULE = Rule(realtime_below=100, deadline_ms=60_000, realtime_linger_ms=0, overdue_linger_ms=1000)
NOW_MS = 1_000_000


def video(number):
    return number.to_bytes(16, "big")


V, W, X = video(1), video(2), video(3)


def schedule():
    return Schedule(RULE)


def test_a_video_under_the_bound_is_due_on_receipt():
    one = schedule()
    one.offer(V, NOW_MS - 5000, 99, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    assert one.take(20) == (Trigger.REALTIME, [V])


def test_a_video_at_the_bound_is_due_a_deadline_after_its_arrival_on_the_queue():
    one = schedule()
    one.offer(V, NOW_MS - 5000, 100, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 55_000
    assert one.take(20) == (Trigger.DEADLINE, [V])


def test_a_video_whose_deadline_has_passed_on_receipt_is_overdue_and_lingers():
    one = schedule()
    one.offer(V, NOW_MS - 60_000, 100, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 1000
    assert one.take(20) == (Trigger.OVERDUE, [V])
    assert one.taken(V).overdue


def test_a_video_under_the_bound_is_realtime_however_old_it_is():
    one = schedule()
    one.offer(V, NOW_MS - 600_000, 5, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    assert one.take(1)[0] is Trigger.REALTIME
    assert one.taken(V).overdue


def test_realtime_waits_for_the_linger_that_is_asked_for():
    one = Schedule(Rule(realtime_linger_ms=250))
    one.offer(V, NOW_MS, 1, NOW_MS)
    assert one.next_due_ms() == NOW_MS + 250


def test_a_video_that_waits_keeps_the_earlier_due_time():
    one = schedule()
    one.offer(V, NOW_MS, 99, NOW_MS)
    one.offer(V, NOW_MS, 101, NOW_MS)
    assert one.next_due_ms() == NOW_MS
    one.offer(W, NOW_MS, 200, NOW_MS)
    one.offer(W, NOW_MS - 10_000, 199, NOW_MS)
    assert one.take(1) == (Trigger.REALTIME, [V])
    assert one.next_due_ms() == NOW_MS + 50_000


def test_the_earliest_leave_first_and_the_trigger_is_the_firsts():
    one = schedule()
    one.offer(V, NOW_MS, 100, NOW_MS)
    one.offer(W, NOW_MS - 100, 100, NOW_MS)
    one.offer(X, NOW_MS, 1, NOW_MS)
    assert one.take(2) == (Trigger.REALTIME, [X, W])
    assert one.take(2) == (Trigger.DEADLINE, [V])


def test_of_equal_due_times_the_first_offered_leaves_first():
    one = schedule()
    for number in (5, 3, 9, 1):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert one.take(20)[1] == [video(number) for number in (5, 3, 9, 1)]


def test_nothing_leaves_when_nothing_waits():
    one = schedule()
    assert one.next_due_ms() is None
    with pytest.raises(LookupError):
        one.take(20)


def test_a_batch_takes_no_more_than_it_may():
    one = schedule()
    for number in range(50):
        one.offer(video(number), NOW_MS, 1, NOW_MS)
    assert [len(one.take(20)[1]) for _ in range(3)] == [20, 20, 10]


def test_a_video_on_its_way_waits_again_for_the_plays_since():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(20)
    one.offer(V, NOW_MS, 2, NOW_MS)
    assert len(one) == 1
    one.confirm(V, 1)
    assert one.next_due_ms() == NOW_MS
    assert V in one


def test_what_is_covered_by_a_confirmed_total_waits_no_more():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(20)
    one.offer(V, NOW_MS, 3, NOW_MS)
    one.confirm(V, 3)
    assert one.next_due_ms() is None
    assert len(one) == 0


def test_a_video_whose_batch_failed_is_due_when_it_was():
    one = schedule()
    one.offer(V, NOW_MS - 3000, 100, NOW_MS)
    one.take(20)
    one.offer(V, NOW_MS, 120, NOW_MS)
    one.fail(V)
    assert one.next_due_ms() == NOW_MS + 57_000
    one.take(20)
    one.confirm(V, 119)
    assert V not in one


def test_a_released_video_does_not_wait_again():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(20)
    one.release(V)
    assert len(one) == 0
    one.fail(V)
    assert len(one) == 0


def test_videos_whose_counter_is_gone_are_forgotten_but_not_those_on_their_way():
    one = schedule()
    one.offer(V, NOW_MS, 1, NOW_MS)
    one.take(20)
    one.offer(W, NOW_MS, 1, NOW_MS)
    one.forget(lambda _: True)
    assert one.next_due_ms() is None
    assert V in one
    assert W not in one


def test_the_margin_moves_deadlines_and_nothing_else_for_all_that_wait():
    one = schedule()
    one.offer(V, NOW_MS, 100, NOW_MS)
    one.keep_margin(700)
    assert one.next_due_ms() == NOW_MS + 59_300
    one.keep_margin(100)
    assert one.next_due_ms() == NOW_MS + 59_900
    one.offer(W, NOW_MS, 1, NOW_MS)
    one.keep_margin(900)
    assert one.next_due_ms() == NOW_MS
    assert one.take(1) == (Trigger.REALTIME, [W])


def test_a_failed_video_is_due_by_the_margin_of_now():
    one = schedule()
    one.offer(V, NOW_MS, 100, NOW_MS)
    one.take(1)
    one.keep_margin(700)
    one.fail(V)
    assert one.next_due_ms() == NOW_MS + 59_300


def test_superseded_lines_of_the_heap_do_not_pile_up():
    one = schedule()
    for number in range(10):
        one.offer(video(number), NOW_MS, 100, NOW_MS)
    for round_number in range(2000):
        one.offer(V, NOW_MS - round_number, 100, NOW_MS)
    assert len(one._heap) <= 64 + 2 * 10 + 1


def test_a_hundred_thousand_pending_videos_take_no_quadratic_time():
    one = schedule()
    videos = [video(number) for number in range(100_000)]
    started_s = time.process_time()
    for number, each in enumerate(videos):
        one.offer(each, NOW_MS - number % 977, 100, NOW_MS)
        one.next_due_ms()
    while one.next_due_ms() is not None:
        for each in one.take(20)[1]:
            one.confirm(each, 100)
    assert time.process_time() - started_s < 20  # under 1 s; quadratic: hours
    assert len(one) == 0


class Naive:
    """The same in a list that is sorted each time."""

    def __init__(self):
        self.waiting, self.taken, self.margin_ms, self.order = {}, {}, 0, 0

    def due(self, one):
        latest_ms, trigger, _, _ = one
        return latest_ms - (self.margin_ms if trigger is Trigger.DEADLINE else 0)

    def wait(self, each, one):
        before = self.waiting.get(each)
        if before is not None:
            first, second = sorted((before, one), key=self.due)
            one = (first[0], first[1], min(first[2], second[2]), first[3])
        self.waiting[each] = one

    def ordered(self):
        lines = ((self.due(one), one[3], each) for each, one in self.waiting.items())
        return [each for _, _, each in sorted(lines)]


videos = st.integers(1, 6).map(video)
steps = st.one_of(
    st.tuples(st.just("offer"), videos, st.integers(-70_000, 0), st.integers(95, 105)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("confirm"), videos, st.integers(95, 105)),
    st.tuples(st.just("fail"), videos),
    st.tuples(st.just("release"), videos),
    st.tuples(st.just("forget"), videos),
    st.tuples(st.just("margin"), st.sampled_from((0, 100, 5000, 30_000))),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, max_size=40))
def test_it_does_what_a_list_sorted_each_time_does(happenings):
    one, naive, now_ms = schedule(), Naive(), NOW_MS
    for happening, *facts in happenings:
        now_ms += 7
        match happening:
            case "offer":
                each, age_ms, ordinal = facts
                one.offer(each, now_ms + age_ms, ordinal, now_ms)
                naive.order += 1
                latest_ms, trigger = RULE.latest(now_ms + age_ms, ordinal, now_ms)
                naive.wait(each, (latest_ms, trigger, ordinal, naive.order))
            case "take":
                expected = naive.ordered()[: facts[0]]
                if not expected:
                    continue
                trigger = naive.waiting[expected[0]][1]
                assert one.take(facts[0]) == (trigger, expected)
                naive.taken |= {each: naive.waiting.pop(each) for each in expected}
            case "confirm":
                each, total = facts
                one.confirm(each, total)
                naive.taken.pop(each, None)
                if each in naive.waiting and naive.waiting[each][2] <= total:
                    del naive.waiting[each]
            case "fail":
                one.fail(facts[0])
                if facts[0] in naive.taken:
                    naive.wait(facts[0], naive.taken.pop(facts[0]))
            case "release":
                one.release(facts[0])
                naive.taken.pop(facts[0], None)
            case "forget":
                one.forget(lambda each, gone=facts[0]: each == gone)
                naive.waiting.pop(facts[0], None)
            case "margin":
                one.keep_margin(facts[0])
                naive.margin_ms = facts[0]
        ordered = naive.ordered()
        expected_ms = naive.due(naive.waiting[ordered[0]]) if ordered else None
        assert one.next_due_ms() == expected_ms
        assert len(one) == len(naive.waiting.keys() | naive.taken.keys())
