"""What a look means: `caught_up`, and the reasons why not."""

import msgspec
import pytest

from actors.core.stats import ConsumerStats, CounterStats, DispatcherStats, NsqdStats, PublishStats
from actors.service.progress import GoneLook, Look, NsqdLook, why_not_caught_up
from actors.sources.nsqd_http import QueueStats

NSQD = NsqdStats("a:4150", "a:4151", connected=True, ready_count=10, in_flight=0)
AWAY = NsqdStats("b:4150", "b:4151", connected=False, ready_count=0, in_flight=0)
EMPTY = NsqdLook(NSQD, QueueStats(clients=1))
CONSUMER = ConsumerStats(outstanding=0, connections=1, ready_count=10)
COUNTER = CounterStats(counted=5, redelivered=2, dead_lettered=1, videos=3, pending_videos=0)
DISPATCHER = DispatcherStats(
    **dict.fromkeys(DispatcherStats.__struct_fields__, 0)
    | {"circuit": "closed", "refused_videos": [], "published": PublishStats()}
)
HEARD = {"consumer": CONSUMER, "counter-0": COUNTER, "counter-1": COUNTER, "dispatcher": DISPATCHER}
DONE = Look([EMPTY], 1, HEARD)


def with_queue(**queue):
    return msgspec.structs.replace(DONE, nsqds=[NsqdLook(NSQD, QueueStats(clients=1, **queue))])


def with_figures(child, **figures):
    return msgspec.structs.replace(
        DONE, heard=HEARD | {child: msgspec.structs.replace(HEARD[child], **figures)}
    )


def with_nsqds(*nsqds, connections=1):
    return Look(list(nsqds), connections, HEARD)


def with_gone(*gone):
    return Look([EMPTY], 1, HEARD, gone=list(gone))


def test_when_nothing_is_left_there_is_no_reason():
    assert why_not_caught_up(DONE) == []
    assert (DONE.depth, DONE.others, DONE.knows_queue) == (0, 0, True)


@pytest.mark.parametrize(
    ("look", "reasons"),
    [
        (with_queue(topic_depth=1), ["1 message on nsqd a:4150"]),
        (with_queue(depth=1200), ["1,200 messages on nsqd a:4150"]),
        (with_queue(topic_depth=3, depth=4), ["7 messages on nsqd a:4150"]),
        (with_queue(depth=4, paused=True), ["4 messages on nsqd a:4150 (channel paused)"]),
        (with_queue(topic_depth=4, topic_paused=True), ["4 messages on nsqd a:4150 (topic paused)"]),
        (with_queue(in_flight=2), ["2 messages of nsqd a:4150 not finished"]),
        (with_queue(deferred=1), ["1 message deferred on nsqd a:4150"]),
        (with_figures("consumer", outstanding=1500), ["1,500 messages in flight"]),
        (with_figures("counter-1", pending_videos=1), ["1 video to publish"]),
        (with_figures("counter-0", pending_videos=20), ["20 videos to publish"]),
        (with_figures("dispatcher", in_flight=1), ["a batch is being confirmed"]),
        (Look([EMPTY], 1, HEARD, silent=["counter-0"]), ["counter-0 did not answer"]),
        (with_nsqds(EMPTY, connections=0), ["no nsqd is connected"]),
        (with_nsqds(connections=0), ["no nsqd is connected"]),
        (with_nsqds(EMPTY, NsqdLook(AWAY)), ["nsqd b:4150 is not connected"]),
        (with_nsqds(NsqdLook(NSQD, missed=True)), ["nsqd a:4150 did not answer GET /stats"]),
        (
            with_nsqds(NsqdLook(msgspec.structs.replace(NSQD, is_checked=False), QueueStats())),
            ["the HTTP address of nsqd a:4150 is being checked"],
        ),
        (Look([EMPTY], 1, HEARD, unheard=["c:4161"]), ["nsqlookupd c:4161 does not answer"]),
        (with_gone(GoneLook("b:4150", True)), ["nsqd b:4150 has gone and may hold plays"]),
        (
            with_gone(GoneLook("b:4150", False, QueueStats(depth=2))),
            ["2 messages on nsqd b:4150 (no nsqlookupd names it)"],
        ),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_each_thing_that_is_left_is_a_reason(look, reasons):
    assert why_not_caught_up(look) == reasons


@pytest.mark.parametrize("gone", [GoneLook("b:4150", False), GoneLook("b:4150", True, QueueStats())])
def test_an_nsqd_that_has_gone_and_is_empty_is_no_reason(gone):
    assert why_not_caught_up(with_gone(gone)) == []


def test_where_stats_can_not_be_asked_our_side_alone_decides():
    look = with_nsqds(NsqdLook(NSQD))
    assert (why_not_caught_up(look), look.depth, look.knows_queue) == ([], None, False)


@pytest.mark.parametrize(
    ("nsqds", "knows"),
    [
        ([], False),
        ([EMPTY], True),
        ([NsqdLook(NSQD, missed=True)], True),
        ([EMPTY, NsqdLook(NSQD)], False),
        ([EMPTY, NsqdLook(NSQD, missed=True)], True),
    ],
)
def test_the_queue_is_known_if_every_nsqd_can_be_asked(nsqds, knows):
    assert with_nsqds(*nsqds).knows_queue is knows


def test_depth_is_the_sum_of_topic_and_channel_of_the_nsqds_that_answered():
    first = NsqdLook(NSQD, QueueStats(topic_depth=1, depth=20, in_flight=300, deferred=4000, clients=1))
    second = NsqdLook(NSQD, QueueStats(depth=50_000, clients=1))
    assert [first.depth, second.depth] == [21, 50_000]
    assert with_nsqds(first, second, NsqdLook(NSQD, missed=True)).depth == 50_021


def test_others_on_the_channel_are_the_consumers_that_are_not_ours():
    shared = NsqdLook(NSQD, QueueStats(clients=3))
    foreign = NsqdLook(AWAY, QueueStats(clients=4))
    unknown = NsqdLook(NSQD, QueueStats(clients=0))  # an nsqd that is too old to say so
    assert with_nsqds(shared, foreign, unknown, NsqdLook(NSQD)).others == 2 + 4


PAUSED = {"consuming": True, "publishing": True}


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (with_queue(topic_depth=1), "consuming is paused"),
        (with_nsqds(NsqdLook(NSQD)), "consuming is paused"),
        (with_figures("counter-1", pending_videos=1), "publishing is paused"),
        (with_figures("dispatcher", in_flight=1), "publishing is paused"),
        (with_figures("dispatcher", republishing=1), "publishing is paused"),
        (with_figures("dispatcher", refused=1), "publishing is paused"),
    ],
    ids=["depth", "no depth is known", "pending", "in doubt", "republish", "refused"],
)
def test_a_pause_is_a_reason_if_something_waits_for_its_end(look, reason):
    found = why_not_caught_up(look, PAUSED)
    assert [one for one in found if one.endswith("paused")] == [reason]
    assert reason not in why_not_caught_up(look, dict.fromkeys(PAUSED, False))
    assert why_not_caught_up(DONE, PAUSED) == [], "nothing waits"
