"""A counter's rules: it commits before it answers, and it announces before it answers the dispatcher."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_numbers, unpack_videos
from actors.core.counter.effects import Commit
from actors.core.counter.ledger import TAKEN_MAX, Ledger
from actors.core.counter.rules import (
    BACKLOG_PLAYS,
    COMPANY_MS,
    DISPATCHER,
    RECORD_MS,
    CounterRules,
)
from actors.core.counter.seen_ids import SeenIds
from actors.core.effects import Send
from actors.core.messages import (
    Collect,
    Collected,
    Counted,
    Pending,
    Plays,
    Published,
    Recall,
    Recorded,
    Rejected,
)

V, W = b"v" * 16, b"w" * 16
CONSUMER = "consumer"
NOW_MS = 1_000_000
WALL_NS = NOW_MS * 1_000_000


def counting():
    return CounterRules(Ledger(SeenIds(3_600_000)))


def handle(machine, inbox, now_ms, wall_ns):
    """Hand over messages, as from one consumer and the dispatcher."""
    peers = {Plays: CONSUMER, Rejected: CONSUMER}
    return machine.handle([(peers.get(type(one), DISPATCHER), one) for one in inbox], now_ms, wall_ns)


def plays(number, message_id, *videos):
    return Plays(
        number,
        "a/plays",
        b"".join((message_id + n).to_bytes(8, "big") for n in range(len(videos))),
        b"".join(videos),
        pack_numbers([1] * len(videos)),
    )


def published(batch, video, total):
    return Published([batch], video, pack_numbers([total]))


def kinds(effects):
    return [(effect.peer, type(effect.message)) if isinstance(effect, Send) else Commit for effect in effects]


def test_each_consumer_hears_of_its_own_messages_after_one_commit_of_all():
    """Each numbers its messages from 1: the wrong one would finish plays that are not counted."""
    machine = counting()
    inbox = [
        ("consumer-0", plays(1, 10, V)),
        ("consumer-1", plays(1, 20, W)),
        ("consumer-1", Rejected(2, "a/plays", (30).to_bytes(8, "big"), pack_numbers([1]))),
        ("consumer-0", plays(2, 40, V)),
    ]
    effects = machine.handle(inbox, NOW_MS, WALL_NS)
    answers = [Send("consumer-0", Counted([1, 2])), Send("consumer-1", Counted([1, 2]))]
    assert isinstance(effects[0], Commit)
    assert effects[1:3] == answers
    assert machine.stats().counted == 3
    assert machine.stats().dead_lettered == 1


@pytest.mark.parametrize("together", [False, True])
def test_what_a_killed_consumer_had_in_flight_is_counted_once_when_another_one_gets_it(together):
    machine = counting()
    inboxes = [[("consumer-0", plays(7, 10, V, W))], [("consumer-1", plays(1, 10, V, W))]]
    if together:
        inboxes = [[one for inbox in inboxes for one in inbox]]
    effects = [one for inbox in inboxes for one in machine.handle(inbox, NOW_MS, WALL_NS)]
    assert (machine.stats().counted, machine.stats().redelivered) == (2, 2)
    assert [one for one in effects if isinstance(one, Send) and isinstance(one.message, Counted)] == [
        Send("consumer-0", Counted([7])),
        Send("consumer-1", Counted([1])),
    ]


def test_plays_are_committed_then_answered_then_announced():
    assert kinds(handle(counting(), [plays(1, 10, V)], NOW_MS, WALL_NS)) == [
        Commit,
        (CONSUMER, Counted),
        (DISPATCHER, Pending),
    ]


def test_all_that_arrived_together_is_committed_together_and_answered_together():
    effects = handle(counting(), [plays(4, 10, V), plays(5, 20, W)], NOW_MS, WALL_NS)
    assert kinds(effects) == [Commit, (CONSUMER, Counted), (DISPATCHER, Pending)]
    assert effects[1].message == Counted([4, 5])


def test_a_redelivery_is_answered_though_there_is_nothing_to_commit():
    machine = counting()
    handle(machine, [plays(1, 10, V)], NOW_MS, WALL_NS)
    assert handle(machine, [plays(2, 10, V)], NOW_MS, WALL_NS) == [Send(CONSUMER, Counted([2]))]


def test_dead_letters_are_committed_before_they_are_answered():
    rejected = Rejected(3, "a/plays", bytes(8), bytes(8))
    effects = handle(counting(), [rejected], NOW_MS, WALL_NS)
    assert kinds(effects) == [Commit, (CONSUMER, Counted)]


def test_what_a_batch_takes_is_committed_before_the_batch_hears_of_it():
    machine = counting()
    handle(machine, [plays(1, 10, V)], NOW_MS, WALL_NS)
    assert kinds(handle(machine, [Collect(1, V)], NOW_MS, WALL_NS)) == [Commit, (DISPATCHER, Collected)]


def confirmed():
    """A counter with one play, which the client has confirmed."""
    machine = counting()
    handle(machine, [plays(1, 10, V)], NOW_MS, WALL_NS)
    handle(machine, [Collect(1, V)], NOW_MS, WALL_NS)
    assert handle(machine, [published("b", V, 1)], NOW_MS, WALL_NS) == []
    return machine


def test_the_confirmed_totals_are_committed_soon_and_only_then_recorded_is_said():
    machine = confirmed()
    assert machine.wakeup_ms() == NOW_MS + RECORD_MS
    assert handle(machine, [], NOW_MS + RECORD_MS - 1, WALL_NS) == []
    effects = handle(machine, [], NOW_MS + RECORD_MS, WALL_NS)
    assert kinds(effects) == [Commit, (DISPATCHER, Recorded)]
    [(_, account)] = effects[0].changes.accounts.items()
    assert (account.total, account.published) == (1, 1)
    assert machine.wakeup_ms() is None
    again_ms = NOW_MS + 2 * RECORD_MS
    handle(machine, [published("b", V, 1)], again_ms - RECORD_MS, WALL_NS)
    assert handle(machine, [], again_ms, WALL_NS) == [Send(DISPATCHER, Recorded(["b"], 3))]


def test_the_confirmed_totals_are_committed_with_the_next_plays():
    effects = handle(confirmed(), [plays(2, 20, W)], NOW_MS + 1, WALL_NS)
    assert kinds(effects) == [
        Commit,
        (CONSUMER, Counted),
        (DISPATCHER, Pending),
        (DISPATCHER, Recorded),
    ]
    assert dict(effects[0].changes.accounts.items())[V].published == 1


def test_what_the_client_has_is_heard_before_the_plays_that_came_with_it():
    machine = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=4, deadline_ms=60_000)
    announced(machine, plays(1, 10, V))
    facts, taken = announced(machine, plays(2, 20, V), published("b", V, 1))
    assert (facts, taken) == ({V: [2, 2]}, {V: 2})
    assert handle(machine, [published("c", V, 2)], NOW_MS, WALL_NS) == []
    facts, taken = announced(machine, plays(3, 30, V))
    assert (facts, taken) == ({V: [3, 3]}, {V: 3})


def test_confirmed_totals_wait_no_longer_for_the_ones_that_come_after_them():
    machine = confirmed()
    assert handle(machine, [published("c", V, 1)], NOW_MS + RECORD_MS - 1, WALL_NS) == []
    assert machine.wakeup_ms() == NOW_MS + RECORD_MS
    effects = handle(machine, [], NOW_MS + RECORD_MS, WALL_NS)
    assert effects[-1] == Send(DISPATCHER, Recorded(["b", "c"], 3))


@pytest.mark.parametrize("after", [Collect(2, b""), Collect(2, V), Recall()])
def test_no_question_overtakes_what_the_client_has(after):
    effects = handle(confirmed(), [after], NOW_MS + 1, WALL_NS)
    assert not said_videos(one for one in effects if isinstance(one, Send))
    assert all(one.message.videos == b"" for one in effects if is_collected(one))
    assert effects[-1] == Send(DISPATCHER, Recorded(["b"], 3))


def announced(machine, *inbox):
    """What a counter announces of V and W, as {video: (ordinal, total)}, and what the commit before has."""
    effects = handle(machine, list(inbox), NOW_MS, WALL_NS)
    pending = [effect.message for effect in effects if isinstance(getattr(effect, "message", 0), Pending)]
    facts = {}
    for one in pending:
        ordinals = unpack_numbers(one.ordinals)
        totals = unpack_numbers(one.totals or bytes(len(one.ordinals)))
        facts |= {
            video: pair for video, *pair in zip(unpack_videos(one.videos), ordinals, totals, strict=True)
        }
    return facts, {video: account.taken for video, account in effects[0].changes.accounts.items()}


def test_a_quiet_video_is_announced_with_its_total_which_is_committed_as_taken():
    one = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=4, deadline_ms=60_000)
    facts, taken = announced(one, plays(1, 10, V, W, V), plays(2, 20, W, W, W))
    assert facts == {V: [1, 2], W: [1, 0]}  # W has too many plays
    assert taken == {V: 2, W: 0}
    facts, _ = announced(one, plays(3, 30, V))  # the dispatcher has to ask whether it was in time
    assert facts == {V: [3, 0]}


def test_few_videos_are_taken_while_the_dispatcher_sends_nothing():
    one = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=3, deadline_ms=60_000)
    videos = [number.to_bytes(16, "big") for number in range(TAKEN_MAX + 9)]
    totals = [
        announced(one, plays(place, 100 * place, video))[0][video][1] for place, video in enumerate(videos)
    ]
    assert totals == [1] * TAKEN_MAX + [0] * 9


def test_with_every_play_the_dispatcher_asks_for_each_total():
    ledger = Ledger(SeenIds(3_600_000), steps_below=3)
    facts, taken = announced(CounterRules(ledger, at_once_below=3), plays(1, 10, V, V))
    assert (facts, taken) == ({V: [1, 0]}, {V: 0})


def test_what_is_pending_is_said_before_recorded():
    """A draining dispatcher ends when it hears `Recorded` and knows of no pending video."""
    machine = counting()
    handle(machine, [plays(1, 10, V)], NOW_MS, WALL_NS)
    handle(machine, [Collect(1, V)], NOW_MS, WALL_NS)
    handle(machine, [plays(2, 20, V)], NOW_MS, WALL_NS)
    effects = handle(machine, [published("b", V, 1)], NOW_MS, WALL_NS)
    effects += handle(machine, [], NOW_MS + RECORD_MS, WALL_NS)
    assert kinds(effects) == [Commit, (DISPATCHER, Pending), (DISPATCHER, Recorded)]


def test_what_is_pending_is_said_before_the_answer_to_a_collect_that_came_with_it():
    effects = handle(counting(), [plays(1, 10, V), Collect(1, b"")], NOW_MS, WALL_NS)
    assert kinds(effects) == [
        Commit,
        (CONSUMER, Counted),
        (DISPATCHER, Pending),
        (DISPATCHER, Collected),
    ]


def test_a_recall_is_answered_with_all_that_is_pending():
    machine = counting()
    handle(machine, [plays(1, 10, V, W)], NOW_MS, WALL_NS)
    (effect,) = handle(machine, [Recall()], NOW_MS, WALL_NS)
    assert sorted([effect.message.videos[:16], effect.message.videos[16:]]) == [V, W]
    assert handle(counting(), [Recall()], NOW_MS, WALL_NS) == []


class Piecemeal(CounterRules):
    """Recalls one video at a time."""

    recall_videos = 1


def recalling(videos):
    """Rules in the middle of a recall, after its first video; the effects that had it."""
    machine = Piecemeal(Ledger(SeenIds(3_600_000)))
    handle(machine, [plays(1, 10, *videos)], NOW_MS, WALL_NS)
    return machine, handle(machine, [Recall()], NOW_MS, WALL_NS)


def said_videos(effects):
    return [one.message.videos for one in effects if isinstance(one.message, Pending)]


def test_a_recall_goes_on_piece_by_piece_and_plays_are_counted_in_between():
    videos = [bytes([number]) * 16 for number in range(1, 6)]
    machine, effects = recalling(videos)
    found = said_videos(effects)
    while machine.wakeup_ms() is not None and machine.wakeup_ms() <= NOW_MS:
        assert len(found) < 6
        found += said_videos(handle(machine, [], NOW_MS, WALL_NS))
        if len(found) == 3:
            new = handle(
                machine, [plays(2, 20, W), published("b", videos[3], 1)], NOW_MS + RECORD_MS, WALL_NS
            )
            assert (CONSUMER, Counted) in kinds(new)
            said = said_videos(one for one in new if isinstance(one, Send))
            assert said == [W, videos[4]], "the fourth is published"
            found += said
    assert found == [*videos[:3], W, videos[4], W]


def test_a_drain_hears_that_a_recall_goes_on_and_of_everything_before_its_last_answer():
    videos = [bytes([number]) * 16 for number in range(1, 6)]
    machine, effects = recalling(videos)
    found, number = said_videos(effects), 7
    while True:
        effects = handle(machine, [Collect(number, b"")], NOW_MS, WALL_NS)
        assert len(said_videos(effects)) <= 2, "a piece of its own, and one of the answer"
        [answer] = [one.message for one in effects if isinstance(one.message, Collected)]
        if not answer.recalls:
            assert kinds(effects)[-1] == (DISPATCHER, Collected)
        found += said_videos(effects)
        if not answer.recalls:
            break
        number += 1
    assert found == videos
    assert machine.wakeup_ms() is None


def test_a_question_about_videos_is_answered_in_the_middle_of_a_recall():
    videos = [bytes([number]) * 16 for number in range(1, 6)]
    machine, _ = recalling(videos)
    effects = handle(machine, [Collect(7, videos[4])], NOW_MS, WALL_NS)
    [answer] = [
        one.message for one in effects if isinstance(one, Send) and isinstance(one.message, Collected)
    ]
    assert answer.videos == videos[4] and not answer.recalls


def test_a_dispatcher_that_asks_again_in_the_middle_hears_of_everything():
    videos = [bytes([number]) * 16 for number in range(1, 4)]
    machine, _ = recalling(videos)
    found = said_videos(handle(machine, [Recall()], NOW_MS, WALL_NS))
    while machine.wakeup_ms() is not None:
        found += said_videos(handle(machine, [], NOW_MS, WALL_NS))
    assert found == videos


def test_a_recall_after_published_does_not_say_what_was_published():
    machine = counting()
    handle(machine, [plays(1, 10, V)], NOW_MS, WALL_NS)
    effects = handle(machine, [published("b", V, 1), Recall()], NOW_MS, WALL_NS)
    effects += handle(machine, [], NOW_MS + RECORD_MS, WALL_NS)
    assert kinds(effects) == [Commit, (DISPATCHER, Recorded)]


def test_a_message_of_another_mailbox_is_a_bug_and_not_passed_over():
    with pytest.raises(AssertionError, match="does not understand"):
        handle(counting(), [Counted([1])], NOW_MS, WALL_NS)


def test_the_figures_are_the_ledgers():
    machine = counting()
    handle(
        machine,
        [plays(1, 10, V, W), plays(2, 10, V), Rejected(3, "a/p", bytes(8), bytes(8))],
        NOW_MS,
        WALL_NS,
    )
    handle(machine, [published("b", W, 1)], NOW_MS, WALL_NS)
    handle(machine, [], NOW_MS + RECORD_MS, WALL_NS)
    figures = machine.stats()
    assert (figures.counted, figures.redelivered, figures.dead_lettered) == (2, 1, 1)
    assert (figures.videos, figures.pending_videos) == (2, 1)


messages = st.one_of(
    st.builds(plays, st.integers(1, 99), st.integers(1, 8), st.sampled_from((V, W))),
    st.builds(Rejected, st.integers(1, 99), st.just("a/plays"), st.just(bytes(8)), st.just(bytes(8))),
    st.builds(Collect, st.integers(1, 9), st.sampled_from((b"", V, V + W))),
    st.builds(published, st.just("b"), st.sampled_from((V, W)), st.integers(1, 5)),
    st.just(Recall()),
)


@settings(deadline=None)
@given(st.lists(st.lists(messages, min_size=1, max_size=5), max_size=8))
def test_whatever_comes_one_commit_stands_before_all_answers_and_every_question_is_answered(reads):
    machine = counting()
    recorded = []
    for number, inbox in enumerate([*reads, []]):
        effects = handle(machine, inbox, NOW_MS + number * RECORD_MS, WALL_NS)
        assert sum(isinstance(effect, Commit) for effect in effects) <= 1
        assert not any(isinstance(effect, Commit) for effect in effects[1:])
        said = [effect.message for effect in effects if isinstance(effect, Send)]
        counted = [n for one in said if isinstance(one, Counted) for n in one.numbers]
        asked = [one for one in inbox if isinstance(one, Plays | Rejected)]
        assert counted == [one.number for one in asked]
        collected = [one.number for one in said if isinstance(one, Collected)]
        assert collected == [one.number for one in inbox if isinstance(one, Collect)]
        recorded += [key for one in said if isinstance(one, Recorded) for key in one.batches]
    told = [one for inbox in reads for one in inbox if isinstance(one, Published)]
    assert recorded == [key for one in told for key in one.batches]


def asked_for(number, *videos):
    return Collect(number, b"".join(videos))


def test_in_a_backlog_a_question_is_answered_in_the_commit_of_the_next_plays():
    machine = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=3, deadline_ms=60_000)
    handle(machine, [plays(1, 0, *[V] * BACKLOG_PLAYS)], NOW_MS, WALL_NS)
    assert handle(machine, [asked_for(1, V)], NOW_MS + 1, WALL_NS) == []
    assert machine.wakeup_ms() <= NOW_MS + COMPANY_MS
    effects = handle(machine, [plays(2, BACKLOG_PLAYS, *[W] * BACKLOG_PLAYS)], NOW_MS + 2, WALL_NS)
    assert sum(isinstance(one, Commit) for one in effects) == 1
    assert [one.message.number for one in effects if is_collected(one)] == [1]


@pytest.mark.parametrize("why", ["no plays come", "who asked is gone"])
def test_a_question_waits_for_plays_no_longer_than_it_is_of_use(why):
    machine = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=3, deadline_ms=60_000)
    handle(machine, [plays(1, 0, *[V] * BACKLOG_PLAYS)], NOW_MS, WALL_NS)
    assert handle(machine, [asked_for(1, V)], NOW_MS + 1, WALL_NS) == []
    if why == "who asked is gone":
        machine.hurry()
    later_ms = NOW_MS + (COMPANY_MS if why == "no plays come" else 1)
    assert [one.message.number for one in handle(machine, [], later_ms, WALL_NS) if is_collected(one)] == [1]


def is_collected(effect):
    return isinstance(effect, Send) and isinstance(effect.message, Collected)


def holding():
    """A counter that announces totals below 3 at once, others every 20 ms; V has 5 plays, and W has 1."""
    one = CounterRules(Ledger(SeenIds(3_600_000)), at_once_below=3, deadline_ms=60_000)
    handle(one, [plays(1, 10, *[V] * 5, W)], NOW_MS - 1, WALL_NS)
    handle(one, [published("x", V, 5), published("x", W, 1)], NOW_MS - 1, WALL_NS)
    handle(one, [plays(8, 80, b"x" * 16)], NOW_MS, WALL_NS)
    return one


def said(effects):
    messages = [one.message for one in effects if isinstance(one, Send)]
    return [one.videos for one in messages if isinstance(one, Pending)]


def test_what_can_wait_is_said_soon_after_what_was_said_before():
    one = holding()
    assert said(handle(one, [plays(2, 20, V)], NOW_MS + 100, WALL_NS)) == [V]
    handle(one, [published("x", V, 6)], NOW_MS + 110 - RECORD_MS, WALL_NS)
    assert kinds(handle(one, [], NOW_MS + 110, WALL_NS)) == [Commit, (DISPATCHER, Recorded)]
    assert kinds(handle(one, [plays(3, 30, V)], NOW_MS + 119, WALL_NS)) == [Commit, (CONSUMER, Counted)]
    assert one.wakeup_ms() == NOW_MS + 150
    assert said(handle(one, [], NOW_MS + 150, WALL_NS)) == [V]
    assert one.wakeup_ms() is None
    assert handle(one, [], NOW_MS + 140, WALL_NS) == []


def test_a_total_at_the_bound_can_wait():
    one = holding()
    assert said(handle(one, [plays(2, 20, W)], NOW_MS + 10, WALL_NS)) == [W]  # its second play
    handle(one, [published("x", W, 2)], NOW_MS + 11, WALL_NS)
    other = b"y" * 16
    assert said(handle(one, [plays(9, 90, other)], NOW_MS + 12, WALL_NS)) == [other]
    assert said(handle(one, [plays(3, 30, W)], NOW_MS + 13, WALL_NS)) == []


def test_what_comes_when_the_wait_is_over_is_said_at_once():
    one = holding()
    assert said(handle(one, [plays(2, 20, V)], NOW_MS + 100, WALL_NS)) == [V]
    handle(one, [published("x", V, 6)], NOW_MS + 101, WALL_NS)
    assert said(handle(one, [plays(3, 30, V)], NOW_MS + 150, WALL_NS)) == [V]


def test_what_is_to_be_published_on_receipt_is_said_at_once_and_takes_along_what_is_held():
    one = holding()
    assert said(handle(one, [plays(2, 20, V)], NOW_MS + 10, WALL_NS)) == []
    assert said(handle(one, [plays(3, 30, W)], NOW_MS + 11, WALL_NS)) == [V + W]


@pytest.mark.parametrize("question", [Collect(1, b""), Recall()])
def test_who_is_answered_has_heard_what_was_held(question):
    one = holding()
    assert said(handle(one, [plays(2, 20, V)], NOW_MS + 10, WALL_NS)) == []
    assert said(handle(one, [question], NOW_MS + 11, WALL_NS))[0] == V
    assert one.wakeup_ms() is None


def test_arrivals_are_moved_back_with_the_wall_clock_however_long_the_counter_has_run():
    one, minute_ms, set_back_ms = counting(), 60_000, 100_000
    play = structs.replace(plays(1, 10, V), arrived_ns=pack_numbers([WALL_NS]))
    handle(one, [play], NOW_MS, WALL_NS)
    wall_ns = WALL_NS + (minute_ms - set_back_ms) * 1_000_000
    effects = handle(one, [Recall()], NOW_MS + minute_ms, wall_ns)
    [recalled] = [effect.message for effect in effects if isinstance(effect.message, Pending)]
    assert list(unpack_numbers(recalled.arrived_ns)) == [WALL_NS - set_back_ms * 1_000_000]
