"""A client that refuses some videos, or too wide batches, or everything: what leaves, and when."""

import itertools

import pytest

from actors.core.dispatcher.attempts import Circuit, Outcome
from actors.core.dispatcher.halving import LONE, SEVERAL
from actors.core.dispatcher.outbox import Batch
from actors.core.dispatcher.refused_videos import SHOWN_MAX, RefusedVideos
from actors.core.dispatcher.refusing import CONFLICTS_MAX
from actors.core.dispatcher.rule import Rule
from actors.core.triggers import Trigger
from tests.support.refusing_client import (
    ACCEPTED,
    CONFLICT,
    FORBIDDEN,
    HOUR_MS,
    MINUTE_MS,
    TOO_LARGE,
    UNKNOWN,
    UNPROCESSABLE,
    World,
    videos,
)

TWENTY = videos(20)


def after_twenty(*wrong, **options):
    """A world in which twenty videos left in one batch, and the client refuses these."""
    world = World(**options)
    world.refuses(*wrong)
    world.play(*TWENTY)
    world.run(5000)
    assert world.attempts[0].width == 20
    return world


# Halves


@pytest.mark.parametrize("in_flight_max", [1, 8])
@pytest.mark.parametrize("position", range(20))
def test_one_refused_video_among_twenty_costs_ten_publishes_at_most(position, in_flight_max):
    wrong = TWENTY[position]
    world = after_twenty(wrong, in_flight_max=in_flight_max)
    assert len(world.attempts) <= 1 + 10
    assert world.refused_now() == [wrong]
    assert world.totals == dict.fromkeys(set(TWENTY) - {wrong}, 1)
    assert not world.batches and list(world.refused) == [wrong]
    assert world.rules.attempts.circuit is Circuit.CLOSED


def test_two_refused_videos_among_twenty_cost_eighteen_publishes_at_most():
    for pair in itertools.combinations(TWENTY, 2):
        world = after_twenty(*pair)
        assert len(world.attempts) <= 1 + 18
        assert sorted(world.refused_now()) == sorted(pair)
        assert world.totals == dict.fromkeys(set(TWENTY) - set(pair), 1)


def test_a_client_that_takes_everything_gets_no_publish_more():
    world = after_twenty()
    assert len(world.attempts) == 1


def test_a_refused_video_holds_up_no_other_and_is_in_no_other_batch():
    world = after_twenty(TWENTY[3])
    before = len(world.attempts)
    world.play(*TWENTY)
    world.run(1000)
    (after,) = world.attempts[before:]
    assert sorted(after.batch.videos) == sorted(set(TWENTY) - {TWENTY[3]})


def test_a_pause_that_the_client_asks_for_a_refused_video_holds_up_no_other():
    wrong = TWENTY[3]
    world = World(retry_after_max_ms=MINUTE_MS)
    world.refuses(wrong, answer=UNPROCESSABLE._replace(retry_after_ms=MINUTE_MS))
    world.play(*TWENTY)
    for total in range(1, 60):  # the refused video is tried again meanwhile
        world.run(5000)
        assert world.totals == dict.fromkeys(set(TWENTY) - {wrong}, total)
        world.play(*TWENTY)
    assert world.rules.attempts.circuit is Circuit.CLOSED


def test_hot_videos_are_in_time_while_another_is_searched_for_and_tried_again():
    hot, wrong = videos(40)[20:], TWENTY[0]
    world = World(latency_ms=80, rule=Rule(deadline_ms=2000))
    world.hot(*hot)
    world.refuses(wrong)
    for _ in range(0, 60_000, 1700):
        world.play(*hot)
        world.run(1650)
        world.play(*TWENTY)  # halves and tries come just when deadlines do
        world.run(50)
    world.run(5000)
    stats = world.rules.stats()
    assert stats.late == 0
    assert world.refused[wrong].attempts > 2
    assert all(world.totals[video] == world.counted(video) for video in [*hot, *TWENTY[1:]])


def test_no_deadline_waits_for_a_try():
    hot = videos(40)[20:]
    for ahead_ms in range(0, 2000, 100):
        world = World(latency_ms=400, rule=Rule(deadline_ms=2000))
        world.hot(*hot)
        world.refuses(TWENTY[0])
        world.play(*TWENTY)
        world.run(9000)
        next_ms = world.rules.refused.soonest_ms(world.now_ms)
        world.run(next_ms - world.now_ms - ahead_ms)
        latest_ms = world.now_ms + 2000
        world.play(*hot)
        world.run(10_000)
        assert world.totals[hot[0]] == 101
        assert max(world.told_ms[video] for video in hot) + 400 <= latest_ms
        assert world.refused[TWENTY[0]].attempts > 1


@pytest.mark.parametrize("in_flight_max", [1, 8])
def test_a_few_refused_videos_that_are_played_one_after_the_other_hold_up_no_other(in_flight_max):
    wrong, right = videos(40)[:20], videos(40)[20:]
    world = World(in_flight_max=in_flight_max)
    world.refuses(*wrong)
    for first in range(0, 20, 10):
        for video in wrong[first : first + 10]:
            world.play(video)
            world.run(500)
        assert world.rules.attempts.circuit is Circuit.CLOSED
        world.play(*right)
        world.run(100)
        assert world.totals == dict.fromkeys(right, first // 10 + 1)


def test_a_client_that_refuses_whatever_is_played_alone_is_found_too():
    world = World()
    world.answer = lambda batch: UNPROCESSABLE
    for video in videos(100):
        world.play(video)
        world.run(500)
    assert world.rules.attempts.circuit is Circuit.OPEN
    assert sum(not one.unsure for one in world.refused.values()) < LONE * SEVERAL
    world.refuses()
    world.run(2 * MINUTE_MS)
    assert world.totals == dict.fromkeys(videos(100), 1)


# Tries


@pytest.mark.parametrize("in_flight_max", [1, 8])
def test_a_thousand_refused_videos_hold_up_no_other(in_flight_max):
    wrong, right = videos(1020)[20:], videos(20)
    world = World(latency_ms=50, in_flight_max=in_flight_max)
    world.refuses(*wrong)
    for start in range(0, len(wrong), 4):
        world.play(*wrong[start : start + 4], *right[:10])
        world.run(2000)
    world.run(5 * MINUTE_MS)
    assert sorted(world.refused) == wrong
    before = len(world.attempts)
    for total in range(1, 99):
        world.play(right[10])
        world.run(50)
        world.play(right[11])  # so that something is due at each moment
        world.run(100)
        assert world.totals[right[10]] == world.totals[right[11]] == total
    tries = [one for one in world.attempts[before:] if one.batch.videos[0] not in right]
    assert tries and all(one.width == 1 for one in tries)


def test_what_is_asked_of_thousands_of_refused_videos_does_not_walk_all_of_them():
    refused = RefusedVideos()
    for video in videos(10_000):
        refused.refuse(video, 1, "no", 0, 0, again=False, unsure=False)
    refused.soonest_ms(0)
    asked = []
    first = refused.due(20_000, lambda video: not asked.append(video))
    assert [first.video] == asked
    for now_ms in range(20_000, 25_000):
        video = refused.due(now_ms, lambda video: True).video
        refused.refuse(video, 1, "no", now_ms, 0, again=False, unsure=False)
        assert refused.soonest_ms(now_ms) == 10_000
    for _ in range(20):
        refused.try_soon(30_000, lambda one: True)
    assert len(refused._heap) <= 50_000, "what is over is dropped"
    assert refused.soonest_ms(30_000) == 30_000


def test_a_refused_video_is_tried_ever_more_seldom_up_to_hourly():
    world = after_twenty(TWENTY[0])
    before = len(world.attempts)
    world.run(24 * HOUR_MS)
    tries = world.attempts[before:]
    assert all(one.batch.videos == [TWENTY[0]] for one in tries)
    pauses = [b.at_ms - a.at_ms for a, b in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert HOUR_MS <= pauses[-1] < HOUR_MS + 1000
    assert 24 <= len(tries) <= 34


def test_with_its_next_play_it_is_tried_sooner_but_at_most_once_a_minute():
    world = after_twenty(TWENTY[0])
    world.run(6 * HOUR_MS)
    world.run(HOUR_MS // 2)  # between two tries
    before = len(world.attempts)
    world.play(TWENTY[0])
    world.run(100)
    assert len(world.attempts) == before + 1
    for _ in range(600):
        world.play(TWENTY[0])
        world.run(1000)
    tries = [one.at_ms for one in world.attempts[before:]]
    assert 10 <= len(tries) <= 11
    assert min(b - a for a, b in itertools.pairwise(tries)) >= MINUTE_MS


def test_a_refused_video_that_is_taken_at_last_is_told_with_its_newest_total_and_is_normal_again():
    world = after_twenty(TWENTY[0])
    world.play(TWENTY[0], count=6)
    world.run(1000)
    world.refuses()
    world.run(2 * MINUTE_MS)
    assert world.totals[TWENTY[0]] == 7
    assert world.refused == {} and world.refused_now() == []
    before = len(world.attempts)
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts[before:]] == [20]
    assert world.totals == dict.fromkeys(TWENTY, 2) | {TWENTY[0]: 8}


def test_each_try_has_a_key_of_its_own():
    # A client may keep its first answer to a key.
    world = after_twenty(TWENTY[0])
    world.run(HOUR_MS)
    keys = [one.batch.key for one in world.attempts if one.width == 1]
    assert len(keys) == len(set(keys)) > 5


def test_an_outage_changes_nothing_for_what_is_refused():
    world = after_twenty(TWENTY[0])
    answer, world.answer = world.answer, lambda batch: FORBIDDEN
    world.run(HOUR_MS)
    assert world.refused[TWENTY[0]].attempts < 12
    world.answer = answer
    world.play(*TWENTY)
    world.run(MINUTE_MS)
    assert world.totals == dict.fromkeys(TWENTY[1:], 2)
    assert world.refused_now() == [TWENTY[0]]


# A restart


def test_a_restart_remembers_who_is_refused_with_the_answer_and_the_attempts():
    world = after_twenty(TWENTY[0])
    world.run(MINUTE_MS)
    (before,) = world.rules.stats(now_ms=world.now_ms).refused_videos
    attempts = len(world.attempts)
    world.start()
    world.play(*TWENTY)
    world.run(1000)
    (after,) = world.rules.stats(now_ms=world.now_ms).refused_videos
    assert (after.video, after.answer, after.attempts) == (TWENTY[0], "422 No: a video", before.attempts)
    assert [one.width for one in world.attempts[attempts:]] == [19]
    world.refuses()
    world.run(2 * MINUTE_MS)
    assert world.totals == dict.fromkeys(TWENTY, 2)
    assert world.refused == {}


def test_a_kill_while_the_video_is_searched_for_loses_nothing():
    for steps in range(12):
        world = World()
        world.refuses(TWENTY[7])
        world.play(*TWENTY)
        world.run(10 * steps + 5)
        world.start()
        world.run(MINUTE_MS)
        assert world.totals == dict.fromkeys(set(TWENTY) - {TWENTY[7]}, 1)
        assert world.refused_now() == [TWENTY[7]]


def test_a_refused_video_whose_total_the_client_has_is_refused_no_more():
    world = after_twenty(TWENTY[0])
    world.refuses()
    stored = dict(world.refused)
    world.run(2 * MINUTE_MS)
    world.refused = stored  # as if it had been restored from a copy
    world.start()
    attempts = len(world.attempts)
    world.run(2 * MINUTE_MS)
    assert world.refused == {} and len(world.attempts) == attempts


# Everything


@pytest.mark.parametrize("in_flight_max", [1, 8])
def test_a_client_that_refuses_whatever_is_in_a_batch_opens_the_circuit(
    in_flight_max,
):
    world = World(in_flight_max=in_flight_max)
    world.answer = lambda batch: UNPROCESSABLE
    world.play(*videos(100))
    world.run(500)
    assert world.rules.attempts.circuit is Circuit.OPEN
    assert len(world.attempts) <= 2 * SEVERAL + 1 + 2 * in_flight_max
    assert not world.rules.halving.parts
    before = len(world.attempts)
    world.run(10 * MINUTE_MS)
    assert len(world.attempts) - before <= 140  # the back-off's probes
    world.refuses()
    world.run(2 * MINUTE_MS)
    assert world.totals == dict.fromkeys(videos(100), 1)
    assert world.refused == {} and world.rules.attempts.circuit is Circuit.CLOSED


def test_a_refusal_about_the_endpoint_halves_nothing_and_opens_the_circuit_at_once():
    world = World(in_flight_max=8)
    world.answer = lambda batch: FORBIDDEN
    world.play(*videos(60))
    world.run(100)
    assert world.rules.attempts.circuit is Circuit.OPEN
    world.run(MINUTE_MS)
    widths = [one.width for one in world.attempts]
    assert set(widths) == {20, 1}  # a probe is of one video, as it may be about that
    assert widths == sorted(widths, reverse=True)
    assert world.refused == {}
    world.refuses()
    world.run(MINUTE_MS)
    assert world.totals == dict.fromkeys(videos(60), 1)


@pytest.mark.parametrize("share", [2, 3])
def test_a_client_that_refuses_many_videos_gets_all_others(share):
    wrong = videos(300)[::share]
    world = World()
    world.refuses(*wrong)
    for _ in range(3):
        world.play(*videos(300))
        world.run(10 * MINUTE_MS)
    right = set(videos(300)) - set(wrong)
    assert {video: world.totals.get(video) for video in right} == dict.fromkeys(right, 3)
    assert sorted(world.refused) == sorted(wrong)
    assert len(world.rules.stats().refused_videos) == min(SHOWN_MAX, len(wrong))
    assert world.rules.stats().refused == len(wrong)


def test_what_is_known_of_refused_videos_has_a_bound():
    many = videos(50 + 30)
    world = World(latency_ms=1)
    world.rules.refused = RefusedVideos(videos_max=50)
    world.refuses(*many[:-10])
    world.play(*many)
    world.run(HOUR_MS)
    assert len(world.refused) == len(world.rules.refused) == 50
    assert {world.totals.get(video) for video in many[-10:]} == {1}
    world.refuses()
    world.run(2 * HOUR_MS)
    assert world.totals == dict.fromkeys(many, 1)


def test_one_refused_video_more_than_are_kept_is_a_client_that_refuses_everything():
    wrong, right = TWENTY[:5], TWENTY[5:10]
    world = World()
    world.rules.refused = RefusedVideos(videos_max=4)
    world.refuses(*wrong)
    circuits = []
    for pair in zip(wrong, right, strict=True):
        for video in pair:
            world.play(video)
            world.run(50)
            circuits.append(world.rules.attempts.circuit)
    assert circuits[::2] == [*[Circuit.CLOSED] * 4, Circuit.OPEN]


# The width


def narrow(most):
    """A client that takes so many videos in a batch at most."""
    return lambda batch: TOO_LARGE if len(batch.entries) > most else ACCEPTED


def test_a_413_makes_batches_narrower_and_a_wider_one_is_tried_an_hour_later():
    world = World()
    world.answer = narrow(12)
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts] == [20, 10, 10]
    for _ in range(3):
        world.play(*TWENTY)
        world.run(1000)
    assert {one.width for one in world.attempts[3:]} == {10}
    world.run(HOUR_MS - 10_000)
    before = len(world.attempts)
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts[before:]] == [10, 10]
    world.run(10_000)
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts[before + 2 :]] == [20, 10, 10]
    assert world.totals == dict.fromkeys(TWENTY, 6)
    assert world.refused == {}


def test_batches_are_wide_again_once_the_client_takes_them():
    world = World()
    world.answer = narrow(3)
    world.play(*TWENTY)
    world.run(1000)
    assert world.rules.stats().width == 3
    world.answer = narrow(20)
    for _ in range(4):
        world.run(HOUR_MS)
        world.play(*TWENTY)
        world.run(1000)
    assert world.attempts[-1].width == 20
    assert world.rules.stats().width == 0


def test_a_restart_remembers_the_width():
    world = World()
    world.answer = narrow(5)
    world.play(*TWENTY)
    world.run(1000)
    before = len(world.attempts)
    world.start()
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts[before:]] == [5, 5, 5, 5]


def test_a_single_video_that_is_too_large_alone_is_a_refused_video():
    world = World()
    world.refuses(TWENTY[4], answer=TOO_LARGE)
    world.play(*TWENTY)
    world.run(1000)
    assert world.refused_now() == [TWENTY[4]]
    assert world.totals == dict.fromkeys(set(TWENTY) - {TWENTY[4]}, 1)


# Doubt


def test_a_409_to_a_batch_without_an_answer_sends_it_again_as_it_was_and_others_go_on():
    world = World()
    answers = iter([UNKNOWN, CONFLICT, CONFLICT, CONFLICT])
    first = []

    def answer(batch: Batch):
        first[:] = first or [batch.key]
        return next(answers, ACCEPTED) if batch.key == first[0] else ACCEPTED

    world.answer = answer
    world.play(*TWENTY)
    world.run(2000)
    world.play(*videos(30)[20:])
    world.run(500)
    assert set(videos(30)[20:]) <= world.totals.keys(), "others do not wait"
    world.run(MINUTE_MS)
    assert {one.batch.key for one in world.attempts if one.width == 20} == set(first)
    assert world.totals == dict.fromkeys(videos(30), 1)


def test_a_409_to_a_first_attempt_is_about_the_content():
    world = World()
    world.refuses(TWENTY[2], answer=CONFLICT)
    world.play(*TWENTY)
    world.run(1000)
    assert world.refused_now() == [TWENTY[2]]


def test_a_client_that_says_for_ever_that_it_is_at_work_does_not_keep_a_batch_for_ever():
    world = World()
    wide = iter([UNKNOWN])
    world.answer = lambda batch: next(wide, CONFLICT) if len(batch.entries) == 20 else ACCEPTED
    world.play(*TWENTY)
    world.run(20 * MINUTE_MS)
    assert [one.width for one in world.attempts[: CONFLICTS_MAX + 2]] == [20] * (CONFLICTS_MAX + 2)
    assert world.totals == dict.fromkeys(TWENTY, 1)


def test_a_batch_without_an_answer_that_is_refused_for_its_content_is_halved():
    world = World()
    unknown = iter([UNKNOWN])
    world.answer = lambda batch: ACCEPTED if TWENTY[0] not in batch.videos else next(unknown, UNPROCESSABLE)
    world.play(*TWENTY)
    world.run(5000)
    assert world.refused_now() == [TWENTY[0]]
    assert world.totals == dict.fromkeys(TWENTY[1:], 1)


# A half that fails for another reason


def test_a_half_that_fails_for_the_moment_goes_again_as_a_half():
    world = World()
    broken = iter([1] * 3)

    def answer(batch: Batch):
        if TWENTY[0] in batch.videos:
            return UNPROCESSABLE
        return FORBIDDEN._replace(about="moment") if next(broken, None) else ACCEPTED

    world.answer = answer
    world.play(*TWENTY)
    world.run(MINUTE_MS // 2)
    assert world.refused_now() == [TWENTY[0]]
    assert world.totals == dict.fromkeys(TWENTY[1:], 1)
    assert sum(one.width == 20 for one in world.attempts) == 1


# Drain


def test_a_drain_does_not_wait_for_what_is_refused():
    world = after_twenty(TWENTY[0])
    world.play(*TWENTY)
    world.do(world.rules.drain(world.now_ms))
    world.run(1000)
    assert world.rules.drained
    assert world.totals == dict.fromkeys(TWENTY[1:], 2)


def test_a_drain_ends_a_search_first():
    world = World()
    world.refuses(TWENTY[0])
    world.play(*TWENTY)
    world.run(15)
    world.do(world.rules.drain(world.now_ms))
    assert not world.rules.drained
    world.run(1000)
    assert world.rules.drained
    assert world.totals == dict.fromkeys(TWENTY[1:], 1)


# Republish


def test_a_republish_that_is_refused_for_one_video_tells_all_others_and_ends():
    world = World()
    world.play(*videos(45))
    world.run(1000)
    wrong, before = videos(45)[30], len(world.attempts)
    world.refuses(wrong)
    world.do(world.rules.request_republish("asked for", b"", world.now_ms))
    world.run(5000)
    told = [one for one in world.attempts[before:] if one.answer is ACCEPTED]
    assert sorted(video for one in told for video in one.batch.videos) == sorted(set(videos(45)) - {wrong})
    assert len(world.attempts) - before <= 3 + 10
    assert world.republishes == {} and world.refused_now() == [wrong]
    world.refuses()
    world.run(MINUTE_MS)
    assert world.attempts[-1].batch.videos == [wrong]
    assert world.attempts[-1].batch.trigger is Trigger.REPUBLISH
    assert world.refused == {} and not world.batches


def test_a_republish_passes_over_what_is_refused_and_tells_it_once_it_is_taken():
    world = World()
    world.play(*TWENTY)
    world.run(1000)
    world.refuses(TWENTY[0])
    world.play(TWENTY[0])
    world.run(1000)
    before = len(world.attempts)
    world.do(world.rules.request_republish("asked for", b"", world.now_ms))
    world.run(1000)
    assert sorted(one.width for one in world.attempts[before:]) == [1, 19]
    assert world.republishes == {}
    world.refuses()
    world.run(MINUTE_MS)
    assert world.totals[TWENTY[0]] == 2 and world.refused == {}


def test_a_republish_begins_again_where_it_was_if_it_is_killed_while_it_halves():
    for steps in range(0, 140, 10):
        world = World()
        world.play(*videos(45))
        world.run(1000)
        wrong, before = videos(45)[5], len(world.attempts)
        world.refuses(wrong)
        world.do(world.rules.request_republish("asked for", b"", world.now_ms))
        world.run(steps + 5)
        world.start()
        world.run(MINUTE_MS // 6)
        told = {
            video for one in world.attempts[before:] if one.answer is ACCEPTED for video in one.batch.videos
        }
        assert told == set(videos(45)) - {wrong}
        assert world.republishes == {}


def test_the_command_republish_tries_what_is_refused_at_once():
    world = after_twenty(TWENTY[0])
    world.run(HOUR_MS)
    world.refuses()
    world.do(world.rules.request_republish("asked for", TWENTY[0], world.now_ms))
    world.run(2000)
    assert world.totals[TWENTY[0]] == 1


def test_a_lost_counter_leaves_what_it_refused_as_it_was():
    world = after_twenty(TWENTY[0], TWENTY[1])
    for shard in (0, 1):
        world.do(world.rules.lost(shard, world.now_ms))
    world.run(10 * MINUTE_MS)
    for shard in (0, 1):
        world.do(world.rules.linked(shard, world.now_ms))
    assert sorted(world.refused_now()) == sorted(TWENTY[:2])
    world.refuses()
    world.run(MINUTE_MS)
    assert world.totals == dict.fromkeys(TWENTY, 1)


def test_outcome_words_are_the_clients():
    world = after_twenty(TWENTY[0])
    (one,) = world.new_refused[:1]
    assert (one.answer, one.attempts, one.plays) == ("422 No: a video", 1, 1)
    assert UNPROCESSABLE.outcome is Outcome.REFUSED


def test_a_try_that_meets_an_earlier_one_still_at_work_waits_as_tries_do():
    wrong = TWENTY[3]
    world = after_twenty(wrong)
    answers = iter([UNKNOWN, CONFLICT, CONFLICT])
    world.answer = lambda batch: next(answers, UNPROCESSABLE) if batch.videos == [wrong] else ACCEPTED
    before = len(world.attempts)
    world.run(MINUTE_MS)
    tries = [one for one in world.attempts[before:] if one.batch.videos == [wrong]]
    apart_ms = [later.at_ms - sooner.at_ms for sooner, later in itertools.pairwise(tries)]
    assert len(tries) >= 3 and min(apart_ms) >= 10_000, apart_ms
