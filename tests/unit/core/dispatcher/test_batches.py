"""The states of a batch: an event that the table has for a state is allowed, every other event is refused."""

import pytest

from actors.core.dispatcher.batches import NEXT, OVER, Batches, BatchEvent, BatchState, Collection, HeldBatch
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger

BATCH = make_batch("service", Trigger.REALTIME, [Entry(b"v" * 16, 1, 1)])


def held_in(state):
    batches = Batches()
    collection = Collection(1, Trigger.REALTIME, {}, set(), 200)
    return batches, batches.begin(HeldBatch(collection, 100, state, BATCH))


@pytest.mark.parametrize("event", BatchEvent)
@pytest.mark.parametrize("state", [one for one in BatchState if one not in OVER])
def test_what_the_table_has_happens_and_everything_else_is_refused(state, event):
    batches, held = held_in(state)
    if (state, event) in NEXT:
        assert batches.move(held, event) is held.state is NEXT[state, event]
    else:
        with pytest.raises(AssertionError, match=f"{event} can't happen to a batch that is {state}"):
            batches.move(held, event)
        assert held.state is state


def test_every_state_is_reached_and_left_but_for_those_that_are_over():
    assert {state for state, _ in NEXT} == set(BatchState) - OVER
    assert set(NEXT.values()) == set(BatchState) - {BatchState.ASKED}


@pytest.mark.parametrize(("state", "event"), [pair for pair, after in NEXT.items() if after in OVER])
def test_a_batch_that_is_over_is_held_no_more(state, event):
    batches, held = held_in(state)
    batches.move(held, event)
    assert list(batches) == []


def test_a_batch_is_found_by_its_state_and_its_key():
    batches, held = held_in(BatchState.SENT)
    other = batches.begin(HeldBatch(held.collection, 100))
    assert set(batches) == {held, other}
    assert batches.within(BatchState.SENT, BatchState.ACCEPTED) == [held]
    assert batches.within(BatchState.ASKED) == [other]
    assert batches.find(BATCH.key, BatchState.SENT, BatchState.SENT_AGAIN) is held
    assert batches.find(BATCH.key, BatchState.ACCEPTED) is None
    assert batches.find("another key", BatchState.SENT) is None


def test_a_batch_that_is_asked_for_has_no_content_yet():
    _, held = held_in(BatchState.SENT)
    assert held.content == BATCH
    with pytest.raises(AssertionError, match="a batch that is asked for has no content"):
        _ = HeldBatch(held.collection, 100).content


@pytest.mark.parametrize(("now_ms", "is_expired"), [(100, False), (199, False), (200, True)])
def test_counters_have_their_time(now_ms, is_expired):
    _, held = held_in(BatchState.ASKED)
    assert held.collection.is_expired(now_ms) is is_expired
