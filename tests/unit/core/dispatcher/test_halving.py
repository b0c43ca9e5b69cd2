"""A client that refuses everything is told apart from one that refuses some videos."""

from actors.core.dispatcher.halving import LONE, SEVERAL, Halving
from actors.core.dispatcher.outbox import Entry
from actors.core.triggers import Trigger

ENTRIES = [Entry(number.to_bytes(16, "big"), 1, 1) for number in range(4)]


def halved(halving):
    """The halves of a batch that the client refused."""
    assert not halving.refused(None, len(ENTRIES))
    halving.halve(None, Trigger.REALTIME, ENTRIES, (None, None), 0, 0, 0)
    return halving.give_up()


def refusals(halving):
    """Let the client refuse batches and their halves. Returns after how many it refuses everything."""
    for batches in range(1, 100):
        for half in halved(halving):
            halving.refused(half, len(half.entries))
        if halving.refuses_everything:
            return batches
    raise AssertionError("it refuses everything")


def test_a_client_refuses_everything_only_if_it_refuses_both_halves_of_several_batches():
    halving = Halving()
    splits = [halved(halving) for _ in range(SEVERAL)]
    refused = [
        [halving.refused(half, 2) for half, _ in splits],
        [halving.refused(half, 2) for _, half in splits],
    ]
    assert refused == [[False] * SEVERAL, [*[False] * (SEVERAL - 1), True]]


def test_each_time_it_takes_twice_as_many_batches_until_one_of_several_videos_is_taken_as_it_is():
    halving, needed = Halving(), []
    for _ in range(3):
        needed.append(refusals(halving))
        assert halving.accepted(None, 1), "it refused everything before"
        assert not halving.accepted(None, 1), "a video alone says little"
    assert needed == [SEVERAL, 2 * SEVERAL, 4 * SEVERAL]
    halving.accepted(None, 2)
    assert refusals(halving) == SEVERAL


def test_a_half_that_is_taken_is_not_a_batch_of_several_videos_as_it_is():
    halving = Halving()
    refusals(halving)
    halving.accepted(None, 1)
    halving.accepted(halved(halving)[0], 2)
    assert refusals(halving) == 2 * SEVERAL


def test_so_many_videos_that_left_alone_count_as_one_batch():
    halving = Halving()
    refused = [halving.refused(None, 1) for _ in range(LONE * SEVERAL)]
    assert refused == [*[False] * (LONE * SEVERAL - 1), True]
