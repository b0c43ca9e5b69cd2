"""A dispatcher's rules: each phase, and each fault."""

import itertools

import pytest
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_videos
from actors.core.dispatcher.accepted import OVER_MS, SAY_MS, STORE_MS
from actors.core.dispatcher.attempts import BACK_OFF_MS_FIRST, BACK_OFF_MS_MAX, CIRCUIT_FAILURES, Circuit
from actors.core.dispatcher.batches import ON_ITS_WAY, Phase
from actors.core.dispatcher.collecting import COLLECT_TIMEOUT_MS
from actors.core.dispatcher.effects import Deliver, Forget, Store, stored_together
from actors.core.dispatcher.lead_time import OWN_MS_FIRST
from actors.core.dispatcher.outbox import Entry, PublishTotals, Stage, make_batch
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules, Outcome
from actors.core.effects import Send
from actors.core.messages import Collect, Collected, Counted, Pending, Published, Recall, Recorded
from actors.core.shards import counter_of, shard_of
from actors.core.triggers import Trigger

SHARDS = 2
MS = 1_000_000
NOW_MS = 1_000_000
RULE = Rule(realtime_below=100, deadline_ms=60_000, realtime_linger_ms=0, overdue_linger_ms=1000)


def videos_of(shard, count):
    """Some videos of one shard."""
    found, number = [], 0
    while len(found) < count:
        video = number.to_bytes(16, "big")
        if shard_of(video, SHARDS) == shard:
            found.append(video)
        number += 1
    return found


A, A2 = videos_of(0, 2)  # of counter 0
B, B2 = videos_of(1, 2)  # of counter 1


def dispatching(*linked, stored=(), totals=PublishTotals(), jitter=1.0, batch_size_max=20, **options):
    one = DispatcherRules(
        RULE,
        SHARDS,
        batch_size_max,
        service="service",
        jitter=lambda: jitter,
        stored=stored,
        totals=totals,
        **options,
    )
    for shard in linked:
        one.linked(shard, NOW_MS)
    return one


def pending(*facts):
    """The message for videos that arrived now: (video, ordinal)."""
    return Pending(
        b"".join(video for video, _ in facts),
        pack_numbers(NOW_MS * MS for _ in facts),
        pack_numbers(ordinal for _, ordinal in facts),
    )


def known(video, total):
    """The message for a quiet video whose total the counter has taken."""
    return Pending(video, pack_numbers([NOW_MS * MS]), pack_numbers([total]), totals=pack_numbers([total]))


def collected(number, *facts):
    """A counter's answer with these totals: (video, total)."""
    return Collected(
        number,
        b"".join(video for video, _ in facts),
        pack_numbers(total for _, total in facts),
        pack_numbers(NOW_MS * MS for _ in facts),
    )


def asked(effects):
    """The collected videos: (counter, videos)."""
    return [
        (effect.peer, unpack_videos(effect.message.videos))
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Collect)
    ]


def number_of(effects):
    numbers = {
        effect.message.number
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Collect)
    }
    (number,) = numbers
    return number


def content(effects):
    """The content of the delivered batch: video to total."""
    (deliver,) = (effect for effect in effects if isinstance(effect, Deliver))
    return {entry.video: entry.plays for entry in deliver.batch.entries}


def key_of(effects):
    (deliver,) = (effect for effect in effects if isinstance(effect, Deliver))
    return deliver.batch.key


def told(effects):
    return [
        (effect.peer, unpack_videos(effect.message.videos))
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Published)
    ]


def sending(one, *facts, now_ms=NOW_MS):
    """Let a batch of these (video, total) of counter 0 leave. Returns the effects that send it."""
    number = number_of(one.handle(0, [pending(*facts)], now_ms))
    return one.handle(0, [collected(number, *facts)], now_ms)


def delivered(one, *outcome, **more):
    """Give the batch on its way this outcome. Returns the effects."""
    (held,) = one.batches.within(*ON_ITS_WAY)
    return one.delivered(held.content.key, *outcome, **more)


def settled(one, now_ms=NOW_MS):
    """Have the client accept the batch on its way, and do at once what can wait then. Returns the effects,
    that of the store first.
    """
    effects = delivered(one, Outcome.ACCEPTED, now_ms) + one.settle()
    return sorted(effects, key=lambda effect: not isinstance(effect, Store))


# A batch that goes well


def test_what_is_due_is_collected_from_its_counters_stored_and_then_delivered():
    one = dispatching(0, 1)
    effects = one.handle(0, [pending((A, 1), (A2, 1))], NOW_MS)
    assert asked(effects) == [(counter_of(0), [A, A2])]
    assert one.phase is Phase.COLLECTING
    effects = one.handle(0, [collected(number_of(effects), (A, 3), (A2, 1))], NOW_MS)
    assert [type(effect) for effect in effects] == [Store, Deliver]
    assert effects[0].batches == (effects[1].batch,)
    assert effects[1].batch.stage is Stage.SENDING
    assert effects[1].batch.trigger is Trigger.REALTIME
    assert content(effects) == {A: 3, A2: 1}
    assert one.phase is Phase.SENDING


def with_totals(*facts):
    """The message for videos that arrived now, and were taken already: (video, ordinal, total)."""
    ordinals = [(video, ordinal) for video, ordinal, _ in facts]
    return structs.replace(pending(*ordinals), totals=pack_numbers(total for *_, total in facts), commits=7)


def test_what_came_with_its_total_leaves_without_a_question():
    one = dispatching(0, 1)
    effects = one.handle(0, [with_totals((A, 1, 3), (A2, 1, 1))], NOW_MS)
    assert [type(effect) for effect in effects] == [Store, Deliver]
    assert content(effects) == {A: 3, A2: 1}
    assert [entry.arrived_ns for entry in effects[1].batch.entries] == [NOW_MS * MS] * 2
    assert effects[0].totals.commits == {0: 7}
    assert one.phase is Phase.SENDING


def test_a_counter_is_asked_only_for_the_totals_that_did_not_come():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 100))], NOW_MS)
    effects = one.handle(1, [with_totals((B, 1, 2))], NOW_MS)
    assert asked(effects) == [(counter_of(0), [A])]
    assert content(one.handle(0, [collected(number_of(effects), (A, 100))], NOW_MS)) == {A: 100, B: 2}


@pytest.mark.parametrize("together", [True, False])
def test_a_total_counts_until_the_video_is_offered_again(together):
    one = dispatching(0, 1, realtime_wait_max_ms=10)
    sending(one, (A2, 1))
    messages = [with_totals((A, 1, 1)), pending((A, 2))]
    for inbox in [messages] if together else [[one] for one in messages]:
        assert one.handle(0, inbox, NOW_MS) == []
    assert asked(delivered(one, Outcome.ACCEPTED, NOW_MS)) == [(counter_of(0), [A])]


def test_after_a_refusal_the_counters_are_asked_for_newer_totals():
    one = dispatching(0, 1)
    one.handle(0, [with_totals((A, 1, 1))], NOW_MS)
    delivered(one, Outcome.REFUSED, NOW_MS)
    assert asked(one.wake(one.wakeup_ms())) == [(counter_of(0), [A])]


def test_a_batch_waits_for_all_counters_that_were_asked():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 100))], NOW_MS)
    effects = one.handle(1, [pending((B, 1))], NOW_MS)
    number = number_of(effects)
    assert sorted(asked(effects)) == [(counter_of(0), [A]), (counter_of(1), [B])]
    assert one.handle(1, [collected(number, (B, 1))], NOW_MS) == []
    assert content(one.handle(0, [collected(number, (A, 100))], NOW_MS)) == {A: 100, B: 1}


def test_the_counters_are_told_of_an_accepted_batch_at_once_and_it_is_stored_a_little_later():
    one = dispatching(0, 1)
    key = key_of(sending(one, (A, 1)))
    assert told(delivered(one, Outcome.ACCEPTED, NOW_MS)) == [(counter_of(0), [A])]
    assert one.wakeup_ms() == NOW_MS + STORE_MS
    assert one.wake(NOW_MS + STORE_MS - 1) == []
    (effect,) = one.wake(NOW_MS + STORE_MS)
    (stored,) = effect.batches
    assert (stored.key, stored.stage) == (key, Stage.ACCEPTED)
    assert one.phase is Phase.IDLE
    assert one.wakeup_ms() is None


def test_totals_are_stored_after_the_accepted_batches_that_they_have():
    """Else a dispatcher that is killed then would send the batch again, and count it twice."""
    one = dispatching(0)
    key = key_of(sending(one, (A, 1)))
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    first, second, *_ = one.request_republish("a test", b"", NOW_MS + 1)
    assert ([batch.key for batch in first.batches], second.totals.realtime) == ([key], 1)


def test_the_batch_before_is_stored_as_accepted_with_the_next_one_in_one_write():
    one = dispatching(0)
    key = key_of(sending(one, (A, 1)))
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    effects = one.handle(0, [known(A2, 1)], NOW_MS + 1)
    assert [type(effect) for effect in effects] == [Store, Deliver]
    assert [(batch.key, batch.stage) for batch in effects[0].batches[:-1]] == [(key, Stage.ACCEPTED)]


def test_counters_are_told_of_several_batches_together_if_they_were_told_just_before():
    one = dispatching(*range(SHARDS))
    assert told(accepted_of(one, 0, NOW_MS)) != []
    assert [told(accepted_of(one, number, NOW_MS + number)) for number in (1, 2, 3)] == [[], [], []]
    assert one.wakeup_ms() == NOW_MS + SAY_MS
    assert sum(len(videos) for _, videos in told(one.wake(NOW_MS + SAY_MS))) == 3


def test_counters_are_told_before_they_are_asked():
    """Else they would answer with the arrival of a play that the client has."""
    one = dispatching(0)
    sending(one, (A2, 1))
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    sending(one, (A, 1))
    assert told(delivered(one, Outcome.ACCEPTED, NOW_MS + 1)) == []
    effects = one.handle(0, [pending((A, 2))], NOW_MS + 2)
    assert [type(effect.message) for effect in effects] == [Published, Collect]


def accepted_of(one, number, now_ms):
    """Have a batch of one video accepted. Returns the effects."""
    one.handle(0, [known(bytes([*B[:-1], number]), 1)], now_ms)
    return delivered(one, Outcome.ACCEPTED, now_ms)


def test_a_batch_is_kept_until_every_ledger_has_recorded_it():
    one = dispatching(0, 1)
    number = number_of(one.handle(0, [pending((A, 100))], NOW_MS) + one.handle(1, [pending((B, 1))], NOW_MS))
    one.handle(0, [collected(number, (A, 100))], NOW_MS)
    key = key_of(one.handle(1, [collected(number, (B, 1))], NOW_MS))
    settled(one)
    assert not one.drained
    assert one.handle(0, [Recorded([key])], NOW_MS) == []
    assert one.handle(0, [Recorded([key])], NOW_MS) == []
    assert one.settle() == []
    assert one.handle(1, [Recorded([key])], NOW_MS) == []
    assert one.wake(NOW_MS + OVER_MS) == [Store((), one.totals, over=(key,))]
    assert one.handle(1, [Recorded([key])], NOW_MS) == []
    assert one.drained


def test_the_next_batch_leaves_as_soon_as_one_is_accepted_and_after_its_counters_are_told():
    one = dispatching(0)
    sending(one, (A, 1))
    assert one.handle(0, [pending((A, 2))], NOW_MS) == []
    effects = delivered(one, Outcome.ACCEPTED, NOW_MS)
    kinds = [type(effect.message) for effect in effects if isinstance(effect, Send)]
    assert kinds == [Published, Collect]


def test_nothing_is_collected_before_it_is_due():
    one = dispatching(0)
    assert one.handle(0, [pending((A, 100))], NOW_MS) == []
    due_ms = one.wakeup_ms()
    assert NOW_MS + 53_000 < due_ms < NOW_MS + 60_000
    assert one.wake(due_ms - 1) == []
    assert asked(one.wake(due_ms)) == [(counter_of(0), [A])]


def test_a_batch_takes_the_earliest_along_up_to_its_size_and_no_video_twice():
    many = videos_of(0, 50)
    one = dispatching(0)
    effects = one.handle(0, [pending(*((v, 100) for v in many)), pending((A, 1), (A, 2))], NOW_MS)
    ((_, videos),) = asked(effects)
    assert len(videos) == len(set(videos)) == 20
    assert videos[0] == A


def test_what_the_client_knows_already_does_not_go_along():
    one = dispatching(0)
    number = number_of(one.handle(0, [pending((A, 1), (A2, 1))], NOW_MS))
    assert content(one.handle(0, [collected(number, (A2, 1))], NOW_MS)) == {A2: 1}
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    assert one.stats().pending_videos == 0


def test_a_collection_that_finds_nothing_sends_nothing():
    one = dispatching(0)
    number = number_of(one.handle(0, [pending((A, 1))], NOW_MS))
    assert one.handle(0, [collected(number)], NOW_MS) == []
    assert one.phase is Phase.IDLE
    assert one.wakeup_ms() is None


def test_plays_that_came_while_the_batch_was_on_its_way_wait_for_the_next():
    one = dispatching(0)
    sending(one, (A, 1))
    one.handle(0, [pending((A, 2))], NOW_MS)
    assert asked(delivered(one, Outcome.ACCEPTED, NOW_MS)) == [(counter_of(0), [A])]


def test_plays_that_came_before_the_total_was_taken_are_covered_by_it():
    one = dispatching(0)
    number = number_of(one.handle(0, [pending((A, 1))], NOW_MS))
    one.handle(0, [pending((A, 2)), collected(number, (A, 5))], NOW_MS)
    assert asked(delivered(one, Outcome.ACCEPTED, NOW_MS)) == []
    assert one.stats().pending_videos == 0


# Batches that do not get through


def test_a_refused_batch_is_forgotten_and_made_anew_with_newer_totals_after_a_pause():
    one = dispatching(0)
    key = key_of(sending(one, (A, 1)))
    assert delivered(one, Outcome.REFUSED, NOW_MS) == [Forget(key)]
    assert one.phase is Phase.BACKING_OFF
    assert one.wakeup_ms() == NOW_MS + BACK_OFF_MS_FIRST
    assert one.wake(NOW_MS + BACK_OFF_MS_FIRST - 1) == []
    effects = one.wake(NOW_MS + BACK_OFF_MS_FIRST)
    assert asked(effects) == [(counter_of(0), [A])]
    assert content(one.handle(0, [collected(number_of(effects), (A, 4))], NOW_MS)) == {A: 4}


def test_what_became_due_during_a_pause_goes_along_after_it():
    one = dispatching(0, 1)
    sending(one, (A, 1))
    delivered(one, Outcome.REFUSED, NOW_MS)
    assert one.handle(1, [pending((B, 1))], NOW_MS) == []
    assert len(asked(one.wake(NOW_MS + BACK_OFF_MS_FIRST))) == 2


def test_a_batch_without_an_answer_is_sent_again_as_it_is_before_anything_else():
    one = dispatching(0, 1)
    first = sending(one, (A, 1))
    assert delivered(one, Outcome.UNKNOWN, NOW_MS) == []
    assert one.handle(1, [pending((B, 1))], NOW_MS) == []
    effects = one.wake(NOW_MS + BACK_OFF_MS_FIRST)
    assert effects == [Store((first[1].batch,), one.totals), Deliver(first[1].batch)]
    effects = delivered(one, Outcome.ACCEPTED, NOW_MS + BACK_OFF_MS_FIRST)
    assert asked(effects) == [(counter_of(1), [B])]


def test_a_refusal_after_an_attempt_without_an_answer_does_not_make_the_batch_anew():
    """The client may have accepted that attempt. Another key would publish the same totals twice."""
    one = dispatching(0)
    first = sending(one, (A, 1))
    delivered(one, Outcome.UNKNOWN, NOW_MS)
    one.wake(one.wakeup_ms())
    assert delivered(one, Outcome.REFUSED, one.wakeup_ms() or NOW_MS) == []
    assert one.wake(one.wakeup_ms())[1:] == [Deliver(first[1].batch)]
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    assert one.phase is Phase.IDLE


def test_doubt_ends_with_the_batch_that_it_was_about():
    one = dispatching(0)
    sending(one, (A, 1))
    delivered(one, Outcome.UNKNOWN, NOW_MS)
    later_ms = one.wakeup_ms()
    one.wake(later_ms)
    delivered(one, Outcome.ACCEPTED, later_ms)
    key = key_of(sending(one, (A2, 1), now_ms=later_ms))
    assert delivered(one, Outcome.REFUSED, later_ms) == [Forget(key)]


def test_pauses_double_up_to_a_bound_and_start_anew_after_a_success():
    one, now_ms, pauses = dispatching(0), NOW_MS, []
    sending(one, (A, 1))
    for _ in range(12):
        delivered(one, Outcome.UNKNOWN, now_ms)
        pauses.append(one.wakeup_ms() - now_ms)
        now_ms = one.wakeup_ms()
        one.wake(now_ms)
    assert pauses[:4] == [100, 200, 400, 800]
    assert pauses[-1] == BACK_OFF_MS_MAX
    delivered(one, Outcome.ACCEPTED, now_ms)
    sending(one, (A2, 1), now_ms=now_ms)
    delivered(one, Outcome.UNKNOWN, now_ms)
    assert one.wakeup_ms() - now_ms == BACK_OFF_MS_FIRST


@pytest.mark.parametrize(("jitter", "pause_ms"), [(0.0, 0), (0.5, 50), (1.0, 100)])
def test_a_pause_is_jittered_between_nothing_and_all_of_it(jitter, pause_ms):
    one = dispatching(0, jitter=jitter)
    sending(one, (A, 1))
    delivered(one, Outcome.UNKNOWN, NOW_MS)
    assert one.wakeup_ms() == NOW_MS + pause_ms


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_pause_that_the_client_asks_for_is_kept(outcome):
    one = dispatching(0)
    sending(one, (A, 1))
    delivered(one, outcome, NOW_MS, retry_after_ms=30_000)
    assert one.wakeup_ms() == NOW_MS + 30_000


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_pause_that_the_client_asks_for_ends_in_time_however_long_it_is(outcome):
    one = dispatching(0)
    sending(one, (A, 1))
    delivered(one, outcome, NOW_MS, retry_after_ms=999_999_999_000)
    assert one.wakeup_ms() == NOW_MS + 60_000


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_client_that_has_started_is_tried_at_once_whatever_it_said_before(outcome):
    one = dispatching(0)
    sending(one, (A, 1))
    for _ in range(CIRCUIT_FAILURES + 1):
        delivered(one, outcome, NOW_MS, retry_after_ms=60_000)
        effects = one.client_started(NOW_MS)
        if outcome is Outcome.REFUSED:
            effects = one.handle(0, [collected(number_of(effects), (A, 1))], NOW_MS)
        assert content(effects) == {A: 1}


def test_a_client_that_starts_while_an_attempt_fails_is_tried_at_once_after_that():
    one = dispatching(0)
    sending(one, (A, 1))
    assert one.client_started(NOW_MS) == []
    delivered(one, Outcome.UNKNOWN, NOW_MS, retry_after_ms=60_000)
    assert one.wakeup_ms() <= NOW_MS
    assert content(one.wake(NOW_MS)) == {A: 1}


def test_an_outcome_of_nothing_is_a_bug():
    with pytest.raises(AssertionError, match="an outcome of no such key"):
        dispatching(0).delivered("no such key", Outcome.ACCEPTED, NOW_MS)


# Counters that go, come back, or are silent


def test_a_counter_that_links_is_asked_for_all_that_is_pending():
    effects = dispatching().linked(0, NOW_MS)
    assert effects == [Send(counter_of(0), Recall())]


def test_a_counter_that_links_hears_what_was_published_before_it_is_asked():
    one = dispatching(0)
    sending(one, (A, 1))
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    one.lost(0, NOW_MS)
    effects = one.linked(0, NOW_MS)
    assert [type(effect.message) for effect in effects] == [Published, Recall]
    assert one.linked(1, NOW_MS) == [Send(counter_of(1), Recall())]


def test_a_batch_leaves_without_a_counter_that_is_lost_while_it_collects():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 100))], NOW_MS)
    number = number_of(one.handle(1, [pending((B, 1))], NOW_MS))
    one.handle(1, [collected(number, (B, 1))], NOW_MS)
    assert content(one.lost(0, NOW_MS)) == {B: 1}


def test_a_collection_from_a_counter_that_is_lost_ends_and_its_videos_are_offered_again():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 1))], NOW_MS)
    assert one.lost(0, NOW_MS) == []
    assert one.phase is Phase.IDLE
    one.linked(0, NOW_MS)
    assert asked(one.handle(0, [pending((A, 1))], NOW_MS)) == [(counter_of(0), [A])]


def test_the_totals_of_a_counter_that_answered_and_then_died_are_sent_for_they_are_committed():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 100))], NOW_MS)
    number = number_of(one.handle(1, [pending((B, 1))], NOW_MS))
    one.handle(0, [collected(number, (A, 100))], NOW_MS)
    assert one.lost(0, NOW_MS) == []
    effects = one.handle(1, [collected(number, (B, 1))], NOW_MS)
    assert content(effects) == {A: 100, B: 1}
    assert told(settled(one)) == [(counter_of(1), [B])]
    assert told(one.linked(0, NOW_MS)) == [(counter_of(0), [A])]


def test_a_refused_batch_does_not_wait_for_videos_of_a_counter_that_is_gone():
    one = dispatching(0, 1)
    sending(one, (A, 1))
    one.lost(0, NOW_MS)
    delivered(one, Outcome.REFUSED, NOW_MS)
    assert one.wake(one.wakeup_ms()) == []
    assert one.stats().pending_videos == 0
    assert one.wakeup_ms() is None


def test_a_silent_counter_is_passed_over_until_it_says_something():
    one = dispatching(0, 1)
    one.handle(0, [pending((A, 100), (A2, 100))], NOW_MS)
    number = number_of(one.handle(1, [pending((B, 1))], NOW_MS))
    one.handle(1, [collected(number, (B, 1))], NOW_MS)
    assert one.wakeup_ms() == NOW_MS + COLLECT_TIMEOUT_MS
    assert one.wake(NOW_MS + COLLECT_TIMEOUT_MS - 1) == []
    later_ms = NOW_MS + COLLECT_TIMEOUT_MS
    assert one.stats().expired == 0
    assert content(one.wake(later_ms)) == {B: 1}
    settled(one, later_ms)
    assert one.stats().pending_videos == 0
    assert one.stats().expired == 1
    effects = one.handle(0, [collected(number, (A, 100), (A2, 100))], later_ms)
    assert effects == [Send(counter_of(0), Recall())]
    assert one.handle(0, [pending((A, 1))], later_ms)[0].message.videos == A


def test_a_late_answer_to_a_collection_that_went_on_is_passed_over():
    one = dispatching(0)
    first = number_of(one.handle(0, [pending((A, 1))], NOW_MS))
    one.wake(NOW_MS + COLLECT_TIMEOUT_MS)
    effects = one.handle(0, [collected(first, (A, 1)), pending((A, 1))], NOW_MS)
    second = number_of(effects)
    assert second != first
    assert one.handle(0, [collected(first, (A, 1))], NOW_MS) == []
    assert content(one.handle(0, [collected(second, (A, 2))], NOW_MS)) == {A: 2}


def test_a_message_of_another_mailbox_is_a_bug_and_not_passed_over():
    with pytest.raises(AssertionError, match="does not understand"):
        dispatching(0).handle(0, [Counted([1])], NOW_MS)


# Draining


def test_a_drain_first_hears_what_the_counters_have_said_so_far():
    one = dispatching(0, 1)
    effects = one.drain(NOW_MS)
    number = number_of(effects)
    assert asked(effects) == [(counter_of(0), []), (counter_of(1), [])]
    assert not one.drained
    one.handle(0, [collected(number)], NOW_MS)
    assert not one.drained
    one.handle(1, [collected(number)], NOW_MS)
    assert one.drained


def test_a_drain_asks_again_while_a_counter_says_that_a_recall_goes_on():
    one = dispatching(0)
    answer = structs.replace(collected(number_of(one.drain(NOW_MS))), recalls=True)
    effects = one.handle(0, [answer], NOW_MS)
    assert not one.drained
    assert asked(effects) == [(counter_of(0), [])]
    one.handle(0, [collected(number_of(effects))], NOW_MS)
    assert one.drained


def test_a_drain_sends_what_is_not_due_and_ends_when_it_is_recorded():
    one = dispatching(0)
    one.handle(0, [pending((A, 100))], NOW_MS)
    effects = one.handle(0, [collected(number_of(one.drain(NOW_MS)))], NOW_MS)
    effects = one.handle(0, [collected(number_of(effects), (A, 100))], NOW_MS)
    assert effects[1].batch.trigger is Trigger.DRAIN
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    assert not one.drained
    one.handle(0, [Recorded([key_of(effects)])], NOW_MS)
    assert one.drained


def drained_of_what_is_pending(one, now_ms=NOW_MS, **more):
    """Drain, with a counter that has one play of A. Returns what is delivered at once."""
    effects = one.drain(now_ms, **more)
    for _ in range(2):
        if asked(effects):
            facts = [(A, 1)] if asked(effects)[0][1] else []
            effects = one.handle(0, [collected(number_of(effects), *facts)], now_ms)
    return [content([effect]) for effect in effects if isinstance(effect, Deliver)]


@pytest.mark.parametrize("failures", [1, CIRCUIT_FAILURES + 1])
@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_drain_tries_once_more_whatever_the_pause(outcome, failures):
    one = dispatching(0)
    sending(one, (A, 1))
    for number in range(failures):
        if number:
            one.attempts.left(NOW_MS)
            one.attempts.failed(NOW_MS)
    delivered(one, outcome, NOW_MS, retry_after_ms=60_000)
    assert drained_of_what_is_pending(one) == [{A: 1}]
    delivered(one, outcome, NOW_MS, retry_after_ms=30_000)
    assert one.wakeup_ms() == NOW_MS + 30_000


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_drain_tries_once_more_after_an_attempt_that_was_on_its_way(outcome):
    one = dispatching(0)
    sending(one, (A, 1))
    assert drained_of_what_is_pending(one) == []
    delivered(one, outcome, NOW_MS, retry_after_ms=60_000)
    assert one.wakeup_ms() <= NOW_MS


@pytest.mark.parametrize(("patience_ms", "left"), [(99_999, [{A: 1}]), (100_000, []), (None, [])])
def test_a_drain_waits_for_a_rate_limit_only_as_long_as_it_has_time(patience_ms, left):
    one = dispatching(0, rate_max_per_s=0.01)
    sending(one, (A2, 1))
    delivered(one, Outcome.ACCEPTED, NOW_MS)
    one.handle(0, [pending((A, 100))], NOW_MS)
    assert drained_of_what_is_pending(one, patience_ms=patience_ms) == left


def test_a_drain_with_no_counter_is_done_at_once():
    one = dispatching()
    assert one.drain(NOW_MS) == []
    assert one.drained


def test_a_drain_ends_a_batch_on_its_way_first():
    one = dispatching(0)
    sending(one, (A, 1))
    assert one.drain(NOW_MS) == []
    assert asked(delivered(one, Outcome.ACCEPTED, NOW_MS)) == [(counter_of(0), [])]
    assert not one.drained


def test_a_drain_waits_for_a_silent_counter_to_say_what_it_has():
    one = dispatching(0)
    number = number_of(one.drain(NOW_MS))
    one.wake(NOW_MS + COLLECT_TIMEOUT_MS)
    assert not one.drained
    effects = one.handle(0, [collected(number)], NOW_MS)
    assert [type(effect.message) for effect in effects] == [Recall, Collect]
    assert not one.drained
    one.handle(0, [collected(number_of(effects))], NOW_MS)
    assert one.drained


def test_a_drain_waits_for_a_counter_that_comes_back_in_the_middle_of_it():
    one = dispatching(0)
    one.handle(0, [collected(number_of(one.drain(NOW_MS)))], NOW_MS)
    one.lost(0, NOW_MS)
    effects = one.linked(0, NOW_MS)
    assert [type(effect.message) for effect in effects] == [Recall, Collect]
    assert not one.drained
    effects = one.handle(0, [pending((A, 100)), collected(number_of(effects))], NOW_MS)
    assert asked(effects) == [(counter_of(0), [A])]
    assert not one.drained


# A dispatcher that starts with stored batches


def test_a_batch_that_was_written_down_is_sent_again_first_and_under_its_key():
    batch = make_batch("service", Trigger.REALTIME, [Entry(A, 3, 1)])
    one = dispatching(stored=[batch])
    assert one.wakeup_ms() <= NOW_MS
    assert one.wake(NOW_MS) == [Store((batch,), one.totals), Deliver(batch)]
    assert one.linked(0, NOW_MS) == [Send(counter_of(0), Recall())]
    assert one.handle(0, [pending((A, 1))], NOW_MS) == []
    assert told(settled(one)) == [(counter_of(0), [A])]
    assert one.stats().pending_videos == 0


def test_a_batch_that_was_written_down_is_kept_through_refusals_for_its_sender_may_have_sent_it():
    batch = make_batch("service", Trigger.REALTIME, [Entry(A, 3, 1)])
    one = dispatching(0, stored=[batch])
    one.wake(NOW_MS)
    for _ in range(5):
        assert delivered(one, Outcome.REFUSED, NOW_MS) == []
        assert one.wake(one.wakeup_ms())[1:] == [Deliver(batch)]


def test_a_batch_that_was_accepted_is_told_to_its_counters_and_not_sent_again():
    batch = make_batch("service", Trigger.REALTIME, [Entry(A, 3, 1), Entry(B, 1, 1)]).accepted()
    one = dispatching(stored=[batch])
    assert one.wake(NOW_MS) == []
    assert told(one.linked(0, NOW_MS)) == [(counter_of(0), [A])]
    assert told(one.linked(1, NOW_MS)) == [(counter_of(1), [B])]
    one.handle(1, [Recorded([batch.key])], NOW_MS)
    assert one.settle() == []
    one.handle(0, [Recorded([batch.key])], NOW_MS)
    assert one.settle()[0].over == (batch.key,)


def test_a_stored_batch_of_either_stage_at_once():
    accepted = make_batch("service", Trigger.REALTIME, [Entry(A, 1, 1)]).accepted()
    sent = make_batch("service", Trigger.REALTIME, [Entry(A, 2, 1)])
    one = dispatching(stored=[accepted, sent])
    assert one.wake(NOW_MS)[1:] == [Deliver(sent)]
    one.linked(0, NOW_MS)
    settled(one)
    one.handle(0, [Recorded([accepted.key, sent.key])], NOW_MS)
    assert one.settle()[0].over == (accepted.key, sent.key)


# Figures


def test_the_totals_of_publishes_say_what_left_and_why_and_go_with_what_is_stored():
    one = dispatching(0)
    sending(one, (A, 1), (A2, 1))
    delivered(one, Outcome.UNKNOWN, NOW_MS)
    one.wake(one.wakeup_ms())
    effects = settled(one)
    figures = one.stats()
    assert (figures.realtime, figures.videos, figures.failed, figures.late) == (1, 2, 1, 0)
    assert effects[0].totals == one.totals
    assert figures.in_flight == 1


def test_a_batch_is_counted_as_stored_before_it_leaves_and_once_the_client_has_it():
    """So a dispatcher's store that lost either of the two is refused: it is behind its mark."""
    one = dispatching(0, totals=PublishTotals(stores=7))
    assert sending(one, (A, 1))[0].totals.stores == 8
    assert settled(one)[0].totals.stores == 9


def test_our_own_time_for_a_batch_is_measured_from_the_question_to_the_counters_until_it_leaves():
    one = dispatching(0)
    key = key_of(sending(one, (A, 1)))
    one.departs(key, NOW_MS + 90)
    effects = settled(one, NOW_MS + 1000)
    assert effects[0].totals.publish_time.own_ms == OWN_MS_FIRST + (90 - OWN_MS_FIRST) / 8


def test_a_deadline_that_was_missed_is_counted_as_late():
    one = dispatching(0)
    one.handle(0, [pending((A, 100))], NOW_MS)
    late_ms = NOW_MS + RULE.deadline_ms + 1
    effects = one.wake(late_ms)
    one.handle(0, [collected(number_of(effects), (A, 100))], late_ms)
    delivered(one, Outcome.ACCEPTED, late_ms)
    assert one.stats().late == 1
    assert one.stats().deadline == 1


def test_a_slow_client_makes_batches_leave_earlier():
    one = dispatching(0)
    for _ in range(10):
        sending(one, (A, 1))
        delivered(one, Outcome.ACCEPTED, NOW_MS + 5000)
    one.handle(0, [pending((A2, 100))], NOW_MS)
    assert one.wakeup_ms() < NOW_MS + RULE.deadline_ms - 5000


def test_the_next_dispatcher_begins_with_the_publish_time_that_was_written_down_and_goes_on_from_it():
    one = dispatching(0)
    for took_ms in (40, 90, 60):
        sending(one, (A, 1))
        effects = settled(one, NOW_MS + took_ms)
    after = dispatching(0, totals=effects[0].totals)
    for _ in range(2):
        due_ms = []
        for each in (one, after):
            sending(each, (A, 1))
            settled(each, NOW_MS + 2000)
            each.handle(0, [pending((A2, 100))], NOW_MS)
            due_ms.append(each.wakeup_ms())
        assert due_ms[0] == due_ms[1]


def test_the_first_deadline_after_a_restart_is_used_as_fully_as_the_others():
    one = dispatching(0)
    for _ in range(10):
        sending(one, (A, 1))
        effects = settled(one, NOW_MS + 5)
    after = dispatching(0, totals=effects[0].totals)
    after.handle(0, [pending((A2, 100))], NOW_MS)
    assert after.wakeup_ms() >= NOW_MS + 0.98 * RULE.deadline_ms


# A client with a rate limit


def publish_all(one, until_ms, took_ms=5):
    """Let time pass until `until_ms`; the client answers in `took_ms`. Returns when each batch left."""
    left_ms, now_ms = [], NOW_MS
    while (due_ms := one.wakeup_ms()) is not None and due_ms <= until_ms:
        now_ms = max(now_ms, due_ms)
        effects = one.wake(now_ms)
        while asks := asked(effects):
            ((_, videos),) = asks
            one.handle(0, [collected(number_of(effects), *((video, 100) for video in videos))], now_ms)
            left_ms.append(now_ms)
            now_ms += took_ms
            effects = delivered(one, Outcome.ACCEPTED, now_ms)
    return left_ms


@pytest.mark.parametrize("rate_max_per_s", [0, 0.1, 0.5, 1, 10, 1000])
def test_with_a_hundred_videos_due_at_once_all_five_batches_are_in_time_at_any_rate(rate_max_per_s):
    one = dispatching(0, rate_max_per_s=rate_max_per_s)
    for _ in range(100):
        one._lead_time.measure(5)
    one.handle(0, [pending(*((video, 100) for video in videos_of(0, 100)))], NOW_MS)
    left_ms = publish_all(one, NOW_MS + 2 * RULE.deadline_ms)
    assert len(left_ms) == 5
    assert one.stats().late == 0
    gaps_ms = [later - earlier for earlier, later in itertools.pairwise(left_ms)]
    assert min(gaps_ms) >= (1000 / rate_max_per_s if rate_max_per_s else 0) - 1
    as_late_as_possible_ms = RULE.deadline_ms - 6 * (1000 / rate_max_per_s if rate_max_per_s else 0) - 2500
    assert left_ms[0] - NOW_MS >= as_late_as_possible_ms


def test_the_wake_up_waits_for_the_next_moment_that_the_rate_permits():
    one = dispatching(0, rate_max_per_s=2)
    sending(one, (A, 1))
    settled(one, NOW_MS + 10)
    assert one.handle(0, [pending((A2, 1))], NOW_MS + 20) == []
    assert one.wakeup_ms() == NOW_MS + 500
    assert asked(one.wake(NOW_MS + 499)) == []
    assert asked(one.wake(NOW_MS + 500)) == [(counter_of(0), [A2])]


def test_a_rate_wakes_nobody_up_while_nothing_is_pending():
    one = dispatching(0, rate_max_per_s=2)
    sending(one, (A, 1))
    settled(one, NOW_MS + 10)
    assert one.wakeup_ms() is None


def test_a_wait_for_the_rate_is_the_clients_too_while_another_batch_is_on_its_way():
    one = dispatching(0, rate_max_per_s=1, in_flight_max=2)
    one.departs(key_of(sending(one, (A, 1))), NOW_MS)
    assert one.handle(0, [pending((A2, 1))], NOW_MS) == []
    effects = one.wake(NOW_MS + 1000)
    effects = one.handle(0, [collected(number_of(effects), (A2, 1))], NOW_MS + 1000)
    assert one.departs(key_of(effects), NOW_MS + 1000) == 1000


def numbers_of(effects):
    """The numbers of the batches that the counters are asked for, in order."""
    return [
        one.message.number for one in effects if isinstance(one, Send) and isinstance(one.message, Collect)
    ]


def test_batches_that_are_due_at_once_are_asked_for_together_as_far_as_they_may_be_on_their_way():
    one = dispatching(0, in_flight_max=3, batch_size_max=1)
    several = videos_of(0, 5)
    overdue = pending(*((video, 100) for video in several))
    effects = one.handle(0, [overdue], NOW_MS + RULE.deadline_ms - 1)
    numbers = numbers_of(effects)
    assert numbers == [1, 2, 3]
    assert one.wake(NOW_MS + RULE.deadline_ms - 1) == []
    answers = [collected(number, (video, 100)) for number, video in zip(numbers, several, strict=False)]
    left = stored_together(one.handle(0, answers, NOW_MS + RULE.deadline_ms))
    assert [type(effect) for effect in left] == [Store, Deliver, Deliver, Deliver]
    assert left[0].batches == tuple(effect.batch for effect in left[1:])
    assert (left[0].totals.attempts, left[0].totals.stores) == (3, 3)
    keys = [effect.batch.key for effect in left[1:]]
    effects = one.delivered(keys[0], Outcome.ACCEPTED, NOW_MS + RULE.deadline_ms)
    assert numbers_of(effects) == [4]  # one place is free


@pytest.mark.parametrize("why", ["rate", "open circuit"])
def test_where_batches_leave_one_by_one_they_are_asked_for_one_by_one(why):
    one = dispatching(0, in_flight_max=3, batch_size_max=1, rate_max_per_s=1 if why == "rate" else 0)
    one.handle(0, [pending(*((video, 100) for video in videos_of(0, 5)))], NOW_MS)
    now_ms = NOW_MS + RULE.deadline_ms
    if why == "open circuit":
        for _ in range(CIRCUIT_FAILURES):
            one.attempts.left(NOW_MS)
            one.attempts.failed(NOW_MS)
    assert len(numbers_of(one.wake(now_ms))) == 1


def test_our_own_time_is_that_of_all_that_leave_together():
    apart = dispatching(0, in_flight_max=4, batch_size_max=1)
    together = dispatching(0, in_flight_max=4, batch_size_max=1)
    own_ms = []
    for one, count in ((apart, 1), (together, 4)):
        several, now_ms = videos_of(0, count), NOW_MS + RULE.deadline_ms - 1
        numbers = numbers_of(one.handle(0, [pending(*((video, 100) for video in several))], now_ms))
        answers = [collected(number, (video, 100)) for number, video in zip(numbers, several, strict=True)]
        for effect in one.handle(0, answers, now_ms + 80):
            if isinstance(effect, Deliver):
                one.departs(effect.batch.key, now_ms + 80)
                own_ms.append(one._lead_time._own_ms)
    expected = OWN_MS_FIRST
    assert own_ms[0] == expected + (80 - expected) / 8
    for after_ms in own_ms[1:]:
        expected += (80 / 4 - expected) / 8
        assert after_ms == expected


def test_what_is_stored_between_messages_and_departures_is_stored_at_once():
    first, second = (make_batch("service", Trigger.REALTIME, [Entry(A, total, 1)]) for total in (1, 2))
    send = Send(counter_of(0), Recall())
    totals = [PublishTotals(stores=number) for number in range(4)]
    effects = [
        Store((first.accepted(),), totals[0], (A,)),
        send,
        Deliver(first),
        Store((second,), totals[1], (B,), (first.key, "gone")),
        Deliver(second),
        Forget("other"),
        Store((), totals[2]),
        Store((first,), totals[3]),
    ]
    assert stored_together(effects) == [
        Store((second,), totals[1], (A, B), (first.key, "gone")),
        send,
        Deliver(first),
        Deliver(second),
        Forget("other"),
        Store((first,), totals[3]),
    ]


def test_a_rate_holds_for_attempts_that_fail_too():
    one = dispatching(0, rate_max_per_s=2)
    sending(one, (A, 1))
    delivered(one, Outcome.UNKNOWN, NOW_MS + 10)
    assert one.wakeup_ms() == NOW_MS + 500


# Late, and why


def late_batch(one, leaves_ms):
    """Let A, which has a deadline, leave at `leaves_ms`."""
    one.handle(0, [pending((A, 100))], NOW_MS)
    effects = one.wake(leaves_ms)
    one.handle(0, [collected(number_of(effects), (A, 100))], leaves_ms)


def test_what_was_offered_in_time_and_taken_late_is_late_by_the_client():
    one = dispatching(0)
    late_batch(one, NOW_MS + 59_500)
    delivered(one, Outcome.ACCEPTED, NOW_MS + 61_000)
    figures = one.stats()
    assert (figures.late, figures.late_by_client) == (1, 1)


def test_what_was_offered_late_is_our_own_however_slow_the_client():
    one = dispatching(0)
    late_batch(one, NOW_MS + 60_001)
    delivered(one, Outcome.ACCEPTED, NOW_MS + 70_000)
    figures = one.stats()
    assert (figures.late, figures.late_by_client) == (1, 0)


def test_what_waited_for_a_batch_that_the_client_kept_is_late_by_the_client():
    one = dispatching(0, batch_size_max=1)
    one.handle(0, [pending((A, 100))], NOW_MS)
    sending(one, (A2, 1), now_ms=NOW_MS + 45_000)
    delivered(one, Outcome.UNKNOWN, NOW_MS + 55_000)
    one.wake(NOW_MS + 65_000)
    effects = delivered(one, Outcome.ACCEPTED, NOW_MS + 65_001)
    one.handle(0, [collected(number_of(effects), (A, 100))], NOW_MS + 65_002)
    delivered(one, Outcome.ACCEPTED, NOW_MS + 65_003)
    figures = one.stats()
    assert (figures.late, figures.late_by_client) == (1, 1)


def test_a_batch_that_waited_for_a_disk_is_late_by_us_and_its_wait_is_no_publish_time():
    one = dispatching(0, rate_max_per_s=1)
    late_batch(one, NOW_MS + 59_000)
    (held,) = one.batches.within(*ON_ITS_WAY)
    assert one.departs(held.content.key, NOW_MS + 61_000) == 0
    delivered(one, Outcome.ACCEPTED, NOW_MS + 61_005)
    figures = one.stats()
    assert (figures.late, figures.late_by_client) == (1, 0)
    assert one.totals.publish_time.mean_ms == 5
    assert one.attempts.next_ms() == NOW_MS + 62_000


def test_a_millisecond_of_ours_is_not_the_clients():
    one = dispatching(0)
    key = key_of(sending(one, (A, 1)))
    assert one.departs(key, NOW_MS + 1) == 0
    delivered(one, Outcome.ACCEPTED, NOW_MS + 6)
    assert one.totals.publish_time.mean_ms == 5


def test_what_is_pending_is_told_by_when_it_is_due():
    one = dispatching(0)
    one.handle(0, [pending((A, 100))], NOW_MS)
    assert one.pending_within(NOW_MS, (0.5, 1.0)) == [0, 1]
    assert one.pending_within(NOW_MS + RULE.deadline_ms // 2, (0.5, 1.0)) == [1, 0]


def test_a_batch_says_for_how_long_the_client_held_it_up():
    one = dispatching(0)
    first = key_of(sending(one, (A, 1)))
    assert one.departs(first, NOW_MS) == 0
    delivered(one, Outcome.UNKNOWN, NOW_MS + 10_000)
    later_ms = one.wakeup_ms()
    one.wake(later_ms)
    assert one.departs(first, later_ms) == later_ms - NOW_MS


def test_of_a_batch_that_another_dispatcher_made_only_the_time_since_is_known():
    batch = make_batch("service", Trigger.REALTIME, [Entry(A, 3, 1)])
    one = dispatching(stored=[batch])
    one.wake(NOW_MS)
    assert one.departs(batch.key, NOW_MS) == 0
    delivered(one, Outcome.UNKNOWN, NOW_MS)
    one.wake(NOW_MS + 100)
    assert one.departs(batch.key, NOW_MS + 100) == 100


def test_rejections_are_counted_apart_and_among_the_failed():
    one = dispatching(0)
    sending(one, (A, 1))
    delivered(one, Outcome.REFUSED, NOW_MS, rejected=True)
    figures = one.stats()
    assert (figures.failed, figures.rejected) == (1, 1)


def test_the_circuit_is_among_the_figures():
    one, now_ms = dispatching(0), NOW_MS
    sending(one, (A, 1))
    for _ in range(CIRCUIT_FAILURES):
        delivered(one, Outcome.UNKNOWN, now_ms)
        now_ms = one.wakeup_ms()
        failures, circuit = one.stats().failures, one.stats().circuit
        one.wake(now_ms)
    assert (failures, circuit) == (CIRCUIT_FAILURES, Circuit.OPEN)
    assert one.stats().circuit == Circuit.HALF_OPEN
    delivered(one, Outcome.ACCEPTED, now_ms)
    assert (one.stats().failures, one.stats().circuit) == (0, Circuit.CLOSED)


# A client that keeps its first answer to a key


def fails(one, now_ms, *facts, outcome=Outcome.REFUSED, **more):
    """The attempt that is on its way fails. Returns the effects, and those of the next attempt."""
    effects = delivered(one, outcome, now_ms, **more)
    again = one.wake(one.wakeup_ms())
    if asked(again):
        again = one.handle(0, [collected(number_of(again), *facts)], one.wakeup_ms() or now_ms)
    return effects, again


def test_the_same_content_leaves_under_a_new_key_after_five_5xx_in_a_row():
    one = dispatching(0)
    keys = [key_of(sending(one, (A, 1)))]
    for _ in range(11):
        _, again = fails(one, NOW_MS, (A, 1), server_error=True)
        keys.append(key_of(again))
        assert content(again) == {A: 1}
    assert [len(list(same)) for _, same in itertools.groupby(keys)] == [5, 5, 2]
    assert len(set(keys)) == 3


def test_a_new_key_is_stored_before_the_old_one_is_forgotten():
    one = dispatching(0)
    first = key_of(sending(one, (A, 1)))
    for _ in range(4):
        effects, _ = fails(one, NOW_MS, (A, 1), server_error=True)
        assert [type(effect) for effect in effects] == [Store]
    effects, again = fails(one, NOW_MS, (A, 1), server_error=True)
    assert [type(effect) for effect in effects] == [Store, Forget]
    (kept,) = effects[0].batches
    assert kept.stage is Stage.REFUSED
    assert kept.key == key_of(again) != first
    assert effects[1] == Forget(first)


def test_a_restarted_dispatcher_knows_the_key_of_refused_content():
    one = dispatching(0)
    sending(one, (A, 1))
    for _ in range(6):
        effects, again = fails(one, NOW_MS, (A, 1), server_error=True)
    ((stored,),) = (effect.batches for effect in effects if isinstance(effect, Store))
    another = dispatching(0, stored=[stored])
    assert another.phase is Phase.IDLE  # the client has none of it: it is not in doubt
    assert key_of(sending(another, (A, 1))) == key_of(again) == stored.key


def test_newer_totals_have_a_key_of_their_own_and_end_what_is_known_of_the_older():
    one = dispatching(0)
    first = key_of(sending(one, (A, 1)))
    _, again = fails(one, NOW_MS, (A, 2), server_error=True)
    assert key_of(again) != first
    assert again[0].over == (first,)  # in one write, so that no kill leaves it there
    assert again[0].batches[-1].server_errors == 0


def test_a_batch_in_doubt_goes_again_as_it_was_until_five_5xx_in_a_row():
    one = dispatching(0)
    first = key_of(sending(one, (A, 1)))
    now_ms = NOW_MS
    outcomes = [{"outcome": Outcome.UNKNOWN}, *[{"server_error": True}] * 4]
    for more in [*outcomes, {}, *[{"server_error": True}] * 4]:
        _, again = fails(one, now_ms, (A, 9), **more)
        assert key_of(again) == first
        assert content(again) == {A: 1}
    effects, again = fails(one, now_ms, (A, 9), server_error=True)
    assert effects[-1] == Forget(first)
    assert content(again) == {A: 9}


def test_a_restarted_dispatcher_goes_on_counting_the_5xx_of_a_batch_in_doubt():
    one = dispatching(0)
    sending(one, (A, 1))
    fails(one, NOW_MS, (A, 1), outcome=Outcome.UNKNOWN)
    for _ in range(4):
        effects, again = fails(one, NOW_MS, (A, 1), server_error=True)
    ((stored,),) = (effect.batches for effect in effects if isinstance(effect, Store))
    another = dispatching(stored=[stored])
    assert key_of(another.linked(0, NOW_MS)) == key_of(again)
    another.handle(0, [pending((A, 1))], NOW_MS)
    _, again = fails(another, NOW_MS, (A, 1), server_error=True)
    assert key_of(again) != stored.key
    assert content(again) == {A: 1}
